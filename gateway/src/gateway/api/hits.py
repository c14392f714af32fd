"""Answers from the cache to callers who are known: one synchronous pass, or for who has no lease one question to the counters.

It gives what the long way (`gateway.api.edge`) would give, for the plain case alone. What is not in the cache is `Misses`' to
answer; whatever is not plain, or is not settled here, is left to the long way before anything was spent: None.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from gateway.api.answers import CommonFields, Given
from gateway.api.asked import Asked, Targets
from gateway.api.misses import Misses
from gateway.api.plain_exchange import PlainExchange
from gateway.api.reading import Reading
from gateway.domain.addresses import Network, client_address
from gateway.domain.admission import Admission
from gateway.domain.callers import Callers, Shown
from gateway.domain.permission import check_permission
from gateway.domain.ports import Resolved
from gateway.domain.requests import CacheUse, CallerRecord, Recorder, RequestRecord
from shared.at_once import AtOnce, Peer, Soon, Turn, lines_of
from shared.clock import Clock
from shared.context import REQUEST_ID, sane_request_id
from shared.errors import Forbidden, KalpiError, Unavailable
from shared.heads import Head
from shared.limits.fields import ratelimit_lines
from shared.limits.limiter import Decision
from shared.limits.plans import Plan
from shared.logging import log_request
from shared.problems import problem_response

__all__ = ["Hits"]

_IS_HIT = b"x-cache: HIT\r\n"


class Hits:
    """`trusted_proxies` as in the edge."""

    def __init__(
        self,
        targets: Targets,
        callers: Callers,
        admission: Admission,
        reading: Reading,
        misses: Misses,
        common: CommonFields,
        trusted_proxies: Sequence[Network],
        record: Recorder,
        clock: Clock,
    ) -> None:
        self._targets = targets
        self._callers = callers
        self._admission = admission
        self._cache = reading.cache
        self._views = reading.views
        self._misses = misses
        self._common = common
        self._trusted_proxies = trusted_proxies
        self._record = record
        self._clock = clock

    def answer(self, head: Head, peer: Peer, turn: Turn) -> AtOnce | Soon | None:
        began = time.perf_counter()
        wanted: _Wanted | None = head.note
        if wanted is None:
            wanted = head.note = self._wanted(head)
            if wanted is None:
                return None
        now = self._clock()
        caller = self._callers.recognise(wanted.shown, now)
        if caller is None:
            return None
        principal = caller.principal
        try:
            client_ip = client_address(peer[0] if peer else "", wanted.forwarded_for, self._trusted_proxies)
            check_permission(caller, client_ip, wanted.asked.route.scope)
            plan = self._admission.plan_of(principal, now)
        except (Forbidden, Unavailable):
            return None  # the long way says it in full
        key = wanted.asked.key + self._views.key(principal.tier, plan.entitlements)
        kept = self._cache.find(key)
        if kept is None:
            exchange = PlainExchange(wanted.asked, self._common, head, client_ip, turn)
            return self._misses.answer(exchange, principal, plan, key, now, began)
        given = kept.for_client(wanted.if_none_match)
        hit = _Hit(wanted, caller, given, sane_request_id(wanted.request_id), now, began)
        try:
            decision = self._admission.spend_now(principal, plan, client_ip=client_ip)
        except KalpiError as error:
            return self._refused(hit, error)
        return self._given(hit, decision) if decision is not None else self._paid(hit, plan, client_ip)

    def _wanted(self, head: Head) -> "_Wanted | None":
        sent = head.sent
        key, bearer = sent.get(b"x-api-key"), sent.get(b"authorization")
        if (key is None) == (bearer is None) or b"origin" in sent:
            return None
        path, _, query = head.target.partition(b"?")
        asked = self._targets.asked(path, query, sent.get(b"accept", b""))
        if asked is None or asked.route.access != "data" or asked.is_free:
            return None
        shown = (b"x-api-key", key) if key is not None else (b"authorization", bearer or b"")
        told = (sent.get(b"x-forwarded-for"), sent.get(b"if-none-match"), sent.get(b"x-request-id"))
        return _Wanted(path, asked, shown, *told)

    async def _paid(self, hit: "_Hit", plan: Plan, client_ip: str) -> AtOnce:
        try:
            decision = await self._admission.spend(hit.caller.principal, plan, client_ip=client_ip)
        except KalpiError as error:
            return self._refused(hit, error)
        return self._given(hit, decision)

    def _given(self, hit: "_Hit", decision: Decision) -> AtOnce:
        given = hit.given
        lines = b"%b%b%bx-request-id: %b\r\n" % (
            given.lines,
            _IS_HIT,
            ratelimit_lines(decision),
            hit.request_id.encode("ascii"),
        )
        self._record(hit.record(given.status, "hit", 1, len(given.body)))
        return AtOnce(given.status, lines, given.body)

    def _refused(self, hit: "_Hit", error: KalpiError) -> AtOnce:
        token = REQUEST_ID.set(hit.request_id)
        try:
            problem = problem_response(error, hit.path)
            record = hit.record(error.status, "none", 0, len(problem.body))
            log_request("GET", hit.path, error.status, record.latency_us / 1_000_000)
        finally:
            REQUEST_ID.reset(token)
        fields = [*self._common.complete(problem.raw_headers), (b"x-request-id", hit.request_id.encode("ascii"))]
        self._record(record)
        return AtOnce(error.status, lines_of(fields), bytes(problem.body))


class _Wanted(NamedTuple):
    """What a head says."""

    path: bytes
    asked: Asked
    shown: Shown
    forwarded_for: bytes | None
    if_none_match: bytes | None
    request_id: bytes | None


class _Hit(NamedTuple):
    """A request whose answer is kept; `began` is on the clock of `time.perf_counter`."""

    wanted: _Wanted
    caller: Resolved
    given: Given
    request_id: str
    at: datetime
    began: float

    @property
    def path(self) -> str:
        return self.wanted.path.decode("ascii")

    def record(self, status: int, cache: CacheUse, units: int, bytes_out: int) -> RequestRecord:
        caller = self.caller.spender if units else CallerRecord.of(self.caller.principal, spent=False)
        call = self.wanted.asked.call("GET", status, cache)
        latency_us = int((time.perf_counter() - self.began) * 1_000_000)
        # by place: by name it would take twice as long
        return RequestRecord(self.at, caller, call, latency_us, units, bytes_out, self.request_id)
