"""GET /indicators, and a path for each indicator of the catalogue so that the public document shows its parameters."""

from functools import lru_cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.datastructures import QueryParams

from indicator_service.api.schemas import CatalogueAnswer, IndicatorAnswer, entry_of
from indicator_service.domain.answer import answer_of
from indicator_service.domain.catalogue import CATALOGUE, Indicator, find
from indicator_service.domain.ports import BarSource
from indicator_service.domain.request import IndicatorRequest, parse_request, query_model
from indicator_service.domain.series import compute
from shared.conditional import conditional_json
from shared.direct import DirectRoute
from shared.errors import TierRequired
from shared.guard import Caller
from shared.limits.book import PlanWatcher
from shared.limits.history import history_window
from shared.local_time import day_of
from shared.principal import Envelope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/indicators", tags=["indicators"])


async def _plans(request: Request) -> PlanWatcher:
    plans: PlanWatcher = request.app.state.plans
    return plans


async def _source(request: Request) -> BarSource:
    source: BarSource = request.app.state.source
    return source


Plans = Annotated[PlanWatcher, Depends(_plans)]
Source = Annotated[BarSource, Depends(_source)]


@router.get("", summary="The catalogue")
async def catalogue(plans: Plans) -> CatalogueAnswer:
    """Every indicator: what it takes, what it gives, how long it warms up and which tier may use it."""
    return CatalogueAnswer(data=[entry_of(indicator, plans.book) for indicator in CATALOGUE.values()], next_cursor=None)


async def _answer(request: Request, caller: Envelope, plans: PlanWatcher, source: BarSource, indicator: Indicator) -> Response:
    asked = _asked(indicator, request.scope["query_string"])
    _check_entitled(caller, plans, asked)
    query = asked.query
    bars = await source.bars(query.symbol, query.interval, query.adjustment)
    window = history_window(
        caller.entitled,
        plans,
        oldest=day_of(bars.date[0], bars.zone),
        newest=day_of(bars.date[-1], bars.zone),
        start=query.start_date,
        end=query.end_date,
    )
    # on the event loop: a few microseconds for thousands of bars, less than handing it to a thread
    computed = compute(indicator, bars, query.series_type, asked.values)
    body = orjson.dumps(answer_of(asked, bars, computed, window, caller.principal.tier))
    return conditional_json(request, body, f"bars:{bars.symbol}@{bars.data_version}")


@lru_cache(1024)
def _asked(indicator: Indicator, query: bytes) -> IndicatorRequest:
    return parse_request(indicator, QueryParams(query).multi_items())


def _check_entitled(caller: Envelope, plans: PlanWatcher, asked: IndicatorRequest) -> None:
    name = asked.indicator.name
    if not caller.entitled.allows_indicator(name):
        raise TierRequired(f"{name} is not part of the tier {caller.principal.tier}", plans.book.first_tier_with(name))


def _add_route_of(indicator: Indicator) -> None:
    async def computed(request: Request, caller: Caller, plans: Plans, source: Source) -> Response:
        return await _answer(request, caller, plans, source, indicator)

    router.add_api_route(
        f"/{indicator.name}",
        computed,
        name=indicator.name,
        operation_id=indicator.name,
        summary=indicator.title,
        description=f"{indicator.formula}\n\n{indicator.reference}",
        response_model=IndicatorAnswer,
        openapi_extra={"x-own-query": True, "parameters": _described(indicator)},
        route_class_override=DirectRoute,
    )


def _described(indicator: Indicator) -> list[dict[str, Any]]:
    """The OpenAPI parameters of an indicator's query."""
    schema = query_model(indicator).model_json_schema()
    required = schema.get("required", [])
    described = []
    for name, whole in schema["properties"].items():
        known = {key: value for key, value in whole.items() if key not in {"title", "description", "examples"}}
        parameter = {"name": name, "in": "query", "required": name in required, "schema": known}
        if "description" in whole:
            parameter["description"] = whole["description"]
        if "examples" in whole:
            parameter["example"] = whole["examples"][0]
        described.append(parameter)
    return described


for _indicator in CATALOGUE.values():
    _add_route_of(_indicator)


@router.get("/{name}", include_in_schema=False, openapi_extra={"x-own-query": True})
async def by_any_name(
    request: Request, caller: Caller, plans: Plans, source: Source, name: Annotated[str, Path(max_length=64)]
) -> Response:
    """Aliases and other capitals; a 404 for what is no indicator."""
    return await _answer(request, caller, plans, source, find(name))
