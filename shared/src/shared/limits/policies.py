"""A policy, what was decided about it, and what is said of it to clients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.limits.keys import counter, members_of
from shared.limits.plans import SECONDS_A_DAY, Burst, Limits, Outage, Quota

__all__ = ["Decision", "Heading", "Outcome", "Policy", "burst_policy", "policies_of", "slots_policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit on one subject. `name` is what clients read; `cost` is what this request would spend, 0 only looks."""

    name: str
    kind: Literal["burst", "day", "slots"]
    subject: str
    quota: int
    window_s: int
    cost: int = 1
    shadow: bool = False
    outage: Outage = "local-share"

    @property
    def key(self) -> str:
        return counter(self.kind, self.subject)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reset_s`: whole seconds until the policy's quota is whole again; `retry_s`: until a violated one can admit this cost."""

    policy: Policy
    violated: bool
    remaining: int
    reset_s: int
    retry_s: int


class Heading:
    """What is said of the same policies with every request: `RateLimit-Policy` whole, `RateLimit` but for its numbers; `lines`
    are both as they go onto the wire.

    Of policies in shadow and of slots clients are told nothing.
    """

    __slots__ = ("_shown", "all_shown", "lines", "policies", "state", "text")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(policies)
        self._shown = tuple(at for at, policy in enumerate(policies) if policy.kind != "slots" and not policy.shadow)
        self.all_shown = len(self._shown) == len(self.policies)
        shown = [policies[at] for at in self._shown]
        self.text = ", ".join(f'"{p.name}";q={p.quota};w={p.window_s}' for p in shown).encode("ascii")
        self.state = ", ".join(f'"{p.name}";r=%d;t=%d' for p in shown).encode("ascii")
        self.lines = b"ratelimit-policy: %b\r\nratelimit: %b\r\n" % (self.text.replace(b"%", b"%%"), self.state)

    def shown(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Of two numbers a policy, those that clients are told."""
        return tuple(n for at in self._shown for n in numbers[2 * at : 2 * at + 2])


class Decision:
    """`numbers` are remaining and reset_s of each policy; `outcomes` are given where one was violated, else made when asked."""

    __slots__ = ("_outcomes", "admitted", "heading", "numbers")

    def __init__(
        self, heading: Heading, numbers: tuple[int, ...], *, admitted: bool = True, outcomes: tuple[Outcome, ...] | None = None
    ) -> None:
        self.heading = heading
        self.numbers = numbers
        self.admitted = admitted
        self._outcomes = outcomes

    @classmethod
    def of(cls, heading: Heading, outcomes: Sequence[Outcome], *, admitted: bool) -> "Decision":
        numbers = tuple(n for o in outcomes for n in (o.remaining, o.reset_s))
        return cls(heading, numbers, admitted=admitted, outcomes=tuple(outcomes))

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        if self._outcomes is None:
            pairs = zip(self.heading.policies, self.numbers[0::2], self.numbers[1::2], strict=True)
            self._outcomes = tuple(Outcome(policy, False, left, reset_s, 0) for policy, left, reset_s in pairs)  # noqa: FBT003
        return self._outcomes

    @property
    def violated(self) -> tuple[str, ...]:
        """Those that refuse."""
        return tuple(o.policy.name for o in self._outcomes or () if o.violated and not o.policy.shadow)

    @property
    def shadowed(self) -> tuple[str, ...]:
        """Those that would have refused."""
        if self._outcomes is None:
            return ()
        return tuple(o.policy.name for o in self._outcomes if o.violated and o.policy.shadow)

    @property
    def retry_after_s(self) -> int:
        return max((o.retry_s for o in self.outcomes if o.violated and not o.policy.shadow), default=0)

    def later(self, seconds: int) -> "Decision":
        """The same, so many whole seconds after it was made."""
        outcomes = [
            replace(o, reset_s=max(o.reset_s - seconds, 0), retry_s=max(o.retry_s - seconds, int(o.violated)))
            for o in self.outcomes
        ]
        return Decision.of(self.heading, outcomes, admitted=self.admitted)


def burst_policy(name: str, subject: str, burst: Burst, cost: int = 1) -> Policy:
    return Policy(name, "burst", subject, burst.quota, burst.window_s, cost, burst.shadow, burst.outage)


def _day_policy(name: str, subject: str, day: Quota, cost: int) -> Policy:
    return Policy(name, "day", subject, day.quota, SECONDS_A_DAY, cost, day.shadow, day.outage)


def slots_policy(subject: str, concurrency: Quota, lease_s: int) -> Policy:
    """The requests computed at a time; a slot that its holder does not renew ends after `lease_s`."""
    return Policy("concurrency", "slots", subject, concurrency.quota, lease_s, 1, concurrency.shadow, concurrency.outage)


def policies_of(
    limits: Limits, subject: str, *, burst_cost: int = 1, day_cost: int = 1, tenant: str = "", address: str = ""
) -> list[Policy]:
    """The policies a tier's limits put on a subject, its tenant and its address; unlimited ones are absent."""
    policies = []
    if limits.burst is not None:
        policies.append(burst_policy("burst", subject, limits.burst, burst_cost))
    if limits.day is not None:
        policies.append(_day_policy("day", subject, limits.day, day_cost))
    if limits.tenant is not None and tenant:
        policies.append(_day_policy("tenant", members_of(tenant), limits.tenant, day_cost))
    if limits.ip is not None and address:
        policies.append(burst_policy("ip", f"callers:{address}", limits.ip, burst_cost))
    return policies
