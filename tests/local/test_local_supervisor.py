"""The supervisor, with stand-in children that take milliseconds."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalpi_local.errors import LocalError
from kalpi_local.processes import LOG_BYTES, Child, Identity, Launch, end, run
from kalpi_local.supervisor import Backoff, Kept, Supervisor
from tests.support.poll import until

PAUSE = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


class Standin:
    """`python -c <code>`, ready as soon as it has written a line, or at once."""

    def __init__(self, folder: Path, code: str = PAUSE, name: str = "standin", *, says: str = "") -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._code = code
        self._says = says

    async def launch(self) -> Launch:
        return Launch([sys.executable, "-I", "-S", "-c", self._code], {})

    async def ready(self) -> bool:
        return self._says in self.log.read_text()


def ignore(_: Kept) -> None:
    pass


async def ready_again(supervisor: Supervisor, name: str, restarts: int) -> int:
    kept = supervisor.kept[name]

    async def look() -> bool:
        return kept.state == "ready" and kept.restarts >= restarts

    await until(look)
    assert kept.child is not None
    return kept.child.identity.pid


async def test_a_killed_child_is_restarted(tmp_path: Path) -> None:
    states: list[str] = []
    supervisor = Supervisor([Standin(tmp_path)], lambda kept: states.append(kept.state))
    await supervisor.start("standin")
    first = await ready_again(supervisor, "standin", 0)
    os.kill(first, signal.SIGKILL)
    assert await ready_again(supervisor, "standin", 1) != first
    await supervisor.stop()
    assert states == ["starting", "ready", "restarting", "starting", "ready", "stopped"]


async def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly_until_it_lives(tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def kill_when_ready(kept: Kept) -> None:
        if kept.state == "ready" and kept.child is not None and kept.restarts < 8:
            os.kill(kept.child.identity.pid, signal.SIGKILL)

    supervisor = Supervisor([Standin(tmp_path)], kill_when_ready, clock=lambda: 0.0, sleep=sleep)
    await supervisor.start("standin")
    await ready_again(supervisor, "standin", 8)
    await supervisor.stop()
    assert slept == [0.1, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


async def test_a_child_that_was_healthy_for_long_is_restarted_quickly_again(tmp_path: Path) -> None:
    now, slept = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def kill_when_ready(kept: Kept) -> None:
        if kept.state == "ready" and kept.child is not None and kept.restarts < 4:
            os.kill(kept.child.identity.pid, signal.SIGKILL)
        if kept.state == "ready" and kept.restarts == 2:
            asyncio.get_running_loop().call_soon(pass_time)

    def pass_time() -> None:
        nonlocal now
        now += Backoff.HEALTHY_S

    supervisor = Supervisor([Standin(tmp_path)], kill_when_ready, clock=lambda: now, sleep=sleep)
    await supervisor.start("standin")
    await ready_again(supervisor, "standin", 4)
    await supervisor.stop()
    assert slept == [0.1, 0.5, 0.1, 0.5]


def test_ten_healthy_seconds_make_the_next_restart_quick_again() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(3)] == [0.1, 0.5, 1.0]
    assert backoff.after(Backoff.HEALTHY_S) == 0.1
    assert backoff.after(9.9) == 0.5


@given(st.lists(st.floats(min_value=0, max_value=60)))
def test_no_wait_is_longer_than_five_seconds_or_the_first_longer_than_a_third(ready_for: list[float]) -> None:
    backoff = Backoff()
    waits = [backoff.after(seconds) for seconds in ready_for]
    assert all(0 < wait <= 5 for wait in waits)
    assert not waits or waits[0] < 0.3


async def test_programs_stop_in_reverse_order_and_a_stubborn_one_is_killed_after_its_grace(tmp_path: Path) -> None:
    stopped: list[str] = []
    programs = [Standin(tmp_path, name="database"), Standin(tmp_path, STUBBORN, "service", says="up")]
    supervisor = Supervisor(programs, lambda kept: stopped.append(kept.program.name) if kept.state == "stopped" else None)
    await asyncio.gather(supervisor.start("service"), supervisor.start("database"))
    children = {name: kept.child for name, kept in supervisor.kept.items()}
    await supervisor.stop(grace_s=0.2)
    assert stopped == ["service", "database"]
    codes = {name: child.returncode for name, child in children.items() if child}
    assert codes == {"database": -signal.SIGTERM, "service": -signal.SIGKILL}


async def test_a_program_that_cannot_start_is_a_message_with_the_end_of_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor([Standin(tmp_path, "import sys; sys.exit('no such luck')", says="never")], ignore)
    with pytest.raises(LocalError, match=r"(?s)standin ended with exit code 1; the end of .*no such luck"):
        await supervisor.start("standin")
    assert supervisor.kept["standin"].restarts == 2
    await supervisor.stop()


async def test_a_program_that_refuses_its_settings_is_not_tried_again(tmp_path: Path) -> None:
    supervisor = Supervisor([Standin(tmp_path, "import sys; print('A_KEY: Field required'); sys.exit(78)", says="never")], ignore)
    with pytest.raises(LocalError, match=r"(?s)exit code 78.*A_KEY: Field required"):
        await supervisor.start("standin")
    assert supervisor.kept["standin"].restarts == 0
    await supervisor.stop()


async def test_a_program_that_is_never_ready_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    supervisor = Supervisor([Standin(tmp_path, says="never")], ignore)
    with pytest.raises(LocalError, match="was not ready within"):
        await supervisor.start("standin", within_s=0.3)
    await supervisor.stop()
    assert supervisor.kept["standin"].state == "stopped"


async def test_children_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from kalpi_local.processes import Child, Launch\n"
        "launch = Launch([sys.executable, '-c', 'print(1, flush=True); import signal; signal.pause()'], {})\n"
        "async def main():\n"
        "    log = pathlib.Path(sys.argv[1])\n"
        "    child = await Child.spawn(launch, log)\n"
        "    while not log.read_text(): await asyncio.sleep(0.01)\n"
        "    print(child.identity.pid, child.identity.started, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    finished = await run(Launch([sys.executable, "-c", script, str(tmp_path / "log")], dict(os.environ)))
    assert finished.code == -signal.SIGKILL
    pid, started = finished.output.split()

    async def gone() -> bool:
        return not Identity(int(pid), started).alive()

    await until(gone)


async def test_a_process_is_ended_only_under_the_start_time_it_was_recorded_with(tmp_path: Path) -> None:
    child = await Child.spawn(await Standin(tmp_path).launch(), tmp_path / "log")
    assert not await end(Identity(child.identity.pid, "another boot:1"), signal.SIGKILL, 1.0)
    assert child.identity.alive()
    assert await end(child.identity, signal.SIGKILL, 5.0)
    assert await child.wait() == -signal.SIGKILL
    assert not await end(child.identity, signal.SIGKILL, 1.0)


async def test_a_child_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    """So that Ctrl-C in a terminal reaches the supervisor alone."""
    child = await Child.spawn(await Standin(tmp_path).launch(), tmp_path / "log")
    assert os.getsid(child.identity.pid) == child.identity.pid
    await child.stop(5)


async def test_a_log_beyond_ten_megabytes_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "standin.log"
    log.parent.mkdir()
    for _ in range(2):
        log.write_bytes(b"x" * (LOG_BYTES + 1))
        child = await Child.spawn(await Standin(tmp_path, "").launch(), log)
        await child.wait()
    assert sorted(path.name for path in log.parent.iterdir()) == ["standin.1.log", "standin.log"]
    assert log.stat().st_size == 0


async def test_a_run_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, pathlib, signal; pathlib.Path({str(note)!r}).write_text(str(os.getpid()) + ' '); signal.pause()"
    task = asyncio.create_task(run(Launch([sys.executable, "-I", "-S", "-c", code], {})))

    async def noted() -> bool:
        return note.exists() and note.read_text().endswith(" ")

    await until(noted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Identity.of(int(note.read_text())) is None
