"""What is waited for on behalf of a client ends with its connection."""

import asyncio
from types import TracebackType
from typing import Protocol

from shared.at_once import CallWhenGone

__all__ = ["Attending", "ClientGone"]


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class _Answered(Protocol):
    ended: bool


class Attending:
    """For `async with`, as `asyncio.timeout` ends what takes too long: with ClientGone, unless the exchange has `ended`."""

    __slots__ = ("_before", "_call", "_exchange", "_gone", "_task")

    def __init__(self, exchange: _Answered, call: CallWhenGone) -> None:
        self._exchange = exchange
        self._call = call
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._task, self._before = task, task.cancelling()
        if not self._call(self._end):
            self._end()

    def _end(self) -> None:
        # it is told of the end of an answer, too
        if not (self._exchange.ended or self._gone):
            self._gone = True
            self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call(None)
        if self._gone and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise ClientGone from None
