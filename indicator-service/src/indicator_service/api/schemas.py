"""What indicator-service answers, as the public document describes it."""

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel

from indicator_service.domain.catalogue import Indicator
from shared.limits.plans import PlanBook

__all__ = ["CatalogueAnswer", "CatalogueEntry", "IndicatorAnswer", "entry_of"]


class CatalogueParameter(BaseModel):
    name: str
    type: Literal["int", "float"]
    default: float
    minimum: float
    maximum: float
    aliases: list[str]


class CatalogueWarmup(BaseModel):
    """At the defaults: bars before the first value, and bars after which a value no longer depends on where the input began."""

    lookback: int
    required: int
    recursive: bool


class CatalogueEntry(BaseModel):
    name: str
    title: str
    aliases: list[str]
    group: str
    inputs: list[str]
    outputs: list[str]
    parameters: list[CatalogueParameter]
    warmup: CatalogueWarmup
    minimum_tier: str | None
    formula: str
    reference: str


class CatalogueAnswer(BaseModel):
    data: list[CatalogueEntry]
    next_cursor: None


class IndicatorWindow(BaseModel):
    """`earliest` is the first day the tier sees; null when it sees all. `clamped`: the request reached further back."""

    tier: str
    earliest: date | None
    clamped: bool


class IndicatorWarmup(BaseModel):
    """Bars needed before the first row for it to have converged to 1e-6, and bars there were."""

    required: int
    used: int
    converged: bool


class IndicatorProvenance(BaseModel):
    engine: str
    formula: str
    data_version: str
    as_of: date | None


class IndicatorAnswer(BaseModel):
    """Each row of `data` has a `date` and the indicator's outputs; a value that does not exist yet is null."""

    symbol: str
    interval: str
    indicator: str
    parameters: dict[str, Any]
    adjustment: str
    start_date: date | None
    end_date: date | None
    data_points: int
    window: IndicatorWindow
    warmup: IndicatorWarmup
    provenance: IndicatorProvenance
    data: list[dict[str, Any]]
    next_cursor: str | None


def entry_of(indicator: Indicator, plans: PlanBook) -> CatalogueEntry:
    defaults = indicator.defaults
    return CatalogueEntry(
        name=indicator.name,
        title=indicator.title,
        aliases=list(indicator.aliases),
        group=indicator.group,
        inputs=list(indicator.inputs),
        outputs=list(indicator.outputs),
        parameters=[
            CatalogueParameter(
                name=p.name, type=p.type, default=p.default, minimum=p.minimum, maximum=p.maximum, aliases=list(p.aliases)
            )
            for p in indicator.parameters
        ],
        warmup=CatalogueWarmup(
            lookback=indicator.lookback(defaults), required=indicator.warmup(defaults), recursive=indicator.recursive
        ),
        minimum_tier=plans.first_tier_with(indicator.name),
        formula=indicator.formula,
        reference=indicator.reference,
    )
