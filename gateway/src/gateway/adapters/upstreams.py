"""Requests handed on to the services: to which instance, how long, whether once more (docs/adr/0018)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import TracebackType
from typing import Self

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span

from gateway.adapters.http1.answer import Answer
from gateway.adapters.upstream_answer import BrokenAnswer, UpstreamAnswer
from gateway.adapters.upstream_client import NoAnswer, NotReached, Outgoing, UpstreamClient
from gateway.adapters.upstream_metrics import UpstreamMetrics
from gateway.domain.breaker import BreakerRules
from gateway.domain.instances import Call, Instance, Instances
from gateway.domain.patience import Patience
from gateway.domain.retries import RetryBudget, may_be_repeated
from gateway.domain.shedding import Shedding
from shared.errors import Unavailable
from shared.metrics import Metrics
from shared.telemetry import Telemetry, inject_context

__all__ = ["BrokenAnswer", "Outgoing", "UpstreamAnswer", "Upstreams"]

DEADLINE = "X-Kalpi-Deadline-Ms"
"""How long the answer is waited for, for a service to use: milliseconds from now on, so that no two clocks need agree."""
_RETRIED = 0.1
"""Of the requests, at most so many are sent again."""


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    instances: Instances
    budget: RetryBudget


class Upstreams:
    """`urls` gives each service's base URLs; `timeout_s` is the wait for an answer, and for the next piece of one.

    `clock` tells seconds that never go back.
    """

    def __init__(
        self,
        urls: Mapping[str, Sequence[str]],
        *,
        telemetry: Telemetry,
        metrics: Metrics,
        shedding: Shedding,
        timeout_s: float,
        connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        rules = BreakerRules()
        self._services = {
            name: _Service(name, Instances(instances, rules), RetryBudget(ratio=_RETRIED)) for name, instances in urls.items()
        }
        # half of the time, so that another instance can still be asked
        every = {url for instances in urls.values() for url in instances}
        self._client = UpstreamClient(every, connections=connections, connect_s=timeout_s / 2)
        self._telemetry = telemetry
        self._metrics = UpstreamMetrics(metrics, {name: one.instances for name, one in self._services.items()}, clock)
        self.shedding = shedding
        self._timeout_s = timeout_s
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.__aexit__(kind, error, trace)

    def send(self, service: str, request: Outgoing) -> "_Sending":
        """For `async with`, which gives the answer once its head has come.

        Overloaded; Unavailable when no instance answers in time; what the client's own upload fails with.
        """
        return _Sending(self, self._services[service], request)

    def start_span(self, service: str, request: Outgoing) -> Span:
        if not self._telemetry.exports:
            return get_current_span()  # to be handed on
        attributes = {"http.request.method": request.method, "peer.service": service}
        return self._telemetry.tracer.start_span(f"{request.method} {service}", kind=SpanKind.CLIENT, attributes=attributes)

    async def first_answer(self, service: _Service, request: Outgoing, span: Span) -> tuple[Call, UpstreamAnswer]:
        wait_s = request.timeout_s or self._timeout_s
        now = self._clock()
        ends_at = now + wait_s
        inject_context(request.headers, span)
        service.budget.add_request()
        may_repeat = may_be_repeated(request.method)
        tried: list[Instance] = []
        instance = service.instances.choose(now)
        while instance is not None:
            tried.append(instance)
            try:
                call, answer = await self._ask(service.name, instance, request, ends_at)
                return call, UpstreamAnswer(service.name, answer, Patience(wait_s))
            except NotReached:
                instance = self._next(service, tried, ends_at)
            except NoAnswer as error:
                if not (may_repeat and self._clock() < ends_at and self._may_spend_retry(service)):
                    raise Unavailable(f"{service.name} did not answer ({error})") from error
                may_repeat = False
                # the same one where there is no other: it may be the address of several
                instance = self._next(service, tried, ends_at) or service.instances.choose(self._clock())
        raise Unavailable(f"{service.name} cannot be reached", ceil(service.instances.admit_in(self._clock())))

    def end(self, service: str, call: Call, *, kind: str | None, known: bool) -> None:
        """`kind` is how it failed; where it has not, `known` is False for one whose client went away."""
        call.end(self._clock(), failed=(kind is not None) if known else None)
        if kind is not None:
            self._metrics.failed(service, call.instance, kind)

    async def _ask(self, service: str, instance: Instance, request: Outgoing, ends_at: float) -> tuple[Call, Answer]:
        now = self._clock()
        if isinstance(request.body, bytes):
            request.headers[DEADLINE] = str(int(1000 * (ends_at - now)))
        call = instance.start(now)
        try:
            return call, await self._client.ask(instance.url, request, ends_at - now)
        except (NotReached, NoAnswer) as error:
            self.end(service, call, kind=str(error), known=True)
            raise
        except BaseException:  # the client went away, or its upload failed
            self.end(service, call, kind=None, known=False)
            raise

    def _next(self, service: _Service, tried: list[Instance], ends_at: float) -> Instance | None:
        now = self._clock()
        return service.instances.choose(now, but=tried) if now < ends_at else None

    def _may_spend_retry(self, service: _Service) -> bool:
        sent = service.budget.take(self._clock())
        self._metrics.retry(service.name, sent=sent)
        return sent


class _Sending:
    """One request, from the choice of an instance until its answer has been read, or nobody wants it any more."""

    __slots__ = ("_answer", "_call", "_request", "_service", "_span", "_upstreams")
    _answer: UpstreamAnswer
    _call: Call

    def __init__(self, upstreams: Upstreams, service: _Service, request: Outgoing) -> None:
        self._upstreams = upstreams
        self._service = service
        self._request = request
        self._span = upstreams.start_span(service.name, request)

    async def __aenter__(self) -> UpstreamAnswer:
        shedding, share = self._upstreams.shedding, self._request.share
        try:
            shedding.take(self._service.name, share)
            try:
                self._call, self._answer = await self._upstreams.first_answer(self._service, self._request, self._span)
            except BaseException:
                shedding.give_back(self._service.name, share)
                raise
        except BaseException as error:
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
            self._span.end()
            raise
        self._span.set_attribute("http.response.status_code", self._answer.status)
        return self._answer

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._answer.release()
        self._upstreams.shedding.give_back(self._service.name, self._request.share)
        broken = "broken" if self._answer.broken else None
        self._upstreams.end(self._service.name, self._call, kind=broken, known=error is None or broken is not None)
        self._span.end()
