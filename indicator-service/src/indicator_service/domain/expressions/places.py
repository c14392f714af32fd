"""Where in an expression something stands."""

from dataclasses import dataclass
from typing import Any

from lark import Token, Tree

from indicator_service.domain.errors import Mistake

__all__ = ["Place", "Refusal", "place_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """From `first` to `end` (exclusive), counted in characters from 0; line and column from 1."""

    first: int
    end: int
    line: int
    column: int


def place_of(part: Any) -> Place:
    """Of a token or a tree of the grammar."""
    if isinstance(part, Tree):
        meta = part.meta
        return Place(meta.start_pos, meta.end_pos, meta.line, meta.column)
    if not isinstance(part, Token):
        raise TypeError(type(part))
    return Place(part.start_pos or 0, part.end_pos or 0, part.line or 1, part.column or 1)


class Refusal(Exception):
    def __init__(self, place: Place, msg: str, type_: str, suggestion: str | None = None) -> None:
        super().__init__(msg)
        length = max(1, place.end - place.first)
        self.mistake = Mistake(msg, f"expression_{type_}", place.first, place.line, place.column, length, suggestion)
