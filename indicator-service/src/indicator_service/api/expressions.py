"""Expressions evaluated on a symbol's bars or on a client's own, and validated on none."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from indicator_service.api.answering import ALL_OF_IT, answer_of, aside, computed, is_long_to_read
from indicator_service.api.dependencies import Custom, Plans, Source
from indicator_service.api.entitled import check_feature, check_indicators, window_of
from indicator_service.api.own import read_with_own
from indicator_service.api.schemas import ExpressionAnswer, ValidationAnswer
from indicator_service.domain.answer import Scope
from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.evaluation import (
    EvaluateBody,
    ExpressionRequest,
    ValidateBody,
    mistaken,
    parse_evaluation,
    validation,
)
from indicator_service.domain.expressions import BUDGET_NS
from indicator_service.domain.indicator import Functions
from indicator_service.domain.series import Bars
from shared.errors import InvalidInput
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, FormatChoice, requested_format
from shared.guard import Caller

__all__ = ["body_of", "router"]

router = APIRouter(prefix="/api/v1/expressions", tags=["expressions"])


def body_of(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The body is read by the domain, which names its faults; this is how it is described."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@router.post(
    "/evaluate",
    summary="An expression over the bars of a symbol, or over your own",
    response_model=ExpressionAnswer,
    responses={200: {"content": TABLE_CONTENT}},
    openapi_extra=body_of(EvaluateBody, {"expression": "rsi(14) < 30 and close > sma(close, 200)", "symbol": "AAPL", "limit": 5}),
)
async def evaluate(
    request: Request,
    caller: Caller,
    plans: Plans,
    source: Source,
    custom: Custom,
    format: FormatChoice = None,  # noqa: A002
) -> Response:
    """Rows like an indicator's: a number or `true`, `false`, `null` as `value`, or the outputs of an indicator that stands alone.
    In the other formats the cursor of the next page is in `X-Kalpi-Next-Cursor`. It needs the feature `expressions`, and of the
    plan each indicator that is called.
    """
    form = requested_format(request, format)
    body = await request.body()

    async def read(functions: Functions) -> tuple[ExpressionRequest, Bars | None]:
        return await aside(lambda: parse_evaluation(body, functions), when=is_long_to_read(body, functions))

    (asked, bars), _ = await read_with_own(custom, caller, read)
    check_feature(caller, plans, "expressions")
    check_indicators(caller, plans, asked.expression.indicators)
    wanted, window = asked.wanted, ALL_OF_IT
    if bars is None:
        bars = await source.bars(str(wanted.symbol), str(wanted.interval), str(wanted.adjustment), wanted.as_of)
        window = window_of(caller, plans, bars, wanted.start, wanted.end or wanted.as_of)
    scope = Scope(asked, bars, window, caller.principal.tier)
    _check_cursor(scope)
    expression = asked.expression.within(len(bars), BUDGET_NS)
    outputs = await computed(request, expression.cost, bars, expression.evaluate)
    cursor = scope.page.next_cursor
    return await answer_of(scope, outputs, form, {"X-Kalpi-Next-Cursor": cursor} if cursor else None)


@router.post(
    "/validate",
    summary="What an expression is, or where its mistake stands",
    response_model=ValidationAnswer,
    openapi_extra=body_of(ValidateBody, {"expression": "rsi(14) < 30 and close > sma(close, 200)"}),
)
async def validate(request: Request, caller: Caller, custom: Custom) -> Response:
    """Computes nothing and costs nothing. `canonical` is its one spelling, `cost` the most it takes, in nanoseconds a bar."""
    body = await request.body()

    async def read(functions: Functions) -> dict[str, Any]:
        return await aside(lambda: validation(body, functions), when=is_long_to_read(body, functions))

    try:
        said, _ = await read_with_own(custom, caller, read)
    except InvalidExpression as refused:
        said = mistaken(refused)
    return Response(orjson.dumps(said), media_type=MEDIA_TYPES["json"])


def _check_cursor(scope: Scope) -> None:
    """The page is found once; a cursor that is none stood in the body."""
    try:
        scope.page  # noqa: B018
    except InvalidInput as refused:
        raise InvalidInput.field("body", "cursor", msg=str(refused.errors[0]["msg"])) from None
