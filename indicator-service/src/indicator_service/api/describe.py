"""How the public document describes each indicator: a path for each, though one route serves them all."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from indicator_service.api.schemas import shown_parameters
from indicator_service.domain.batch import BatchBody
from indicator_service.domain.candles import MOST_BARS
from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.expressions.syntax import MOST_CHARACTERS
from indicator_service.domain.indicator import Indicator, Parameter
from indicator_service.domain.request import Query
from shared.formats import TABLE_CONTENT

__all__ = ["describe_indicators"]

_PATH = "/api/v1/indicators"
_JSON_TYPES = {"int": "integer", "float": "number", "choice": "string", "date": "string", "series": "string"}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_COLUMNS = ("open", "high", "low", "close", "volume")
_FORMATS = (
    "As CSV, Arrow (an IPC stream) or Parquet the answer is the rows alone, with the values of the JSON to the last bit. "
    'What JSON says beside them is in header fields: `Link` with `rel="next"`, `X-Kalpi-Window-Clamped`, `X-Kalpi-Data-Version`, '
    "`X-Kalpi-Warmup-Required`, `-Used` and `-Converged`."
)
_EXAMPLE = {
    "bars": [
        {"date": "2013-02-27", "open": 448.43, "high": 452.44, "low": 440.65, "close": 444.57, "volume": 20976800},
        {"date": "2013-02-28", "open": 444.05, "high": 447.87, "low": 441.4, "close": 441.4, "volume": 11518400},
        {"date": "2013-03-01", "open": 438.0, "high": 438.18, "low": 429.98, "close": 430.47, "volume": 19730300},
    ],
    "parameters": {},
}


def describe_indicators(app: FastAPI) -> None:
    plain = app.openapi

    def with_indicators() -> dict[str, Any]:
        document = plain()
        paths = document["paths"]
        if f"{_PATH}/rsi" not in paths:
            paths[f"{_PATH}/{{name}}"]["post"]["requestBody"] = _BODY
            document["components"] |= {"parameters": _COMMON, "responses": _RESPONSES}
            document["components"]["schemas"] |= _batch_schemas()
            paths[f"{_PATH}/batch"]["post"]["requestBody"] = _BATCH
            paths.update({f"{_PATH}/{indicator.name}": {"get": _operation(indicator)} for indicator in CATALOGUE.values()})
        return document

    app.openapi = with_indicators  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _operation(indicator: Indicator) -> dict[str, Any]:
    return {
        "tags": ["patterns" if indicator.type == "pattern" else "indicators"],
        "operationId": indicator.name,
        "summary": indicator.title,
        "description": f"{indicator.formula}\n\n{indicator.reference}",
        "parameters": [
            *({"$ref": f"#/components/parameters/{name}"} for name in _COMMON),
            *(_parameter(parameter) for parameter in shown_parameters(indicator)),
        ],
        "responses": {
            "200": {"$ref": "#/components/responses/Indicator"},
            "304": {"$ref": "#/components/responses/NotModified"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _JSON_TYPES[parameter.type], "default": parameter.default}
    if parameter.type == "series":
        schema |= {"maxLength": MOST_CHARACTERS, "examples": [*parameter.choices, "sma(close, 20)"]}
    elif parameter.type == "date":
        schema["format"] = "date"
    elif parameter.choices:
        schema["enum"] = list(parameter.choices)
    else:
        schema |= {"minimum": parameter.minimum, "maximum": parameter.maximum}
    also = f"; also: {', '.join(parameter.aliases)}" if parameter.aliases else ""
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "schema": schema,
        "description": parameter.description + also,
        "example": parameter.default,
    }


def _common() -> dict[str, dict[str, Any]]:
    """What every indicator takes, said once."""
    whole = Query.model_json_schema()
    return {
        f"indicator_{name}": {
            "name": name,
            "in": "query",
            "required": name in whole["required"],
            "schema": {key: value for key, value in schema.items() if key not in {"title", "description", "examples"}},
            **({"description": schema["description"]} if "description" in schema else {}),
            **({"example": schema["examples"][0]} if "examples" in schema else {}),
        }
        for name, schema in whole["properties"].items()
    }


def _batch_schemas() -> dict[str, Any]:
    whole = BatchBody.model_json_schema(ref_template="#/components/schemas/{model}")
    inner = whole.pop("$defs")
    return {"BatchBody": whole, **inner}


_COMMON = _common()
_BATCH: Mapping[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/BatchBody"},
            "example": {
                "constructs": [
                    {
                        "symbol": symbol,
                        "start_date": "2013-01-02",
                        "indicators": [
                            {"indicator": "rsi"},
                            {"id": "trend", "indicator": "sma", "parameters": {"time_period": 50}},
                        ],
                    }
                    for symbol in ("AAPL", "MSFT")
                ]
            },
        }
    },
}
_RESPONSES: Mapping[str, Any] = {
    "Indicator": {
        "description": _FORMATS,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/IndicatorAnswer"}},
            **TABLE_CONTENT,
        },
    },
    "NotModified": {"description": "The client has these bytes"},
    "Problem": {
        "description": "Problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}
_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["bars"],
                "additionalProperties": False,
                "properties": {
                    "bars": {
                        "description": f"at most {MOST_BARS}, ascending by date, each once: a day, or a time with an offset; "
                        "columns that the indicator does not need may be left out",
                        "oneOf": [
                            {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": MOST_BARS,
                                "items": {
                                    "type": "object",
                                    "required": ["date"],
                                    "additionalProperties": False,
                                    "properties": {"date": {"type": "string"}, **{name: {"type": "number"} for name in _COLUMNS}},
                                },
                            },
                            {
                                "type": "object",
                                "description": "the same as columns",
                                "required": ["date"],
                                "additionalProperties": False,
                                "properties": {
                                    "date": {"type": "array", "items": {"type": "string"}},
                                    **dict.fromkeys(_COLUMNS, _NUMBERS),
                                },
                            },
                        ],
                    },
                    "parameters": {
                        "type": "object",
                        "description": "the indicator's own, as in its GET, numbers as numbers",
                    },
                    "order": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
                    "include_ohlc": {"type": "boolean", "default": False},
                },
            },
            "example": _EXAMPLE,
        }
    },
}
