"""The form of an API key: `kalpi_live_`, 30 base62 characters of randomness, and 6 of checksum.

The checksum is the CRC-32 (ISO 3309, as in zlib) of everything before it, so a typo is refused without a look-up. It protects
nothing: what makes a key secret is 30 · log2(62) ≈ 178 bits of randomness, which is also why one fast SHA-256 at rest suffices.
"""

import hashlib
import zlib
from collections.abc import Callable

__all__ = ["PREFIX", "digest", "is_well_formed", "new_api_key"]

PREFIX = "kalpi_live_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 30
_CHECKSUM = 6
# The greatest multiple of 62 that fits a byte: bytes from here on are drawn again, so that every character is equally likely.
_FAIR = 248


def new_api_key(random: Callable[[int], bytes]) -> str:
    """A new key; `random(n)` gives n random bytes (`os.urandom`)."""
    body = ""
    while len(body) < _BODY:
        body += "".join(_ALPHABET[byte % 62] for byte in random(_BODY - len(body)) if byte < _FAIR)
    return f"{PREFIX}{body}{_checksum(PREFIX + body)}"


def is_well_formed(text: str) -> bool:
    """Whether this may be a key at all: prefix, length, alphabet and checksum."""
    if not (text.startswith(PREFIX) and len(text) == len(PREFIX) + _BODY + _CHECKSUM and text.isascii()):
        return False
    return text[-_CHECKSUM:] == _checksum(text[:-_CHECKSUM]) and text[len(PREFIX) :].isalnum()


def digest(text: str) -> str:
    """What is stored and looked up instead of the key: SHA-256, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, 62)
        digits = _ALPHABET[digit] + digits
    return digits
