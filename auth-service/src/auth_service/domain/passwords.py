"""What a password may be (NIST SP 800-63B, section 3.1.1.2): long enough, not a common one, and nothing else is asked of it."""

import unicodedata
from functools import cache
from pathlib import Path

from shared.errors import InvalidInput

__all__ = ["LONGEST", "SHORTEST", "accepted", "prepared"]

SHORTEST = 8
LONGEST = 256


def prepared(password: str) -> str:
    """The form that is hashed (NFKC), so that an accent typed on another keyboard is the same accent."""
    return unicodedata.normalize("NFKC", password)


def accepted(password: str, *, field: str = "password") -> str:
    """The prepared form of a new password; InvalidInput on the body's `field` when it is unfit."""
    ready = prepared(password)
    if not SHORTEST <= len(ready) <= LONGEST:
        raise InvalidInput.field("body", field, msg=f"a password has {SHORTEST} to {LONGEST} characters", type_="password_length")
    if ready.casefold() in _common():
        raise InvalidInput.field("body", field, msg="this password is among the first that are tried", type_="password_common")
    return ready


@cache
def _common() -> frozenset[str]:
    folder = Path(__file__).parents[1] / "passwords"
    lines = [line for name in ("common.txt", "leaked.txt") for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    return frozenset(line for line in lines if line)
