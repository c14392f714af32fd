"""The facts a gateway follows: who is no longer what was resolved, that tokens have new keys, from where tenants are
used, whose counters were set back, and which bars are the newest."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.callers import Callers
from gateway.domain.origins import Origins
from gateway.domain.tokens import SigningKeys
from shared.events import DeliverPolicy, EventBus, Fact, Follower
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS, BARS_SUBJECTS, COUNTERS_SUBJECT, LIMITS_STREAM, MARKET_STREAM

__all__ = ["MarketFacts", "follow_auth", "follow_counters"]

_NEWS_ONLY = ("created", "registered")
"""Events that change nothing of what was resolved before; every other one, known here or not, evicts. Those of guesses are none:
strangers make them, and credentials go on."""
_OF_ORIGINS = {"allowed_origins", "is_active"}
"""Fields of a tenant that say from where it is used."""


def follow_auth(bus: EventBus, callers: Callers, keys: SigningKeys, origins: Origins) -> Follower:
    async def on_fact(fact: Fact) -> None:
        *_, noun, event, _version = fact.type.split(".")
        if noun == "signing-key":
            keys.look()
        elif noun != "guess" and event not in _NEWS_ONLY:
            callers.evict(*_concerned(noun, fact.data))
            if noun == "tenant" and not _OF_ORIGINS.isdisjoint(fact.data.get("changed", ())):
                origins.look()

    async def on_gap() -> None:
        callers.expire()
        keys.look()
        origins.look()

    return bus.follow(AUTH_STREAM, [AUTH_SUBJECTS], on_fact, on_gap=on_gap)


def _concerned(noun: str, data: Mapping[str, Any]) -> list[str]:
    """A quota may be split by those who are not disabled, so the other members are concerned as well."""
    nouns = [noun, "tenant"] if noun == "user" and "is_active" in data.get("changed", ()) else [noun]
    return [str(data[f"{one}_id"]) for one in nouns if data.get(f"{one}_id")]


def follow_counters(bus: EventBus, forget: Callable[..., None]) -> Follower:
    """`forget` is told of the subjects whose counters were set back."""

    async def on_fact(fact: Fact) -> None:
        forget(*map(str, fact.data["subjects"]))

    async def on_gap() -> None:
        """Refusals are remembered for a second at most; what was heard of a counter is needed only where the store is lost."""

    return bus.follow(LIMITS_STREAM, [COUNTERS_SUBJECT], on_fact, on_gap=on_gap)


class MarketFacts:
    """The newest data version of each symbol, replayed from the stream after every gap."""

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}
        self._moved: dict[str, int] = {}
        self._gap = 0
        self._follower: Follower | None = None
        self.moves = 0

    @property
    def current(self) -> bool:
        return self._follower is not None and self._follower.current

    def newest(self, symbol: str) -> str | None:
        return self._newest.get(symbol)

    def moved(self, symbol: str) -> int:
        return self._moved.get(symbol, self._gap)

    def follow(self, bus: EventBus, on_symbol: Callable[[str], None]) -> None:
        """`on_symbol` is told whose bars have changed, once their version is known."""

        async def on_fact(fact: Fact) -> None:
            symbol = str(fact.data["symbol"])
            self.moves += 1
            self._newest[symbol], self._moved[symbol] = str(fact.data["data_version"]), self.moves
            on_symbol(symbol)

        self._follower = bus.follow(
            MARKET_STREAM, [BARS_SUBJECTS], on_fact, on_gap=self._on_gap, deliver=DeliverPolicy.LAST_PER_SUBJECT
        )

    async def _on_gap(self) -> None:
        self.moves += 1
        self._gap = self.moves
        self._newest.clear()
        self._moved.clear()
