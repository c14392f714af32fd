"""A user's own indicator as one of the catalogue's: the same checks, the same routes; its expression does the work."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.columns import COLUMNS
from indicator_service.domain.custom import CustomIndicator, Draft
from indicator_service.domain.errors import BrokenCustomIndicator, InvalidExpression, Mistake
from indicator_service.domain.expressions import BUDGET_NS, Expression, expression_of, too_costly
from indicator_service.domain.expressions.builtins import BUILT_INS
from indicator_service.domain.expressions.tree import Node
from indicator_service.domain.indicator import Computation, Indicator, Parameter, Value
from indicator_service.domain.named import Definition, NamedWork, named_indicator
from shared.errors import InvalidInput

__all__ = ["RESERVED_NAMES", "OwnFunctions", "check_draft", "check_own_affordable", "indicator_of"]

_WORDS = {"and", "or", "not", "true", "false", "source"}
_PATHS = {"custom", "batch"}
"""What stands, or may come to stand, in a path where the name of an indicator does."""

RESERVED_NAMES = frozenset(FUNCTIONS_BY_NAME) | BUILT_INS.keys() | COLUMNS.keys() | _WORDS | _PATHS
"""No indicator of a user's is called so: the name would mean something else in a path or in an expression."""


class OwnWork(NamedWork):
    """The work of an indicator that one expression defines: it has that one's outputs."""

    def expression(self, values: Mapping[str, Value]) -> Expression:
        return self.definition.expressions(values)["value"]

    def bound(self, values: Mapping[str, Value]) -> Computation:
        return self.expression(values).evaluate

    def root(self, values: Mapping[str, Value]) -> Node:
        """What stands for a call of it in another expression: so that is one of the catalogue's functions alone, whatever becomes
        of this one."""
        return self.expression(values).root


def check_draft(draft: Draft, *loc: str) -> Sequence[Indicator]:
    """The indicators it is made of. Raises InvalidExpression, with its place, for an expression that is none with the defaults of
    its parameters."""
    defaults = {parameter.name: parameter.default for parameter in draft.parameters}
    expression = expression_of(draft.expression, FUNCTIONS_BY_NAME, defaults, loc=loc, source=True)
    if expression.kind == "number":
        msg = "this is a constant, the same at every bar"
        raise InvalidExpression(Mistake(msg, "expression_type", 0, 1, 1, len(draft.expression)), loc)
    return expression.indicators


def check_own_affordable(indicator: Indicator, values: Mapping[str, Value], count: int) -> None:
    """Of a user's own raises InvalidInput where computing it on so many bars may take longer than one request may."""
    if isinstance(indicator.work, OwnWork) and (cost := indicator.work.cost(values)) * count > BUDGET_NS:
        raise InvalidInput.field("indicator", msg=too_costly(cost, count, BUDGET_NS), type_="cost")


def indicator_of(custom: CustomIndicator) -> Indicator:
    """BrokenCustomIndicator where its expression, once checked, is none any more: the catalogue has changed."""
    try:
        return _made(custom)
    except InvalidExpression as refused:
        raise BrokenCustomIndicator(custom.name, refused.mistake.msg) from refused


# a version never changes, so one that is equal computes the same; what is cached for it (pydantic's models) is found again
@lru_cache(1024)
def _made(custom: CustomIndicator) -> Indicator:
    version = custom.version
    definition = Definition({"value": version.expression}, {}, FUNCTIONS_BY_NAME, ("expression",))
    indicator = named_indicator(
        custom.name,
        custom.description or custom.name,
        definition,
        [Parameter(p.name, p.type, p.default, p.minimum, p.maximum, (), (), "") for p in version.parameters],
        group="Custom",
        reference=f"yours, version {version.number} of {version.created_at:%Y-%m-%d}",
    )
    expression = definition.expressions(indicator.defaults)["value"]
    return replace(
        indicator,
        type="custom",
        outputs=expression.outputs,
        truths=expression.truths,
        work=OwnWork(definition, indicator.defaults),
        edition=f"{custom.id}.{version.number}",
        uses=expression.indicators,
    )


class OwnFunctions(Mapping[str, Indicator]):
    """What a user's expression may call: the catalogue, then what is the user's own, each made when it is called."""

    def __init__(self, own: Sequence[CustomIndicator]) -> None:
        self._own = {custom.name: custom for custom in own}

    def __getitem__(self, name: str) -> Indicator:
        return FUNCTIONS_BY_NAME[name] if name in FUNCTIONS_BY_NAME else indicator_of(self._own[name])

    def __contains__(self, name: object) -> bool:
        return name in FUNCTIONS_BY_NAME or name in self._own

    def __iter__(self) -> Iterator[str]:
        yield from FUNCTIONS_BY_NAME
        yield from self._own.keys() - FUNCTIONS_BY_NAME.keys()

    def __len__(self) -> int:
        return len(FUNCTIONS_BY_NAME.keys() | self._own.keys())
