"""GET /indicators, and one route for every indicator of the catalogue: what each takes is checked by the domain and described in
`api/describe.py`, for two hundred routes would be searched one after the other at each request."""

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import QueryParams

from indicator_service.api.answering import ALL_OF_IT, answer_of, aside, computed, is_long_to_read, written
from indicator_service.api.dependencies import Custom, Plans, Source
from indicator_service.api.entitled import check_parameters, window_of
from indicator_service.api.own import found, own_catalogue, read_with_own
from indicator_service.api.schemas import CatalogueAnswer, CatalogueQuery, IndicatorAnswer, catalogue_body
from indicator_service.domain.answer import Scope, StoredScope
from indicator_service.domain.candles import parse_candles
from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.request import IndicatorRequest, parse_request
from indicator_service.domain.results import Results
from indicator_service.domain.saving import CustomIndicators
from indicator_service.domain.series import Bars
from shared.conditional import conditional
from shared.direct import DirectRoute
from shared.errors import Unavailable
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, FormatChoice, next_link, requested_format
from shared.guard import Caller
from shared.principal import Envelope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/indicators", tags=["indicators"])

Name = Annotated[str, Path(max_length=64, description="an indicator's name or alias, in any case", examples=["rsi"])]


@router.get("", summary="The catalogue", response_model=CatalogueAnswer)
async def catalogue(
    request: Request, caller: Caller, plans: Plans, custom: Custom, query: Annotated[CatalogueQuery, Query()]
) -> Response:
    """Every indicator: what it takes, what it gives, how long it warms up and which tier may use it; after the built-in ones your
    own. Filters that are given all apply. While your own cannot be read, `X-Kalpi-Incomplete` says that they are missing.
    """
    try:
        own = await own_catalogue(custom, caller)
    except Unavailable:
        if query.type == "custom":
            raise
        return conditional(
            request, catalogue_body(query, plans.book), MEDIA_TYPES["json"], headers={"X-Kalpi-Incomplete": "custom"}
        )
    return conditional(request, catalogue_body(query, plans.book, own), MEDIA_TYPES["json"])


async def stored(request: Request, caller: Caller, plans: Plans, source: Source, custom: Custom, name: Name) -> Response:
    """An indicator of a stored symbol; a 404 for what is no indicator."""
    indicator = await _found(request, caller, custom, name)

    async def read(functions: Functions) -> IndicatorRequest:
        # a user's own are compiled with the values that were sent
        is_long = indicator.type == "custom" or functions is not FUNCTIONS_BY_NAME
        return await aside(lambda: _asked(indicator, request.scope["query_string"], functions), when=is_long)

    asked, used_own = await read_with_own(custom, caller, read)
    form = requested_format(request, asked.format)
    check_parameters(caller, plans, asked.parameters)
    wanted = asked.wanted
    bars = await source.bars(str(wanted.symbol), str(wanted.interval), str(wanted.adjustment), wanted.as_of)
    window = window_of(caller, plans, bars, wanted.start, wanted.end or wanted.as_of)
    asked.parameters.check_affordable(len(bars), "query")
    scope = StoredScope(asked, bars, window, caller.principal.tier)
    results: Results = request.app.state.results
    work = scope.work(form)
    guess = asked.parameters.takes_long(bars)
    is_own = used_own or indicator.type == "custom"
    if asked.explain:
        cached = not is_own and await results.is_kept(scope.result_key(form), work, guess=guess)
        return conditional(request, scope.explanation(cached=cached), MEDIA_TYPES["json"])

    async def make() -> bytes:
        outputs = await computed(request, asked.parameters.cost, bars, asked.parameters.computed)
        return await written(scope, outputs, form)

    headers = {} if form == "json" else {**scope.headers(), **next_link(request, scope.page.next_cursor, form)}
    if is_own:
        # no copy is kept, here or, without a key, at the gateway: it means another thing to others, and after its next change
        return conditional(request, await make(), MEDIA_TYPES[form], None, headers)
    ttl_s = results.ttl.of(indicator.group, forming=scope.may_still_change)
    answer = await results.answer(lambda: scope.result_key(form), work, ttl_s, make, guess=guess)
    return conditional(request, answer, MEDIA_TYPES[form], f"bars:{bars.symbol}@{bars.data_version}", headers)


router.add_api_route(
    "/{name}", stored, include_in_schema=False, openapi_extra={"x-own-query": True}, route_class_override=DirectRoute
)


def _asked(indicator: Indicator, query: bytes, functions: Functions) -> IndicatorRequest:
    return _remembered(indicator, query) if functions is FUNCTIONS_BY_NAME else _parsed(indicator, query, functions)


@lru_cache(1024)
def _remembered(indicator: Indicator, query: bytes) -> IndicatorRequest:
    return _parsed(indicator, query, FUNCTIONS_BY_NAME)


def _parsed(indicator: Indicator, query: bytes, functions: Functions) -> IndicatorRequest:
    return parse_request(indicator, QueryParams(query).multi_items(), functions)


class SentQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: FormatChoice = None


async def sent(
    request: Request, caller: Caller, plans: Plans, custom: Custom, name: Name, query: Annotated[SentQuery, Query()]
) -> Response:
    """The answer that the same bars would get if they were stored. `warmup.converged` says whether enough were sent for the
    newest row no longer to depend on where they begin; what counts from the first bar always does.
    """
    indicator = await _found(request, caller, custom, name)
    form = requested_format(request, query.format)
    body = await request.body()

    async def read(functions: Functions) -> tuple[IndicatorRequest, Bars]:
        is_long = indicator.type == "custom" or is_long_to_read(body, functions)
        return await aside(lambda: parse_candles(indicator, body, functions), when=is_long)

    (asked, bars), _ = await read_with_own(custom, caller, read)
    check_parameters(caller, plans, asked.parameters)
    asked.parameters.check_affordable(len(bars), "body", "parameters")
    outputs = await computed(request, asked.parameters.cost, bars, asked.parameters.computed)
    return await answer_of(Scope(asked, bars, ALL_OF_IT, caller.principal.tier), outputs, form)


router.add_api_route(
    "/{name}",
    sent,
    methods=["POST"],
    summary="An indicator of your own candles",
    response_model=IndicatorAnswer,
    responses={200: {"content": TABLE_CONTENT}},
    route_class_override=DirectRoute,
)


async def _found(request: Request, caller: Envelope, custom: CustomIndicators, name: str) -> Indicator:
    indicator = await found(custom, caller, name)
    # metrics and traces tell one from another, but not the ones that users have made
    request.scope["kalpi.route"] = f"{router.prefix}/{'(custom)' if indicator.type == 'custom' else indicator.name}"
    return indicator
