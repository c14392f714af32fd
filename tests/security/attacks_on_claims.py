"""What a forger who has the very key that signs could claim, by name: tokens that must be refused all the same."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shared.ids import new_id
from tests.security.forging import Forge

__all__ = ["CLAIMS"]


def issuers(forge: Forge) -> Iterator[tuple[str, str]]:
    for iss in ("other", "Kalpi", "kalpi ", "kаlpi", "", None, 1, ["kalpi"], {"iss": "kalpi"}, ...):
        yield f"iss {iss!r}", forge.claiming(iss=iss)
    audiences: list[Any] = ["other", "kalpi", "KALPI-API", "kalpi‐api", "", None, 1, {}, ...]
    for aud in (*audiences, [], ["other"], ["kalpi-api"], ["kalpi-api", "x"]):
        yield f"aud {aud!r}", forge.claiming(aud=aud)


def times(forge: Forge) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    soon = now + 600
    early: list[Any] = [0, -1, now - 1, now - 3600, -(10**400)]
    late: list[Any] = [soon * 1000, 2**31, 2**53, 2**63, 10**18, 10**400, float("inf"), "∞"]
    unfit: list[Any] = [
        str(soon),
        soon + 0.5,
        float(soon),
        None,
        True,
        [soon],
        {"exp": soon},
        "",
        "never",
        "0x7f",
        float("nan"),
        ...,
    ]
    for exp in (*early, *late, *unfit):
        yield f"exp {type(exp).__name__} {str(exp)[:24]}", forge.claiming(exp=exp)
    literal = json.dumps({**forge.claims, "exp": 0})
    for number in ("1e400", "1e9999999", "-0", "0.0", "9" * 1900):
        yield f"exp {number[:12]}", forge.sealed(literal.replace('"exp": 0', f'"exp": {number}').encode())
    for name in ("nbf", "iat"):
        for moment in (now + 60, now + 10**6, 10**18, 10**400, str(now), now + 0.5, None, True, [now], float("inf")):
            yield f"{name} {str(moment)[:24]!r}", forge.claiming(**{name: moment})
    yield "no iat", forge.claiming(iat=...)
    yield "issued long ago, for long", forge.claiming(iat=now - 10**6)


def names(forge: Forge) -> Iterator[tuple[str, str]]:
    """Whom it stands for: genuine signatures of what no token of ours names."""
    for name in ("sub", "sid"):
        own = str(forge.claims[name])
        wide = own.translate({ord("0") + digit: ord("０") + digit for digit in range(10)})
        others = [
            own.upper(),
            own.replace("-", ""),
            f"{{{own}}}",
            f"urn:uuid:{own}",
            f" {own}",
            f"{own}\0",
            wide,
            "admin",
            "",
            "0",
            "'",
            "\ud800",
        ]
        for value in (*others, None, True, 7, 10**400, 1.5, [own], {name: own}, "x" * 1500, ...):
            yield f"{name} {str(value)[:40]!r}", forge.claiming(**{name: value})
        yield f"{name} of nobody", forge.claiming(**{name: str(new_id())})
        yield f"{name} of zeros", forge.claiming(**{name: "00000000-0000-0000-0000-000000000000"})
    yield "sub and sid exchanged", forge.claiming(sub=forge.claims["sid"], sid=forge.claims["sub"])
    for jti in (None, 7, ["j"], {"j": 1}, ...):
        yield f"jti {jti!r}", forge.claiming(jti=jti)


def documents(forge: Forge) -> Iterator[tuple[str, str]]:
    """Payloads that are no claims, under the genuine key."""
    genuine = json.dumps(dict(forge.claims)).encode()
    twice: Mapping[str, Any] = {"sub": str(new_id()), "exp": 2**31, "aud": "other"}
    texts = {
        "empty": b"",
        "an empty object": b"{}",
        "an array": b"[]",
        "the claims in an array": b"[" + genuine + b"]",
        "text": b'"claims"',
        "null": b"null",
        "no JSON": b"claims",
        "cut": genuine[:-1],
        "more behind": genuine + b"{}",
        "NUL behind": genuine + b"\0",
        "a comment": b"/**/" + genuine,
        "UTF-16": genuine.decode().encode("utf-16"),
        "UTF-32": genuine.decode().encode("utf-32"),
        "a byte order mark": b"\xef\xbb\xbf" + genuine,
        "not UTF-8": genuine[:-1] + b',"x":"\xff\xfe"}',
        "NaN": genuine[:-1] + b',"x":NaN}',
        "infinity": genuine[:-1] + b',"x":-Infinity}',
        "deep": b"[" * 2000,
        "deep and closed": b"[" * 1000 + b"]" * 1000,
        "deep in a member": genuine[:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}",
        "two members of no meaning": genuine[:-1] + b',"x":1,"x":1}',
        "two in a member": genuine[:-1] + b',"x":{"y":1,"y":1}}',
        **{f"{name} twice": genuine[:-1] + f', "{name}": {json.dumps(value)}}}'.encode() for name, value in twice.items()},
        **{
            f"{name} twice, the genuine one last": f'{{"{name}": {json.dumps(value)}, '.encode() + genuine[1:]
            for name, value in twice.items()
        },
        "sub twice, escaped": genuine[:-1] + b',"\\u0073ub":"%s"}' % str(forge.claims["sub"]).encode(),
    }
    for name, text in texts.items():
        yield name, forge.sealed(text)


CLAIMS: tuple[Callable[[Forge], Iterator[tuple[str, str]]], ...] = (issuers, times, names, documents)
