"""Answers of one turn of the loop, sent at its end."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shared.outbox import Outbox


class Turn:
    """A loop that ends its turn when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def end(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Wire:
    closing = False

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.written = written

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.written.append((self.name, b"".join(pieces)))

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def turn() -> Any:
    return Turn()


@pytest.fixture
def written() -> list[tuple[str, bytes]]:
    """What has gone out, in order."""
    return []


def test_what_is_ready_in_a_turn_goes_out_at_its_end_in_order(turn: Any, written: list[tuple[str, bytes]]) -> None:
    outbox = Outbox()
    for name in "abc":
        outbox.put(turn, wire(name, written), (b"head ", b"body"))
    assert not written
    assert len(turn.calls) == 1
    turn.end()
    assert written == [(name, b"head body") for name in "abc"]
    turn.end()
    assert len(written) == 3


def test_no_answer_waits_for_more_than_so_many(turn: Any, written: list[tuple[str, bytes]]) -> None:
    outbox = Outbox(most=3)
    for name in "abcd":
        outbox.put(turn, wire(name, written), (name.encode(),))
    assert [name for name, _ in written] == ["a", "b", "c"]
    turn.end()
    assert [name for name, _ in written] == ["a", "b", "c", "d"]


def test_two_answers_by_the_same_connection_keep_their_order(turn: Any, written: list[tuple[str, bytes]]) -> None:
    outbox, one = Outbox(), wire("a", written)
    outbox.put(turn, one, (b"first",))
    outbox.put(turn, one, (b"second",))
    turn.end()
    assert written == [("a", b"first"), ("a", b"second")]


def test_what_is_sent_before_the_end_is_sent_once(turn: Any, written: list[tuple[str, bytes]]) -> None:
    outbox, one = Outbox(), wire("a", written)
    outbox.put(turn, one, (b"first",))
    outbox.send(one)
    outbox.send(one)
    assert written == [("a", b"first")]
    turn.end()
    assert written == [("a", b"first")]


def test_a_connection_that_has_closed_meanwhile_gets_nothing(turn: Any, written: list[tuple[str, bytes]]) -> None:
    outbox, one, other = Outbox(), wire("a", written), wire("b", written)
    outbox.put(turn, one, (b"first",))
    outbox.put(turn, other, (b"second",))
    one.closing = True
    turn.end()
    assert written == [("b", b"second")]


def wire(name: str, written: list[tuple[str, bytes]]) -> Any:
    return Wire(name, written)
