"""A day as clients name it: ISO 8601 (`2013-01-02`) and nothing else, where pydantic also reads numbers, as seconds of 1970."""

from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Day"]


def _day(sent: Any) -> date:
    if type(sent) is date:
        return sent
    if isinstance(sent, str):
        day = date.fromisoformat(sent)  # it says what is wrong
        if day.isoformat() == sent:
            return day
    raise ValueError("not a date (2013-01-02)")


Day = Annotated[date, BeforeValidator(_day)]
"""For a field of a model, strict or not."""
