"""The catalogue: TA-Lib's own description of each function, `overlay.toml` for what that lacks, and `named.toml` beyond it."""

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any

import talib

from indicator_service.domain.engine import TalibCall
from indicator_service.domain.errors import UnknownIndicator
from indicator_service.domain.indicator import Functions, Indicator, Order, Parameter
from indicator_service.domain.named import shipped
from indicator_service.domain.talib_info import FUNCTIONS, MA_TYPES, FunctionInfo, OptionInfo

__all__ = [
    "CATALOGUE",
    "EDITION",
    "FUNCTIONS_BY_NAME",
    "NAMED",
    "TALIB",
    "edition_of",
    "find",
]

_TEXTS = {
    name: resources.files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("overlay.toml", "named.toml")
}
_OVERLAY: Mapping[str, Any] = tomllib.loads(_TEXTS["overlay.toml"])
_NO_COLUMN = {"periods": "close"}
"""What TA-Lib takes from a column that bars do not have: MAVP's second series."""


def _parameter(option: OptionInfo) -> Parameter:
    name = _OVERLAY["parameters"].get(option.name, option.name)
    aliases = tuple(_OVERLAY["parameter_aliases"].get(name, ()))
    if option.kind == "choice":
        default = next(ma_type for ma_type, number in MA_TYPES.items() if number == option.default)
        return Parameter(name, "choice", default, None, None, tuple(MA_TYPES), aliases, option.hint)
    minimum, maximum = _OVERLAY["bounds"].get(name, (option.minimum, option.maximum))
    return Parameter(name, option.kind, option.default, minimum, maximum, (), aliases, option.hint)


def _entry(info: FunctionInfo, overlay: Mapping[str, Any]) -> Indicator:
    title = info.title
    source = _OVERLAY["sources"].get(overlay.get("source"), overlay.get("source"))
    outputs = tuple(overlay.get("outputs", ("value",)))
    parameters = tuple(_parameter(option) for option in info.options)
    return Indicator(
        name=info.name.lower(),
        title=title,
        type="pattern" if "Output is a candlestick" in info.flags else "indicator",
        group=info.group,
        aliases=tuple(overlay.get("aliases", ())),
        inputs=info.inputs,
        series_defaults=tuple(_NO_COLUMN.get(default, default) for default in info.series_defaults),
        outputs=outputs,
        parameters=parameters,
        ordered=tuple(Order(first, second, how == "below") for first, second, how in overlay.get("ordered", ())),
        formula=overlay["formula"],
        reference=f"{source}; TA-Lib TA_{info.name}" if source else f"TA-Lib TA_{info.name}",
        neutral=overlay.get("neutral", False),
        work=TalibCall(
            function=info.name,
            call=info.call,
            inputs=info.inputs,
            outputs=outputs,
            order=tuple(parameter.name for parameter in parameters),
            memory=tuple(overlay.get("memory", ())),
        ),
    )


def _by_any_name(indicators: Iterable[Indicator]) -> Functions:
    return {name: indicator for indicator in indicators for name in (indicator.name, *indicator.aliases)}


TALIB: Mapping[str, Indicator] = {
    name.lower(): _entry(info, _OVERLAY["functions"][name]) for name, info in sorted(FUNCTIONS.items())
}
NAMED: Mapping[str, Indicator] = {
    indicator.name: indicator
    for indicator in shipped(_TEXTS["named.toml"], _by_any_name(TALIB.values()), _OVERLAY["parameter_aliases"])
}
CATALOGUE: Mapping[str, Indicator] = dict(sorted({**TALIB, **NAMED}.items()))
FUNCTIONS_BY_NAME: Functions = _by_any_name(CATALOGUE.values())


def edition_of(texts: Mapping[str, str]) -> str:
    """Another one for every release, library or definition that may give other values."""
    told = (version("kalpi-indicator-service"), talib.__version__, sorted(texts.items()))
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()


EDITION = edition_of(_TEXTS)


def find(name: str) -> Indicator:
    """By name or alias, in any case; `UnknownIndicator`."""
    wanted = name.lower()
    if (entry := FUNCTIONS_BY_NAME.get(wanted)) is None:
        raise UnknownIndicator(name[:64], similar(wanted))
    return entry


def similar(name: str) -> Sequence[str]:
    return difflib.get_close_matches(name[:64], FUNCTIONS_BY_NAME, n=3)
