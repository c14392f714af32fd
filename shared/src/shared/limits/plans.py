"""The plan book: what each tier allows. Written by operators as YAML, owned by ratelimit-service, read by whoever enforces it."""

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    WrapSerializer,
    model_serializer,
    model_validator,
)

__all__ = [
    "MOST_CHARACTERS",
    "MOST_OVERRIDES",
    "SECONDS_A_DAY",
    "AuthRules",
    "Burst",
    "EntitlementChanges",
    "Entitlements",
    "Feature",
    "Guard",
    "Limits",
    "Outage",
    "Override",
    "Plan",
    "PlanBook",
    "PlanFileError",
    "Quota",
    "parse_plans",
]

SECONDS_A_DAY = 86_400
MOST_CHARACTERS = 64 << 10
"""Of a plan file."""

MOST_OVERRIDES = 2_000
"""Of tenants in one book: whoever enforces it reads all of it after every change."""

_MOST_TIERS = 64
_Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=1_000)]

Outage = Literal["local-share", "open", "closed"]
"""While the store of the counters is away: each gateway spends its part of what is left, or nothing is counted, or nothing is
admitted."""
Feature = Literal["expressions", "screener", "patterns", "custom_indicators"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=_Rule)


class Quota(_Rule):
    """So many. One in `shadow` is counted and told of in the metrics, and refuses nobody."""

    quota: int = Field(gt=0, le=1 << 48)
    shadow: bool = False
    outage: Outage = "local-share"

    def part(self, members: int) -> Self:
        return self.model_copy(update={"quota": max(1, self.quota // max(1, members))})

    @model_serializer(mode="wrap")
    def _without_what_goes_unsaid(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unsaid = {name for name in ("shadow", "outage") if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in write(self).items() if name not in unsaid}


class Burst(Quota):
    """At most `quota + quota·τ/window_s` in any interval of τ seconds."""

    quota: int = Field(gt=0, le=1_000_000)
    window_s: int = Field(default=1, gt=0, le=SECONDS_A_DAY)


def _quota(value: Any) -> Any:
    return {"quota": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _short(quota: Quota, write: SerializerFunctionWrapHandler) -> Any:
    written = write(quota)
    return quota.quota if written.keys() == {"quota"} else written


Number = Annotated[Quota, BeforeValidator(_quota), WrapSerializer(_short)]
"""`50` is short for `{quota: 50}`."""


class Limits(_Rule):
    """How much; what is absent is unlimited. `day` counts requests from midnight to midnight UTC.

    `tenant` counts the day's requests of all members of the caller's tenant, `ip` those of all callers from one address, whose
    plans have it.
    """

    burst: Burst | None = None
    day: Number | None = None
    concurrency: Number | None = None
    tenant: Number | None = None
    ip: Burst | None = None

    def part(self, members: int) -> "Limits":
        """One of so many equal parts of each of the caller's own, rounded down; at least 1."""
        own = {"burst": self.burst, "day": self.day, "concurrency": self.concurrency}
        return self.model_copy(update={name: rule.part(members) for name, rule in own.items() if rule is not None})


class Guard(Burst):
    """What one address may try: `quota` in a window, of which `window_s / quota` seconds give back one.

    Beyond that each further try makes the next one wait, 1 s, 2 s, 4 s … up to `longest_s`, a temporary block; `forget_s` without
    one forgets the waits.
    """

    quota: int = Field(default=30, gt=0, le=10_000)
    window_s: int = Field(default=60, gt=0, le=SECONDS_A_DAY)
    longest_s: int = Field(default=300, gt=0, le=SECONDS_A_DAY)
    forget_s: int = Field(default=3600, gt=0, le=SECONDS_A_DAY)
    outage: Outage = "closed"

    @model_validator(mode="after")
    def _is_never_shared(self) -> Self:
        if self.outage == "local-share":
            raise ValueError("outage of an auth rule is closed or open: what an address has tried is not known without the store")
        return self


class AuthRules(_Rule):
    """By the client's address: failed logins, registrations, and mails for forgotten passwords."""

    failed_logins: Guard = Guard()
    registrations: Guard = Guard()
    mails: Guard = Guard()


class Entitlements(_Rule):
    """What. `history_days` counts calendar days back from the symbol's newest bar; absent means all of it."""

    indicators: _Names | Literal["all"]
    history_days: int | None = Field(default=None, gt=0, le=36_525)
    batch_series: int = Field(gt=0, le=1_000_000)
    features: tuple[Feature, ...] = Field(default=(), max_length=64)

    def allows_indicator(self, name: str, feature: Feature | None = None) -> bool:
        """`feature` is what the indicator needs beside its name."""
        return (self.indicators == "all" or name in self.indicators) and (feature is None or feature in self.features)


class Plan(_Rule):
    limits: Limits
    entitlements: Entitlements


class EntitlementChanges(_Rule):
    """Those of `Entitlements` that are another; what is not given stays the tier's. A `history_days` of null is all of it."""

    indicators: _Names | Literal["all"] = "all"
    history_days: int | None = Field(default=None, gt=0, le=36_525)
    batch_series: int = Field(default=1, gt=0, le=1_000_000)
    features: tuple[Feature, ...] = Field(default=(), max_length=64)


class Override(_Rule):
    """What one tenant has instead of what its tier says: from `starts_at` (None: at once), before `ends_at` (None: for good).

    What is given replaces the tier's, null included, which is unlimited; what is not given stays.
    """

    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    limits: Limits = Limits()
    entitlements: EntitlementChanges = EntitlementChanges()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.starts_at is not None and self.ends_at is not None and self.ends_at <= self.starts_at:
            raise ValueError("it ends before it begins")
        if not (self.limits.model_fields_set or self.entitlements.model_fields_set):
            raise ValueError("it changes neither a limit nor an entitlement")
        return self

    def holds(self, now: datetime) -> bool:
        return (self.starts_at is None or self.starts_at <= now) and (self.ends_at is None or now < self.ends_at)

    def over(self, plan: Plan) -> Plan:
        """The plan with what is given here in place of its own."""
        return Plan(limits=_with(plan.limits, self.limits), entitlements=_with(plan.entitlements, self.entitlements))


def _with(rules: R, changes: _Rule) -> R:
    changed = {name: getattr(changes, name) for name in changes.model_fields_set}
    return rules.model_copy(update=changed) if changed else rules


class PlanBook(_Rule):
    """`tiers` from the lowest to the highest: the order answers which tier is the first to allow something.

    `account` is for what a user asks that spends no quota: of the account, of the catalogue, what something would cost.
    `overrides` are by the tenant's id; no file has them, they are ratelimit-service's to write.
    """

    anonymous_ip: Burst
    account: Burst = Burst(quota=20)
    tiers: dict[str, Plan] = Field(min_length=1, max_length=_MOST_TIERS)
    overrides: dict[str, Override] = Field(default_factory=dict, max_length=MOST_OVERRIDES)
    auth: AuthRules = AuthRules()

    @model_validator(mode="after")
    def _tiers_are_named(self) -> Self:
        if bad := [name for name in self.tiers if not name.isidentifier()]:
            raise ValueError(f"not a tier name: {', '.join(bad)}")
        return self

    def plan_of(self, tier: str, tenant_id: str, now: datetime) -> Plan | None:
        """What the tier allows, of this tenant at this moment; None for a tier that is not here."""
        plan = self.tiers.get(tier)
        override = self.overrides.get(tenant_id)
        if plan is None or override is None or not override.holds(now):
            return plan
        if (tier, tenant_id) not in self.laid_over:
            self.laid_over[tier, tenant_id] = override.over(plan)
        return self.laid_over[tier, tenant_id]

    @cached_property
    def laid_over(self) -> dict[tuple[str, str], Plan]:
        """Overrides over plans, each made when it is first needed."""
        return {}

    def first_tier_with(self, indicator: str, feature: Feature | None = None) -> str | None:
        """The lowest tier that may use the indicator, and the feature it needs."""
        return self._first(name for name, plan in self.tiers.items() if plan.entitlements.allows_indicator(indicator, feature))

    def first_tier_having(self, feature: Feature) -> str | None:
        return self._first(name for name, plan in self.tiers.items() if feature in plan.entitlements.features)

    def first_tier_reaching(self, history_days: int) -> str | None:
        """The lowest tier whose history reaches that many days back."""
        reaches = (
            name
            for name, plan in self.tiers.items()
            if plan.entitlements.history_days is None or plan.entitlements.history_days >= history_days
        )
        return self._first(reaches)

    def first_tier_batching(self, series: int) -> str | None:
        """The lowest tier that allows so many series in a batch."""
        return self._first(name for name, plan in self.tiers.items() if plan.entitlements.batch_series >= series)

    @staticmethod
    def _first(names: Iterable[str]) -> str | None:
        return next(iter(names), None)


class PlanFileError(ValueError):
    """Names every bad rule of a plan file, one a line; `located` are where each stands, and what is wrong with it."""

    def __init__(self, located: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.located = located
        self.faults = [f"{'.'.join(map(str, where)) or 'plans'}: {what}" for where, what in located]
        super().__init__("\n".join(self.faults))


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:  # PyYAML itself takes the last, and says nothing
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def parse_plans(text: str) -> PlanBook:
    """Of the file as its operator writes it, whole. Raises `PlanFileError`."""
    document = _load(text)
    if isinstance(document, dict) and "overrides" in document:
        raise PlanFileError([(("overrides",), "not a rule of the file")])
    try:
        return PlanBook.model_validate(document)
    except ValidationError as error:
        faults = [(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False, include_url=False)]
        raise PlanFileError(faults) from None


def _load(text: str) -> Any:
    if len(text) > MOST_CHARACTERS:
        raise PlanFileError([((), f"longer than {MOST_CHARACTERS:,} characters")])
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except RecursionError:
        raise PlanFileError([((), "not YAML: nested too deeply")]) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a number or a date that Python does not read
        raise PlanFileError([((), f"not YAML: {error}")]) from None
