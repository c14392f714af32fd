"""Sentences of a grammar, made at random from its own rules, so that a new rule is in them as soon as it is there.

Hypothesis has `from_lark`, which gives up on whatever nests deeper than it likes: of a grammar of expressions, 99 in 100.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from lark import Lark
from lark.grammar import Symbol, Terminal

Forms = Mapping[Symbol, list[Sequence[Symbol]]]
"""What each symbol of a grammar may become."""
GAPS = st.sampled_from(("", "", "", " ", "\n\t"))


def sentences(grammar: Lark, words: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """`words` are those of the terminals that it names; of any other, whatever fits its pattern."""
    spelt = {one.name: st.from_regex(one.pattern.to_regexp(), fullmatch=True) for one in grammar.terminals}
    forms: dict[Symbol, list[Sequence[Symbol]]] = {}
    for rule in grammar.rules:
        forms.setdefault(rule.origin, []).append(rule.expansion)
    return _sentences(forms, shortest(forms), {**spelt, **words})


@st.composite
def _sentences(draw: Any, forms: Forms, short: Forms, words: Mapping[str, st.SearchStrategy[str]]) -> str:
    """From left to right; once there has been enough choice, each symbol becomes what comes to an end soonest."""
    choices, said = draw(st.integers(0, 120)), ""
    waiting: list[Symbol] = [next(symbol for symbol in forms if symbol.name == "start")]
    while waiting:
        symbol = waiting.pop()
        if isinstance(symbol, Terminal):
            said += draw(words[symbol.name]) + draw(GAPS)
            continue
        waiting += reversed(draw(st.sampled_from((forms if choices > 0 else short)[symbol])))
        choices -= 1
    return said


def shortest(forms: Forms) -> Forms:
    """Of each symbol's forms those that come to nothing but terminals in the fewest steps."""
    ends: dict[Symbol, list[Sequence[Symbol]]] = {}
    while len(ends) < len(forms):
        soonest = {
            symbol: [form for form in of if all(isinstance(part, Terminal) or part in ends for part in form)]
            for symbol, of in forms.items()
            if symbol not in ends
        }
        ends |= {symbol: of for symbol, of in soonest.items() if of}
    return ends
