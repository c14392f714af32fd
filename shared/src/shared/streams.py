"""Streams belong to their publisher, and NATS may lose them.

A process keeps those it declared: one that is gone is made again at the next publish, after a reconnection, or at the next look.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["OUTAGES", "Hook", "Streams", "report"]

OUTAGES = (NatsError, OSError, Unavailable)
"""What is raised while NATS, or something a hook needs, is away."""

Hook = Callable[[], Awaitable[None]]
_RETRY_S = 0.5
_LOOK_S = 5.0
_log = get_logger("streams")


@dataclass
class _Declared:
    """A stream, and when the one we know of was made: one made at another time is another one, and what we put there is lost."""

    config: StreamConfig
    on_new: Hook | None
    made: datetime | None
    is_new: bool = False


class Streams:
    def __init__(self, js: JetStreamContext) -> None:
        self._js = js
        self._declared: dict[str, _Declared] = {}
        self._mending = asyncio.Lock()
        self._look = asyncio.Event()

    def __contains__(self, stream: str) -> bool:
        return stream in self._declared

    def look(self) -> None:
        """Looks after the streams now, not at the next time."""
        self._look.set()

    async def check(self) -> None:
        """Raises when one is missing."""
        for stream in tuple(self._declared):
            await self._js.stream_info(stream)

    async def declare(
        self,
        stream: str,
        subjects: Sequence[str],
        *,
        max_age_s: float,
        max_bytes: int,
        max_msgs_per_subject: int = -1,
        work_queue: bool = False,
        on_new: Hook | None = None,
    ) -> None:
        """Creates the stream, or brings it to this configuration; its publisher does this at start. An age of 0 is no limit.

        A work queue holds what its one worker has not acknowledged yet, and when it is full it refuses what is new (so that its
        publisher can count it), where other streams forget what is oldest.
        Later `on_new` is awaited, until it succeeds, each time the stream was made again, by whomever: it was empty then.
        """
        config = StreamConfig(
            name=stream,
            subjects=list(subjects),
            max_age=max_age_s,
            max_bytes=max_bytes,
            max_msgs_per_subject=max_msgs_per_subject,
            retention=RetentionPolicy.WORK_QUEUE if work_queue else RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW if work_queue else DiscardPolicy.OLD,
        )
        async with self._mending:
            try:
                await self._js.stream_info(stream)
                info = await self._js.update_stream(config)
            except NotFoundError:
                info = await self._js.add_stream(config)
            self._declared[stream] = _Declared(config, on_new, info.created)

    async def mend(self) -> None:
        """Makes the declared streams that are gone, for one caller at a time: the next finds them made."""
        async with self._mending:
            for name, stream in self._declared.items():
                try:
                    info = await self._js.stream_info(name)
                except NotFoundError:
                    info = await self._js.add_stream(stream.config)
                    _log.warning("a stream was gone and is made again", stream=name)
                if info.created != stream.made:
                    stream.made, stream.is_new = info.created, True
                    self._look.set()

    async def keep(self, connected: Callable[[], bool]) -> None:
        """Looks when `_look` is set, and now and then: somebody may wait for a stream into which nobody publishes just now."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._look.wait()
            self._look.clear()
            if not connected():
                continue
            try:
                await self.mend()
                await self._tell_of_new()
            except Exception as error:  # noqa: BLE001 - whatever fails, a hook of others included, the watch goes on
                report("streams not kept", error)
                await asyncio.sleep(_RETRY_S)
                self._look.set()

    async def _tell_of_new(self) -> None:
        """Here, and not where the stream was made: hooks publish, and may wait for the very lock of who found it missing."""
        for stream in tuple(self._declared.values()):
            if stream.is_new:
                # before the hook: a stream that is lost while it runs is new once more
                stream.is_new = False
                try:
                    if stream.on_new is not None:
                        await stream.on_new()
                except Exception:
                    stream.is_new = True
                    raise


def report(event: str, error: BaseException, **about: str) -> None:
    """An outage in a line, a mistake of ours with its traceback."""
    if isinstance(error, OUTAGES):
        _log.warning(event, error=type(error).__name__, **about)
    else:
        _log.error(event, exc_info=error, **about)
