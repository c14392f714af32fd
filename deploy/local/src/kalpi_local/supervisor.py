"""Keeps programs running: starts them, restarts the dead, stops them in reverse order."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from kalpi_local.errors import LocalError
from kalpi_local.files import tail
from kalpi_local.processes import Child, Launch

__all__ = ["Backoff", "Kept", "Program", "State", "Supervisor"]

READY_S = 60.0
GRACE_S = 15.0
_POLL_S = 0.05
_TRIES = 3
_EX_CONFIG = 78

State = Literal["idle", "starting", "ready", "restarting", "stopped"]


class Program(Protocol):
    """What is to be kept running. `launch` says what to run, anew for each process; `ready` whether it serves."""

    name: str
    log: Path

    async def launch(self) -> Launch: ...

    async def ready(self) -> bool: ...


class Backoff:
    """Seconds to wait before the next start: 0.1 the first time, then 0.5 and twice that each time, up to 5."""

    HEALTHY_S = 10.0
    _LIMIT_S = 5.0

    def __init__(self) -> None:
        self._next_s = 0.1

    def after(self, ready_s: float) -> float:
        """`ready_s` is for how long the process was ready; ten seconds are as good as a first time."""
        if ready_s >= self.HEALTHY_S:
            self._next_s = 0.1
        delay = self._next_s
        self._next_s = min(self._LIMIT_S, max(0.5, delay * 2))
        return delay


@dataclass
class Kept:
    """One program and how it is doing."""

    program: Program
    state: State = "idle"
    child: Child | None = None
    restarts: int = 0
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """`programs` in the order in which they depend on each other; they stop in the reverse of it.

    `changed` is called after each change of a state; `clock` gives seconds, `sleep` waits for some.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        changed: Callable[[Kept], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.kept = {program.name: Kept(program) for program in programs}
        self._changed = changed
        self._clock = clock
        self._sleep = sleep

    async def start(self, name: str, within_s: float = READY_S) -> None:
        """Returns once it is ready. LocalError with the end of its log when it is not in time, or keeps dying."""
        kept = self.kept[name]
        ready = asyncio.get_running_loop().create_future()
        kept.keeper = asyncio.create_task(self._keep(kept, ready))
        try:
            await asyncio.wait_for(ready, within_s)
        except TimeoutError:
            raise _failure(kept.program, f"was not ready within {within_s:.0f} s") from None

    async def stop(self, grace_s: float = GRACE_S) -> None:
        for kept in reversed(self.kept.values()):
            if kept.keeper is not None:
                kept.keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await kept.keeper
            if kept.child is not None:
                await kept.child.stop(grace_s)
                self._become(kept, "stopped")

    async def _keep(self, kept: Kept, ready: asyncio.Future[None]) -> None:
        backoff = Backoff()
        while True:
            failure, ready_s = await self._run(kept, ready)
            if not ready.done() and (kept.restarts + 1 >= _TRIES or _hopeless(kept)):
                ready.set_exception(failure)
                return
            kept.restarts += 1
            self._become(kept, "restarting")
            await self._sleep(backoff.after(ready_s))

    async def _run(self, kept: Kept, ready: asyncio.Future[None]) -> tuple[LocalError, float]:
        """One process from start to end: what can be said of it, and for how many seconds it was ready."""
        kept.child = None
        try:
            kept.child = child = await _spawned(kept.program)
        except (LocalError, OSError) as error:
            return LocalError(f"{kept.program.name}: {error}"), 0.0
        self._become(kept, "starting")
        ended = asyncio.create_task(child.wait())
        try:
            ready_at = await self._ready_at(kept, ended, ready)
            code = await asyncio.shield(ended)
        except LocalError as error:
            await child.stop(GRACE_S)
            return error, 0.0
        finally:
            ended.cancel()
        return _failure(kept.program, f"ended with {_said(code)}"), 0.0 if ready_at is None else self._clock() - ready_at

    async def _ready_at(self, kept: Kept, ended: asyncio.Task[int], ready: asyncio.Future[None]) -> float | None:
        while not ended.done():
            if await kept.program.ready() and not ended.done():
                self._become(kept, "ready")
                if not ready.done():
                    ready.set_result(None)
                return self._clock()
            await asyncio.wait({ended}, timeout=_POLL_S)
        return None

    def _become(self, kept: Kept, state: State) -> None:
        kept.state = state
        self._changed(kept)


async def _spawned(program: Program) -> Child:
    """Cancelled or not, no process is left that nobody knows of."""
    spawning = asyncio.ensure_future(Child.spawn(await program.launch(), program.log))
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await (await spawning).stop(GRACE_S)
        raise


def _hopeless(kept: Kept) -> bool:
    """It refuses its settings (sysexits.h), or could not be launched at all: trying again changes nothing."""
    return kept.child is None or kept.child.returncode == _EX_CONFIG


def _said(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _failure(program: Program, what: str) -> LocalError:
    lines = [f"  {line}" for line in tail(program.log, 12)]
    return LocalError("\n".join([f"{program.name} {what}; the end of {program.log}:", *lines]))
