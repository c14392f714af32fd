"""From text to the grammar's tree, its size bounded; a mistake of syntax says what was expected."""

from functools import cache
from importlib import resources
from typing import Any, NoReturn

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from indicator_service.domain.expressions.places import Place, Refusal

__all__ = ["MOST_CHARACTERS", "MOST_DEPTH", "MOST_NODES", "grammar", "syntax_of"]

MOST_CHARACTERS = 4_096
MOST_NODES = 500
MOST_DEPTH = 100

_WORDS = {
    "NUMBER": "a number",
    "NAME": "a name",
    "STRING": "a text",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "COMMA": ",",
    "DOT": ".",
    "EQUALS": "=",
    "MINUS": "-",
    "NOT": "not",
    "$END": "the end",
}
"""Terminals as one would say them; the operators, which may stand in most places, are one word."""
_OPERATORS = {"PLUS", "MINUS", "TIMES", "DIVIDE", "COMPARE", "AND", "OR", "DOT", "LSQB"}
_MEANT = {"&": "and", "|": "or", "!": "not", "%": "/ 100", "^": "* for each power", "?": "where(condition, a, b)"}


@cache
def grammar() -> Lark:
    text = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def syntax_of(text: str) -> Tree[Token]:
    """Raises Refusal."""
    if len(text) > MOST_CHARACTERS:
        raise Refusal(Place(MOST_CHARACTERS, MOST_CHARACTERS + 1, 1, 1), f"longer than {MOST_CHARACTERS} characters", "too_long")
    try:
        tree = grammar().parse(text)
    except UnexpectedInput as error:
        _refuse_syntax(text, error)
    nodes, depth = _size(tree)
    if nodes > MOST_NODES or depth > MOST_DEPTH:
        what = f"more than {MOST_NODES} parts" if nodes > MOST_NODES else f"nested more than {MOST_DEPTH} deep"
        raise Refusal(Place(0, len(text), 1, 1), what, "too_complex")
    return tree


def _refuse_syntax(text: str, error: UnexpectedInput) -> NoReturn:
    if isinstance(error, UnexpectedCharacters):
        at: Any = error.pos_in_stream
        found, place = text[at], Place(at, at + 1, error.line, error.column)
        if found in "'\"":
            raise Refusal(place, "a text without an end, longer than 64 characters or over several lines", "syntax")
        raise Refusal(place, f"unexpected {found!r}", "syntax", _MEANT.get(found))
    if not isinstance(error, UnexpectedToken):
        raise error  # the parser has no third kind
    token, names = error.token, set(error.accepts)
    if token.type == "$END":
        if not text.strip():
            raise Refusal(Place(0, 1, 1, 1), "nothing to compute", "syntax", "rsi(14) < 30")
        lines = text.split("\n")
        end = Place(len(text), len(text) + 1, len(lines), len(lines[-1]) + 1)
        raise Refusal(end, "it ends too early", "syntax", _said(names))
    place = Place(token.start_pos or 0, token.end_pos or 0, token.line or 1, token.column or 1)
    if token.type == "EQUALS":
        raise Refusal(place, "= names a parameter", "syntax", "== compares")
    raise Refusal(place, f"unexpected {str(token)!r}", "syntax", _said(names))


def _said(names: set[str]) -> str:
    said = [_WORDS[name] for name in _WORDS if name in names - (_OPERATORS if "AND" in names else set())]
    return f"expected {' or '.join([*said, *(['an operator'] if 'AND' in names else [])])}"


def _size(tree: Tree[Token]) -> tuple[int, int]:
    """Nodes and depth; without recursion, for the depth is what may be too great."""
    nodes, deepest = 0, 0
    waiting: list[tuple[Tree[Token], int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        nodes, deepest = nodes + 1, max(deepest, depth)
        waiting += [(child, depth + 1) for child in node.children if isinstance(child, Tree)]
    return nodes, deepest
