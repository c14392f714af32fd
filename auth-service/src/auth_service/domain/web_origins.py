"""Origins of web pages (RFC 6454): whose scripts may call the API with credentials of a tenant."""

import re
from ipaddress import IPv6Address

__all__ = ["MOST_ORIGINS", "web_origin"]

MOST_ORIGINS = 20
"""Of a tenant: every gateway holds the origins of all."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 253


def web_origin(text: str) -> str:
    """As a browser sends it: scheme and host in small letters, no port where it is the scheme's own. ValueError for anything but
    one scheme, one host and one port; names beyond ASCII are written as they are looked up (xn--…)."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or len(found[2]) > _LONGEST:
        raise ValueError("not an origin: https://app.example.com or http://localhost:5173, without a path")
    scheme, host, port = found[1], found[2], int(found[3] or 0)
    if host.startswith("["):
        host = f"[{IPv6Address(host[1:-1]).compressed}]"
    if found[3] is not None and not 0 < port < 1 << 16:
        raise ValueError("not a port")
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")
