"""Reads of data: from the cache, or by one request to a service for all who want the same at the same time."""

import asyncio

from gateway.adapters.upstreams import Outgoing, UpstreamAnswer
from gateway.api.answers import CommonFields, ReadyAnswer, is_keepable
from gateway.api.exchange import Exchange
from gateway.api.forwarding import Forwarding, stream
from gateway.domain.admission import Admission
from gateway.domain.caching import AnswerCache, Views
from gateway.domain.flights import Flight, Flights
from gateway.domain.routing import Route
from shared.errors import Unavailable
from shared.limits.plans import Plan
from shared.principal import Principal

__all__ = ["Reading"]

_ROUNDS = 3
"""So often one who waited for an answer that a fact has overtaken waits again, before he asks for himself."""

_Flight = Flight[ReadyAnswer, UpstreamAnswer]


class Reading:
    """`flight_s` is how long an answer that is for all may take altogether, where its route gives it no longer."""

    def __init__(
        self,
        cache: AnswerCache[ReadyAnswer],
        admission: Admission,
        forwarding: Forwarding,
        common: CommonFields,
        flight_s: float,
    ) -> None:
        self.cache = cache
        self.flights: Flights[ReadyAnswer, UpstreamAnswer] = Flights()
        self.views = Views()
        self._admission = admission
        self._forwarding = forwarding
        self._common = common
        self._flight_s = flight_s

    async def read(self, exchange: Exchange, principal: Principal, plan: Plan) -> None:
        """For a caller who may ask, and has not paid."""
        key = exchange.asked.key + self.views.key(principal.tier, plan.entitlements) if self.cache.in_use else None
        kept = self.cache.find(key) if key is not None else None
        if kept is not None:
            exchange.paid(1, await self._admission.pay(principal, plan, client_ip=exchange.client_ip))
            exchange.used("hit")
            await exchange.give(kept.for_client(exchange.header(b"if-none-match")))
        else:
            await self.fetch(exchange, principal, plan, key)

    async def fetch(self, exchange: Exchange, principal: Principal, plan: Plan, key: bytes | None) -> None:
        """What is not in the cache, under that key; None where nothing may be kept."""
        route = exchange.asked.route
        share = self._forwarding.share(exchange, principal)
        if key is None or self.flights.under_way(key) is None:
            self._forwarding.check_room(route, share)
        async with self._admission.forwarding(principal, plan, client_ip=exchange.client_ip) as decision:
            exchange.paid(1, decision)
            exchange.used("miss" if key is not None else "bypass")
            request = self._forwarding.bodied(route, exchange, b"", principal, plan.entitlements, share)
            async with exchange.attended():
                await self._answer(route, exchange, request, key)

    async def _answer(self, route: Route, exchange: Exchange, request: Outgoing, key: bytes | None) -> None:
        """What is not in the cache; every caller has paid for himself, and has a slot of his own."""
        for _ in range(_ROUNDS):
            if key is None or not self.flights.is_shared(key):
                break
            kept = self.cache.find(key)  # it may have come while this one paid
            if kept is not None:
                await exchange.give(kept.for_client(exchange.header(b"if-none-match")))
                return
            flight = self.flights.under_way(key)
            if flight is None:
                await self._lead(route, exchange, request, key)
                return
            answer = await flight.landing()
            if answer is None:
                break
            if self.cache.is_news_since(answer.tags, flight.began):
                await exchange.give(answer.for_client(exchange.header(b"if-none-match")))
                return
        await self._alone(route, exchange, request, key)

    async def _lead(self, route: Route, exchange: Exchange, request: Outgoing, key: bytes) -> None:
        flight = self.flights.begin(key, self.cache.moment, lambda flight: self._fly(flight, route, request, key))
        try:
            answer = await flight.landing()
            if answer is not None:
                await exchange.give(answer.for_client(exchange.header(b"if-none-match")))
            elif flight.handed is not None:
                await stream(exchange, flight.handed)
            else:
                raise Unavailable("the gateway is stopping")
        finally:
            flight.leave()

    async def _fly(self, flight: _Flight, route: Route, request: Outgoing, key: bytes) -> None:
        try:
            async with asyncio.timeout(max(self._flight_s, route.timeout_s or 0.0)) as bound:
                async with self._forwarding.upstreams.send(route.service, request) as upstream:
                    answer = await self._read(upstream, key)
                    if answer is not None:
                        flight.land(answer)
                    else:
                        bound.reschedule(None)
                        await flight.hand_over(upstream)
        except TimeoutError:
            raise Unavailable(f"{route.service} did not answer in time") from None

    async def _alone(self, route: Route, exchange: Exchange, request: Outgoing, key: bytes | None) -> None:
        async with self._forwarding.upstreams.send(route.service, request) as upstream:
            answer = await self._read(upstream, key) if key is not None else None
            if answer is not None:
                await exchange.give(answer.for_client(exchange.header(b"if-none-match")))
            else:
                await stream(exchange, upstream)

    async def _read(self, upstream: UpstreamAnswer, key: bytes) -> ReadyAnswer | None:
        """The whole answer, kept where it may be; None for one that is not for all, which is not read."""
        shared = is_keepable(upstream)
        self.flights.learn(key, shared=shared)
        if not shared:
            return None
        answer = ReadyAnswer(upstream.headers, await upstream.read(), self._common)
        self.cache.keep(key, answer)
        return answer
