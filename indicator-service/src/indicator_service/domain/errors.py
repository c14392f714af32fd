"""What indicator-service answers when it cannot compute.

NotFound
└── UnknownIndicator     with names that look alike
InvalidInput
└── InvalidExpression    with the place of the mistake
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shared.errors import InvalidInput, NotFound

__all__ = ["InvalidExpression", "Mistake", "UnknownIndicator"]


class UnknownIndicator(NotFound):
    slug = "unknown-indicator"
    title = "Unknown indicator"

    def __init__(self, name: str, similar: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
        super().__init__(f"there is no indicator {name}{hint}")


@dataclass(frozen=True, slots=True)
class Mistake:
    """`offset` counts characters from 0, `line` and `column` from 1; `length` is at least 1. `suggestion` is what to write, or
    what was expected, where that can be told."""

    msg: str
    type: str
    offset: int
    line: int
    column: int
    length: int
    suggestion: str | None = None


class InvalidExpression(InvalidInput):
    """Its error says beside loc, msg and type where in the expression the mistake stands."""

    slug = "invalid-expression"
    title = "Invalid expression"

    def __init__(self, mistake: Mistake, loc: tuple[str | int, ...]) -> None:
        hint = f" ({mistake.suggestion})" if mistake.suggestion else ""
        where = f"line {mistake.line}, column {mistake.column}"
        super().__init__(f"{'.'.join(map(str, loc))}, {where}: {mistake.msg}{hint}", [{"loc": list(loc), **asdict(mistake)}])
        self.mistake = mistake
