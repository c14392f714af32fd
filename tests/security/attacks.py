"""What a forger sends, by name: the headers of a request that must be a 401, made from a genuine token and its key."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from tests.security.attacks_on_claims import CLAIMS
from tests.security.forging import Forge, compact, decoded, part

__all__ = ["Headers", "attacks", "bearer"]

Headers = list[tuple[bytes, bytes]]
Attack = tuple[str, Headers]
_AUTHORIZATION, _API_KEY = b"Authorization", b"X-API-Key"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def attacks(forge: Forge, api_key: str) -> Iterator[Attack]:
    for made in (_algorithms, _other_keys, _headers, _kids, *CLAIMS, _spellings, _segments):
        for name, token in made(forge):
            yield f"{made.__name__.removeprefix('_')}: {name}", bearer(token)
    yield from _carried(forge.token, api_key)


def bearer(token: str | bytes) -> Headers:
    return [(_AUTHORIZATION, b"Bearer " + (token if isinstance(token, bytes) else token.encode()))]


def _algorithms(forge: Forge) -> Iterator[tuple[str, str]]:
    """What says that it is not signed, and what is signed with what everybody knows."""
    genuine = decoded(forge.token.rpartition(".")[2])
    for alg in (
        "none",
        "None",
        "NONE",
        "nOnE",
        " none",
        "none ",
        "none\0",
        "nоne",
        "ｎｏｎｅ",
        "",
        "null",
        None,
        False,
        0,
        [],
        ["none"],
    ):
        yield f"{alg!r}, no signature", forge.signed(lambda _: b"", alg=alg)
        yield f"{alg!r}, the genuine signature", forge.signed(lambda _: genuine, alg=alg)
        yield f"{alg!r}, signed", forge.headed(alg=alg)
    escaped = b'{"\\u0061lg":"\\u006eone","typ":"at+jwt","kid":"%s"}' % str(forge.header["kid"]).encode()
    yield "escaped none", compact(escaped, forge.claims, lambda _: b"")
    for alg in ("EDDSA", "eddsa", "Ed25519", "EdDSA ", "ЕdDSA", "Ed448", ["EdDSA"]):
        yield f"{alg!r}, signed", forge.headed(alg=alg)
    secrets = {
        "raw": forge.public,
        "PEM": forge.pem,
        "PEM without its last line end": forge.pem.strip(),
        "JWK": json.dumps(forge.jwk).encode(),
        "x": forge.jwk["x"].encode(),
        "kid": str(forge.header["kid"]).encode(),
        "nothing": b"",
    }
    for bits in (256, 384, 512):
        for what, secret in secrets.items():
            sign = partial(hmac.digest, secret, digest=f"sha{bits}")
            yield f"HS{bits} with the public key ({what})", forge.signed(sign, alg=f"HS{bits}")
            yield f"EdDSA that is HS{bits} ({what})", forge.signed(sign)
    theirs = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for alg in ("RS256", "PS256", "EdDSA"):
        yield f"{alg}, RSA", forge.signed(lambda text: theirs.sign(text, padding.PKCS1v15(), SHA256()), alg=alg)
    curve = ec.generate_private_key(ec.SECP256R1())
    for alg in ("ES256", "EdDSA"):
        yield f"{alg}, ECDSA", forge.signed(lambda text: curve.sign(text, ec.ECDSA(SHA256())), alg=alg)
    yield "ES256 of zeros", forge.signed(lambda _: bytes(64), alg="ES256")
    yield "EdDSA of zeros", forge.signed(lambda _: bytes(64))


def _other_keys(forge: Forge) -> Iterator[tuple[str, str]]:
    """Another key, and all the ways to say where it is; and the same said under the genuine key, which does not need it."""
    theirs = Ed25519PrivateKey.generate()
    theirs_jwk = {**forge.jwk, "x": part(theirs.public_key().public_bytes_raw())}
    yield "another key", forge.signed(theirs.sign)
    thumbprint = part(hashlib.sha256(json.dumps(theirs_jwk, separators=(",", ":")).encode()).digest())
    yield "another key by its own name", forge.signed(theirs.sign, kid=thumbprint)
    pointers: dict[str, Any] = {
        "jwk": theirs_jwk,
        "jku": "http://127.0.0.1:9/jwks.json",
        "x5u": "http://127.0.0.1:9/x5u.pem",
        "x5c": [part(theirs.public_key().public_bytes_raw())],
        "x5t": thumbprint,
        "x5t#S256": thumbprint,
        "jwks": {"keys": [theirs_jwk]},
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "enc": "A256GCM",
        "epk": theirs_jwk,
    }
    for name, value in pointers.items():
        yield name, forge.signed(theirs.sign, **{name: value})
        yield f"{name}, signed", forge.headed(**{name: value})
    yield "jwk and its kid", forge.signed(theirs.sign, jwk=theirs_jwk, kid=thumbprint)
    yield "b64 and crit, signed", forge.headed(b64=False, crit=["b64"])
    yield "crit that is empty, signed", forge.headed(crit=[])
    yield "crit that is not known, signed", forge.headed(crit=["kalpi"], kalpi=True)


def _headers(forge: Forge) -> Iterator[tuple[str, str]]:
    """Under the genuine key, but not what an access token's header says."""
    types: list[Any] = [
        "JWT",
        "jwt",
        "AT+JWT",
        "at+jwt ",
        "application/at+jwt",
        "at+JWT",
        "аt+jwt",
        "",
        None,
        ["at+jwt"],
        {},
        ...,
    ]
    for typ in types:
        yield f"typ {typ!r}", forge.headed(typ=typ)
    yield "no alg", forge.headed(alg=...)
    kid = str(forge.header["kid"]).encode()
    genuine = b'{"alg":"EdDSA","typ":"at+jwt","kid":"%s"}' % kid
    texts = {
        "empty": b"",
        "an array": b"[]",
        "text": b'"EdDSA"',
        "a number": b"1",
        "null": b"null",
        "no JSON": b"{alg:EdDSA}",
        "cut": genuine[:-1],
        "more behind": genuine + b"{}",
        "NUL behind": genuine + b"\0",
        "alg twice": b'{"alg":"none",' + genuine[1:],
        "alg twice, escaped": b'{"\\u0061lg":"none",' + genuine[1:],
        "kid twice": b'{"kid":"other",' + genuine[1:],
        "UTF-16": genuine.decode().encode("utf-16"),
        "UTF-32": genuine.decode().encode("utf-32"),
        "a byte order mark": b"\xef\xbb\xbf" + genuine,
        "not UTF-8": genuine[:-1] + b',"\xff":0}',
        "deep": b"[" * 2000,
        "deep and closed": b"[" * 1000 + b"]" * 1000,
        "deep objects": b'{"alg":' * 300,
        "many digits": b'{"alg":' + b"9" * 1900 + b"}",
    }
    for name, text in texts.items():
        yield name, forge.sealed(header=text)


def _kids(forge: Forge) -> Iterator[tuple[str, str]]:
    kids = [
        "../../../../../../dev/null",
        "/proc/self/environ",
        "file:///dev/null",
        "http://127.0.0.1:9/",
        "' OR '1'='1",
        "x'; DROP TABLE auth.signing_key; --",
        "x' UNION SELECT 'key' --",
        "$(id)",
        "| id",
        "${jndi:ldap://127.0.0.1/x}",
        "%00",
        "\0",
        f"{forge.header['kid']}\0",
        f" {forge.header['kid']}",
        str(forge.header["kid"]).swapcase(),
        "",
        "a" * 2800,
        "\ud800",
        "🗝",
        None,
        True,
        0,
        10**300,
        1e308,
        [],
        [forge.header["kid"]],
        {"kid": forge.header["kid"]},
        ...,
    ]
    nothing = partial(hmac.digest, b"", digest="sha256")
    for kid in kids:
        yield f"{str(kid)[:40]!r}, signed", forge.headed(kid=kid)
        yield f"{str(kid)[:40]!r}, HS256 with nothing", forge.signed(nothing, alg="HS256", kid=kid)


def _spellings(forge: Forge) -> Iterator[tuple[str, str]]:
    """The genuine token, written in another way."""
    header, claims, signature = forge.token.split(".")
    last = signature[-1]
    for letter in _ALPHABET[_ALPHABET.index(last) // 16 * 16 :][:16]:
        if letter != last:
            yield f"the signature's last letter is {letter}", forge.token[:-1] + letter
    for mark in ("=", "==", "A", "AAAA", ".", "\t.", "%3D", "%00", "~", "!", ";", "\\", '"', "#", "?", "&", ",", "/", "+", "é"):
        yield f"{mark!r} behind", forge.token + mark
        yield f"{mark!r} in the signature", f"{header}.{claims}.{signature[:9]}{mark}{signature[9:]}"
    for mark in (" ", "\t"):
        yield f"{mark!r} in the signature", f"{header}.{claims}.{signature[:9]}{mark}{signature[9:]}"
        yield f"{mark!r} behind a dot", f"{header}.{claims}.{mark}{signature}"
        yield f"{mark!r} in the header", f"{header[:5]}{mark}{header[5:]}.{claims}.{signature}"
    for mark in ("=", "!"):
        yield f"{mark!r} behind the header", f"{header}{mark}.{claims}.{signature}"
        yield f"{mark!r} behind the claims", f"{header}.{claims}{mark}.{signature}"
    yield "the other alphabet", f"{header}.{claims}.{'/' + signature[1:]}"
    yield "in quotes", f'"{forge.token}"'
    yield "in capitals", forge.token.upper()
    yield "dots escaped", forge.token.replace(".", "%2E")
    yield "dots of another script", forge.token.replace(".", "。")
    yield "letters of another script", forge.token.replace("e", "е", 1)
    yield "wide letters", forge.token.replace("e", "ｅ", 1)
    yield "a zero-width space", forge.token[:20] + "\u200b" + forge.token[20:]
    yield "a soft hyphen", forge.token[:20] + "\u00ad" + forge.token[20:]


def _segments(forge: Forge) -> Iterator[tuple[str, str]]:
    header, claims, signature = forge.token.split(".")
    raw = {"payload": claims, "protected": header, "signature": signature}
    texts = [
        header,
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}..{signature}",
        f".{claims}.{signature}",
        f"..{signature}",
        f"{header}..",
        "..",
        ".",
        "...",
        "....",
        f".{forge.token}",
        f"{forge.token}.{signature}",
        f"{forge.token}..",
        f"{header}.{claims}.{signature}.{claims}.{signature}",
        f"{claims}.{header}.{signature}",
        f"{header}.{signature}.{claims}",
        f"{header}.{claims}.{header}",
        f"{forge.token},{forge.token}",
        f"{forge.token} {forge.token}",
        f"{header}.{claims}.{signature[:-2]}",
        f"{header}.{claims}.{signature}{signature}",
        f"{header}.{claims}.{part(b'')}",
        json.dumps(raw),
        json.dumps({"payload": claims, "signatures": [{"protected": header, "signature": signature}]}),
        json.dumps([forge.token]),
        part(forge.token.encode()),
        "null",
        "undefined",
        "nonsense",
    ]
    for number, text in enumerate(texts):
        yield f"{number} {text[:12]}…", text


def _carried(token: str, api_key: str) -> Iterator[Attack]:
    """Good or bad, in the wrong place, twice, or with bytes that are no text."""
    text, key = token.encode(), api_key.encode()
    for scheme in (
        b"",
        b"Basic ",
        b"Digest ",
        b"ApiKey ",
        b"Token ",
        b"JWT ",
        b"DPoP ",
        b"Bearer:",
        b"Bearer,",
        b"Bearer\t",
        b"Bearer Bearer ",
        b"Bear\xe9r ",
    ):
        yield f"the token as {scheme!r}", [(_AUTHORIZATION, scheme + text)]
        yield f"the key as {scheme!r}", [(_AUTHORIZATION, scheme + key)]
    yield "nothing", []
    yield "Bearer alone", [(_AUTHORIZATION, b"Bearer")]
    yield "an empty header", [(_AUTHORIZATION, b"")]
    yield "an empty key", [(_API_KEY, b"")]
    yield "the token as a key", [(_API_KEY, text)]
    yield "the token as a key with a scheme", [(_API_KEY, b"Bearer " + text)]
    yield "the key with a scheme", [(_API_KEY, b"Bearer " + key)]
    yield "the key with a letter changed", [(_API_KEY, key[:-1] + (b"0" if key[-1:] != b"0" else b"1"))]
    yield "the key and more", [(_API_KEY, key + b"0")]
    yield "the key, and a byte", [(_API_KEY, key + b"\xa0")]
    yield "the token twice", [*bearer(token), *bearer(token)]
    yield "the token, then a bad one", [*bearer(token), *bearer("a.b.c")]
    yield "a bad one, then the token", [*bearer("a.b.c"), *bearer(token)]
    yield "the token and the key", [*bearer(token), (_API_KEY, key)]
    yield "the token and an empty key", [*bearer(token), (_API_KEY, b"")]
    yield "the key twice", [(_API_KEY, key), (_API_KEY, key)]
    for stray in (b"\xff\xfe", b"\xa0", b"\x85", b"\xc3\xa9", b"\xe2\x80\x8b", b"\xed\xa0\x80"):
        yield f"{stray!r} behind the token", bearer(text + stray)
        yield f"{stray!r} before the token", bearer(stray + text)
        yield f"{stray!r} alone", bearer(stray)
    yield "4 KiB and more", bearer("a" * 4097)
    yield "60 KiB", bearer("a" * (60 << 10))
    yield "60 KiB of dots", bearer("." * (60 << 10))
    yield "4 KiB of dots", bearer("." * 4096)
    yield "a forged principal", [(b"X-Kalpi-Principal", b"e30.e30")]
    yield "a cookie", [(b"Cookie", b"access_token=" + text)]
    yield "a proxy's", [(b"Proxy-Authorization", b"Bearer " + text)]
