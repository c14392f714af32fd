"""What indicator-service answers, as the public document describes it."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.indicator import Indicator, Parameter
from indicator_service.domain.inputs import SERIES_TYPES
from shared.limits.plans import PlanBook

__all__ = [
    "CatalogueAnswer",
    "CatalogueQuery",
    "ExpressionAnswer",
    "IndicatorAnswer",
    "ValidationAnswer",
    "catalogue_body",
    "entry_of",
    "shown_parameters",
]

_Type = Literal["indicator", "pattern", "custom"]


class CatalogueQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: _Type | None = None
    group: Annotated[str | None, Field(max_length=64, description="a group of TA-Lib's, in any case")] = None
    input: Annotated[str | None, Field(max_length=16, description="takes this column, or `series_type` where it takes any")] = (
        None
    )
    search: Annotated[str | None, Field(max_length=64, description="part of a name, an alias or the title, in any case")] = None


class CatalogueParameter(BaseModel):
    """Bounds are inclusive; a choice has `choices` instead, a series `choices` and any expression of numbers."""

    name: str
    type: Literal["int", "float", "choice", "date", "series"]
    default: int | float | str
    minimum: float | None
    maximum: float | None
    choices: list[str] | None
    aliases: list[str]
    description: str


class CatalogueWarmup(BaseModel):
    """At the defaults: bars before the first value, and bars after which a value no longer depends on where the input began; null
    where it always does."""

    lookback: int
    required: int | None
    recursive: bool


class CatalogueEntry(BaseModel):
    """`inputs` are columns of the bars, or the parameter that names one."""

    name: str
    title: str
    type: _Type
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
    """Bars needed before the first row for it to have converged to 1e-6, and bars there were; of your own candles, before the
    newest row. `required` is null for what counts from the first bar, as OBV: of a stored symbol it has converged all the same,
    for its first bar is always used.
    """

    required: int | None
    used: int
    converged: bool


class IndicatorProvenance(BaseModel):
    engine: str
    formula: str
    data_version: str | None
    as_of: str | None


class _Answer(BaseModel):
    symbol: str | None
    interval: str | None
    adjustment: str | None
    start_date: str | None
    end_date: str | None
    data_points: int
    window: IndicatorWindow
    warmup: IndicatorWarmup
    provenance: IndicatorProvenance
    data: list[dict[str, Any]]
    next_cursor: str | None


class IndicatorAnswer(_Answer):
    """Each row of `data` has a `date` and the indicator's outputs; a value that does not exist (yet) is null. Of your own candles
    symbol, interval, adjustment and data version are null."""

    indicator: str
    parameters: dict[str, Any]


class ExpressionAnswer(_Answer):
    """Each row of `data` has a `date` and a `value`, or the outputs of the indicator. `provenance.formula` is the one spelling
    of the expression, everything that was left out put in."""

    expression: str
    parameters: dict[str, int | float | str]
    type: Literal["number", "boolean", "outputs"]


class ExpressionMistake(BaseModel):
    """`offset` counts characters from 0, `line` and `column` from 1."""

    loc: list[str]
    msg: str
    type: str
    offset: int
    line: int
    column: int
    length: int
    suggestion: str | None


class ValidationAnswer(BaseModel):
    """Without a mistake `errors` is empty; with one, everything else is null."""

    valid: bool
    type: Literal["number", "boolean", "outputs"] | None
    outputs: list[str] | None
    canonical: str | None
    lookback: int | None
    required: int | None
    cost: float | None
    columns: list[str] | None
    indicators: list[str] | None
    errors: list[ExpressionMistake]


def shown_parameters(indicator: Indicator) -> list[Parameter]:
    """Its own, and those that choose its free inputs."""
    series = [
        Parameter(name, "series", default, None, None, SERIES_TYPES, (), _series_meaning(indicator, name))
        for name, default in zip(indicator.series_parameters, indicator.series_defaults, strict=True)
    ]
    return [*indicator.parameters, *series]


def _series_meaning(indicator: Indicator, name: str) -> str:
    if indicator.name == "mavp" and name == "series_type_2":
        return "the series that says how many bars to average at each bar"
    if len(indicator.series_parameters) == 1:
        return "the series it is computed on"
    return f"the {'first' if name == 'series_type' else 'second'} series it is computed on"


@lru_cache(1024)
def entry_of(indicator: Indicator) -> Mapping[str, Any]:
    """Of a `CatalogueEntry` all but the tier."""
    defaults = indicator.defaults
    free = iter(indicator.series_parameters)
    return {
        "name": indicator.name,
        "title": indicator.title,
        "type": indicator.type,
        "aliases": indicator.aliases,
        "group": indicator.group,
        "inputs": [column or next(free) for column in indicator.inputs],
        "outputs": indicator.outputs,
        "parameters": [
            {
                "name": p.name,
                "type": p.type,
                "default": p.default,
                "minimum": p.minimum,
                "maximum": p.maximum,
                "choices": p.choices or None,
                "aliases": p.aliases,
                "description": p.description,
            }
            for p in shown_parameters(indicator)
        ],
        "warmup": {
            "lookback": indicator.lookback(defaults),
            "required": indicator.warmup(defaults),
            "recursive": indicator.recursive,
        },
        "formula": indicator.formula,
        "reference": indicator.reference,
    }


def catalogue_body(query: CatalogueQuery, plans: PlanBook, own: Sequence[Indicator] = ()) -> bytes:
    """A `CatalogueAnswer`: the built-in ones, then the caller's own."""
    entries = [
        {**entry_of(indicator), "minimum_tier": _first_tier(indicator, plans)}
        for indicator in (*CATALOGUE.values(), *own)
        if _fits(indicator, query)
    ]
    return orjson.dumps({"data": entries, "next_cursor": None})


def _first_tier(indicator: Indicator, plans: PlanBook) -> str | None:
    if indicator.type == "custom":
        return plans.first_tier_having("custom_indicators")
    return plans.first_tier_with(indicator.name, indicator.feature)


def _fits(indicator: Indicator, query: CatalogueQuery) -> bool:
    names = (indicator.name, *indicator.aliases, indicator.title.lower())
    return (
        (query.type is None or indicator.type == query.type)
        and (query.group is None or indicator.group.lower() == query.group.lower())
        and (query.input is None or query.input.lower() in entry_of(indicator)["inputs"])
        and (query.search is None or any(query.search.lower() in name for name in names))
    )
