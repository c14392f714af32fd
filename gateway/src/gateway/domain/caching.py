"""Which answers may be given again (docs/adr/0002).

An answer is kept under a hash of the canonical request and of everything that could change the answer for this caller. It is
used, and kept, only while every data version it was made from is the newest the market facts have told of.
"""

import hashlib
from operator import itemgetter
from urllib.parse import parse_qsl

from gateway.domain.ports import Answer, AnswerStore, BarVersions
from shared.limits.plans import Entitlements

__all__ = ["SURROGATE_KEY", "AnswerCache", "cache_key", "versions_in"]

SURROGATE_KEY = b"surrogate-key"
_PREFIX = "bars:"


def cache_key(path: str, query: bytes, accept: bytes, tier: str, entitlements: Entitlements) -> str:
    """Parameters in any order are one request (of one name, their order counts); callers of one tier share its answer."""
    parameters = sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1"), key=itemgetter(0))
    request = repr((path, parameters, accept, tier, entitlements.model_dump_json()))
    return hashlib.sha256(request.encode()).hexdigest()


def versions_in(surrogate_key: bytes | None) -> dict[str, str] | None:
    """Of `bars:<SYMBOL>@<version> …`: the version by symbol; None when it names anything else, or nothing."""
    versions: dict[str, str] = {}
    for tag in (surrogate_key or b"").decode("latin-1").split():
        symbol, at, version = tag.removeprefix(_PREFIX).rpartition("@")
        if not (tag.startswith(_PREFIX) and at and symbol):
            return None
        versions[symbol] = version
    return versions or None


class AnswerCache:
    def __init__(self, store: AnswerStore, versions: BarVersions) -> None:
        self._store = store
        self._versions = versions

    @property
    def in_use(self) -> bool:
        """False while a fact may have been missed, so that no answer can be trusted to be new."""
        return self._versions.current

    async def find(self, key: str) -> Answer | None:
        answer = await self._store.get(key)
        return answer if answer is not None and self._is_newest(answer.header(SURROGATE_KEY)) else None

    async def keep(self, key: str, answer: Answer) -> None:
        """Only what is tagged, and was not overtaken while it was under way."""
        if self._is_newest(answer.header(SURROGATE_KEY)):
            await self._store.put(key, answer)

    def _is_newest(self, surrogate_key: bytes | None) -> bool:
        versions = versions_in(surrogate_key)
        return (
            versions is not None
            and self._versions.current
            and all(self._versions.newest(symbol) == version for symbol, version in versions.items())
        )
