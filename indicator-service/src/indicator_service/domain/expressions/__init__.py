"""The language of expressions: `rsi(14) < 30 and close > sma(close, 200)`, from text to values."""

from indicator_service.domain.expressions.expression import BUDGET_NS, Expression, expression_of, too_costly

__all__ = ["BUDGET_NS", "Expression", "expression_of", "too_costly"]
