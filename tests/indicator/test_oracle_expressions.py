"""The oracle on expressions: every function × five symbols × the defaults and three random sets, to the last bit."""

import pytest

from tests.indicator.conftest import Answering
from tests.indicator.oracle import FORMATS, GROUPS, called, expected_of, parameter_sets, read, symbol_of
from tests.indicator.samples import sample
from tests.support.sample import SYMBOLS


@pytest.mark.parametrize("group", GROUPS)
async def test_every_value_of_an_expression_is_ta_libs(answer_of: Answering, group: str) -> None:
    """As Arrow of every symbol, and in every other format of one in turn. A single output is a number like any other."""
    for indicator in GROUPS[group]:
        for at, parameters in enumerate(parameter_sets(indicator)):
            for symbol in SYMBOLS:
                expected = expected_of(parameters, sample(symbol))
                for written in FORMATS if symbol == symbol_of(indicator, at) else ("arrow",):
                    body = {"expression": called(parameters), "symbol": symbol}
                    answer = await answer_of("POST", "expressions/evaluate", {"format": written}, body)
                    read(answer, written).check(expected, as_floats=len(indicator.outputs) == 1)
