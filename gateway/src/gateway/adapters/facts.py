"""The facts a gateway follows: who is no longer what was resolved, that tokens have new keys, and which bars are the newest."""

from gateway.domain.callers import Callers
from gateway.domain.tokens import SigningKeys
from shared.events import DeliverPolicy, EventBus, Fact, Follower
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS, BARS_SUBJECTS, MARKET_STREAM

__all__ = ["MarketFacts", "follow_auth"]

_NEWS_ONLY = ("created", "registered")
"""Events that change nothing of what was resolved before; every other one, known here or not, evicts."""


def follow_auth(bus: EventBus, callers: Callers, keys: SigningKeys) -> Follower:
    async def on_fact(fact: Fact) -> None:
        *_, noun, event, _version = fact.type.split(".")
        if noun == "signing-key":
            keys.look()
        elif event not in _NEWS_ONLY:
            concerned = fact.data.get(f"{noun}_id")
            callers.evict(*([str(concerned)] if concerned else []))

    async def on_gap() -> None:
        callers.expire()
        keys.look()

    return bus.follow(AUTH_STREAM, [AUTH_SUBJECTS], on_fact, on_gap=on_gap)


class MarketFacts:
    """The newest data version of each symbol, replayed from the stream after every gap."""

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}
        self._follower: Follower | None = None

    @property
    def current(self) -> bool:
        return self._follower is not None and self._follower.current

    def newest(self, symbol: str) -> str | None:
        return self._newest.get(symbol)

    def follow(self, bus: EventBus) -> None:
        self._follower = bus.follow(
            MARKET_STREAM, [BARS_SUBJECTS], self._on_fact, on_gap=self._on_gap, deliver=DeliverPolicy.LAST_PER_SUBJECT
        )

    async def _on_fact(self, fact: Fact) -> None:
        self._newest[str(fact.data["symbol"])] = str(fact.data["data_version"])

    async def _on_gap(self) -> None:
        self._newest.clear()
