"""What indicator-service answers when it cannot compute.

NotFound
├── UnknownIndicator          with names that look alike
└── NoSuchCustomIndicator     of this user
InvalidInput
└── InvalidExpression         with the place of the mistake
Conflict
├── NameTaken
├── BrokenCustomIndicator
└── TooManyCustomIndicators
RateLimited
├── WaitsAlready
└── TooMuchUnread
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shared.errors import Conflict, InvalidInput, NotFound, RateLimited

__all__ = [
    "BrokenCustomIndicator",
    "InvalidExpression",
    "Mistake",
    "NameTaken",
    "NoSuchCustomIndicator",
    "TooManyCustomIndicators",
    "TooMuchUnread",
    "UnknownIndicator",
    "WaitsAlready",
]


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


class NoSuchCustomIndicator(NotFound):
    def __init__(self, name: str, version: int | None = None) -> None:
        super().__init__(f"you have no indicator {name}" if version is None else f"{name} has no version {version} (any more)")


class NameTaken(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"you have an indicator {name}; change it with PUT")


class BrokenCustomIndicator(Conflict):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"your indicator {name} cannot be computed any more, for the catalogue has changed ({why}); change it")


class TooManyCustomIndicators(Conflict):
    def __init__(self, most: int) -> None:
        super().__init__(f"a user has at most {most} indicators; delete one first")


class WaitsAlready(RateLimited):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__("another large request of this account waits for its turn already", retry_after_s, ["turn"])


class TooMuchUnread(RateLimited):
    def __init__(self, most: int) -> None:
        super().__init__(f"the answers that an account has not read yet take at most {most >> 20} MiB", 5, ["answers"])
