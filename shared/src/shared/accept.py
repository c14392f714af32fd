"""Which of the media types that an answer can be written in a client wants: `Accept` (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from shared.errors import KalpiError

__all__ = ["NotAcceptable", "negotiate"]

_QUOTED = r'"(?:[^"\\]|\\.)*+"?'
"""One that does not end goes on to the end: each byte is looked at once, whatever was sent."""
_MEMBER = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PART = re.compile(rf'(?:[^;"]|{_QUOTED})+')
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")  # RFC 9110, section 12.4.2


class NotAcceptable(KalpiError):
    status = 406
    slug = "not-acceptable"
    title = "Not acceptable"


class _Range(NamedTuple):
    """A media range and how much the client likes it."""

    type: str
    subtype: str
    parameters: Mapping[str, str]
    weight: float


@lru_cache(256)
def negotiate(accept: str, offered: tuple[tuple[str, str], ...]) -> str:
    """Of the names offered, each with its media type, the one the client weighs highest; between equals the one named most
    exactly, then the first. NotAcceptable when it wants none.

    A type's weight is that of the most specific range it lies in; 0 is "not this". An absent or empty field accepts all.
    """
    if not accept.strip():
        return offered[0][0]
    ranges = list(_ranges(accept))
    liked = [
        (max((match for media in ranges if (match := _match(media, type_))), default=(0, 0.0)), name) for name, type_ in offered
    ]
    (specificity, weight), best = max(liked, key=lambda entry: (entry[0][1], entry[0][0]))
    if not (specificity and weight):
        raise NotAcceptable(f"there is {', '.join(type_ for _, type_ in offered)}")
    return best


def _ranges(accept: str) -> Iterator[_Range]:
    """Members that are no media range, or weigh no weight, say nothing: they are passed over."""
    for member in _MEMBER.findall(accept):
        media, *rest = [part.strip() for part in _PART.findall(member)] or [""]
        type_, slash, subtype = media.lower().partition("/")
        pairs = (parameter.partition("=") for parameter in rest)
        parameters = {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}
        weight = parameters.pop("q", "1")
        if slash and type_ and subtype and (type_ != "*" or subtype == "*") and _WEIGHT.fullmatch(weight):
            yield _Range(type_, subtype, parameters, float(weight))


def _match(media: _Range, offered: str) -> tuple[int, float] | None:
    """How specific the range is of this type, with its weight; None when the type does not lie in it."""
    own, *rest = offered.split("; ")
    # whatever is text is UTF-8, also where its media type has no parameter to say so (RFC 8259, section 11)
    told = {"charset": "utf-8", **dict(parameter.split("=") for parameter in rest)}
    type_, _, subtype = own.partition("/")
    if media.type not in {type_, "*"} or media.subtype not in {subtype, "*"} or not media.parameters.items() <= told.items():
        return None
    return 1 + (media.type != "*") + (media.subtype != "*") + len(media.parameters), media.weight
