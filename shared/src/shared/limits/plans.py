"""The plan book: what each tier allows. Written by operators as YAML, owned by ratelimit-service, read by whoever enforces it."""

from collections.abc import Iterable
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["SECONDS_A_DAY", "Burst", "Entitlements", "Feature", "Limits", "Plan", "PlanBook", "PlanFileError", "parse_plans"]

SECONDS_A_DAY = 86_400
Feature = Literal["expressions", "screener", "patterns", "custom_indicators"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Burst(_Rule):
    """At most `quota + quota·τ/window_s` in any interval of τ seconds."""

    quota: int = Field(gt=0, le=1_000_000)
    window_s: int = Field(default=1, gt=0, le=SECONDS_A_DAY)


class Limits(_Rule):
    """How much; what is absent is unlimited. `day` counts requests from midnight to midnight UTC."""

    burst: Burst | None = None
    day: int | None = Field(default=None, gt=0)
    concurrency: int | None = Field(default=None, gt=0)

    def part(self, members: int) -> "Limits":
        """One of so many equal parts of each, rounded down; at least 1."""

        def one(whole: int) -> int:
            return max(1, whole // max(1, members))

        return Limits(
            burst=Burst(quota=one(self.burst.quota), window_s=self.burst.window_s) if self.burst is not None else None,
            day=one(self.day) if self.day is not None else None,
            concurrency=one(self.concurrency) if self.concurrency is not None else None,
        )


class Entitlements(_Rule):
    """What. `history_days` counts calendar days back from the symbol's newest bar; absent means all of it."""

    indicators: tuple[str, ...] | Literal["all"]
    history_days: int | None = Field(default=None, gt=0, le=36_525)
    batch_series: int = Field(gt=0)
    features: tuple[Feature, ...] = ()

    def allows_indicator(self, name: str, feature: Feature | None = None) -> bool:
        """`feature` is what the indicator needs beside its name."""
        return (self.indicators == "all" or name in self.indicators) and (feature is None or feature in self.features)


class Plan(_Rule):
    limits: Limits
    entitlements: Entitlements


class PlanBook(_Rule):
    """`tiers` from the lowest to the highest: the order answers which tier is the first to allow something."""

    anonymous_ip: Burst
    tiers: dict[str, Plan] = Field(min_length=1)

    @model_validator(mode="after")
    def _tiers_are_named(self) -> Self:
        if bad := [name for name in self.tiers if not name.isidentifier()]:
            raise ValueError(f"not a tier name: {', '.join(bad)}")
        return self

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
    """Names every bad rule of a plan file, one a line."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def parse_plans(text: str) -> PlanBook:
    """Raises `PlanFileError`."""
    try:
        return PlanBook.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise PlanFileError([f"not YAML: {error}"]) from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'plans'}: {fault['msg']}" for fault in error.errors()]
        raise PlanFileError(faults) from error
