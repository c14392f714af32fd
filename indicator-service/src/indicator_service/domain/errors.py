"""What indicator-service answers when it cannot compute.

NotFound
└── UnknownIndicator     with names that look alike
"""

from collections.abc import Sequence

from shared.errors import NotFound

__all__ = ["UnknownIndicator"]


class UnknownIndicator(NotFound):
    slug = "unknown-indicator"
    title = "Unknown indicator"

    def __init__(self, name: str, similar: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
        super().__init__(f"there is no indicator {name}{hint}")
