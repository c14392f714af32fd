"""Answers from the cache to callers who are known and need not wait for the counters: one synchronous pass, nothing awaited.

It gives what the long way (`gateway.api.edge`) would give, for the plain case alone. Whatever is not plain, or is not settled
here, is left to the long way before anything was spent: None.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.api.answers import Given
from gateway.api.asked import Asked, Targets
from gateway.api.reading import Reading
from gateway.domain.addresses import Network, client_address
from gateway.domain.admission import Admission
from gateway.domain.callers import Callers
from gateway.domain.errors import OverLimit
from gateway.domain.permission import check_permission
from gateway.domain.ports import Resolved
from gateway.domain.requests import Recorder, RequestRecord, session_kind
from shared.at_once import AtOnce, Peer, lines_of
from shared.clock import Clock
from shared.context import sane_request_id
from shared.errors import Forbidden, Unavailable
from shared.limits.fields import ratelimit_fields
from shared.limits.sharing import subject_of
from shared.principal import Principal

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
        trusted_proxies: Sequence[Network],
        record: Recorder,
        clock: Clock,
    ) -> None:
        self._targets = targets
        self._callers = callers
        self._admission = admission
        self._cache = reading.cache
        self._views = reading.views
        self._trusted_proxies = trusted_proxies
        self._record = record
        self._clock = clock

    def answer(self, target: bytes, sent: Mapping[bytes, bytes], peer: Peer) -> AtOnce | None:
        """To a GET for `target`, path and query as they were sent, with these header fields; their names in lower case."""
        began = time.perf_counter()
        if b"origin" in sent:
            return None
        path, _, query = target.partition(b"?")
        asked = self._targets.asked(path, query, sent.get(b"accept", b""))
        if asked is None or asked.route.access != "data" or asked.is_free:
            return None
        now = self._clock()
        caller = self._recognised(sent, now)
        if caller is None:
            return None
        principal = caller.principal
        try:
            client_ip = client_address(peer[0] if peer else "", sent.get(b"x-forwarded-for"), self._trusted_proxies)
            check_permission(caller, client_ip, asked.route.scope)
            plan = self._admission.plan_of(principal)
            kept = self._cache.find(asked.key + self._views.key(principal.tier, plan.entitlements))
            decision = self._admission.spend_now(principal, plan, client_ip=client_ip) if kept is not None else None
        except (Forbidden, OverLimit, Unavailable):
            return None  # the long way says it in full
        if kept is None or decision is None:
            return None
        given = kept.for_client(sent.get(b"if-none-match"))
        request_id = sane_request_id(sent.get(b"x-request-id"))
        lines = b"%b%b%bx-request-id: %b\r\n" % (
            given.lines,
            _IS_HIT,
            lines_of(ratelimit_fields(decision)),
            request_id.encode("ascii"),
        )
        latency_us = int((time.perf_counter() - began) * 1_000_000)
        self._record(_record_of(asked, principal, now, given, latency_us, request_id))
        return AtOnce(given.status, lines, given.body)

    def _recognised(self, sent: Mapping[bytes, bytes], now: datetime) -> Resolved | None:
        key, bearer = sent.get(b"x-api-key"), sent.get(b"authorization")
        if bearer is None and key is not None:
            return self._callers.recognise((b"x-api-key", key), now)
        if key is None and bearer is not None:
            return self._callers.recognise((b"authorization", bearer), now)
        return None


def _record_of(asked: Asked, caller: Principal, at: datetime, given: Given, latency_us: int, request_id: str) -> RequestRecord:
    # by place: by name it would take twice as long
    return RequestRecord(
        at,
        caller.tenant_id,
        caller.user_id,
        caller.key_id or "",
        session_kind(caller),
        caller.tier,
        "GET",
        asked.route.path,
        asked.indicator,
        asked.symbol,
        given.status,
        latency_us,
        "hit",
        1,
        subject_of(caller),
        len(given.body),
        request_id,
    )
