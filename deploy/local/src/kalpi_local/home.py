"""The folder `.kalpi` of one embedded stack: who owns it, what runs in it, what an earlier run left behind."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kalpi_local.errors import LocalError
from kalpi_local.files import private_folder, read_json, write_private
from kalpi_local.processes import Identity, end

__all__ = ["Home"]

_GRACE_S = 5.0


class Home:
    """`state.json` (0600) is what other processes read: pids with their start times, ports, URLs with their passwords."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.logs = self.folder / "logs"
        self.demo = self.folder / "demo.env"
        self.secrets = self.folder / "secrets.json"
        self._state = self.folder / "state.json"
        self._lock = self.folder / "lock"

    def state(self) -> dict[str, Any]:
        return read_json(self._state)

    def processes(self) -> dict[str, Any]:
        """By name, in the order in which they depend on each other."""
        state = self.state()
        return {**state.get("servers", {}), **state.get("services", {})}

    def write_state(self, state: dict[str, Any]) -> None:
        write_private(self._state, json.dumps(state, indent=1) + "\n")

    def forget_state(self) -> None:
        self._state.unlink(missing_ok=True)

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Held by the one `kalpi up` of this folder; the kernel lets go of it however that ends."""
        private_folder(self.folder)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalError(
                    f"{self.folder} is in use by a running `kalpi up` (pid {self.state().get('pid', 'unknown')}): "
                    "stop that with `kalpi down`, or choose another folder with --home"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def running(self) -> bool:
        if not self._lock.exists():
            return False
        try:
            with self.owned():
                return False
        except LocalError:
            return True

    async def recover(self) -> list[str]:
        """Ends what a crashed run left running; the names. Call it as the owner."""
        left: list[str] = []
        for name, entry in reversed(self.processes().items()):
            if isinstance(entry.get("pid"), int):
                identity = Identity(entry["pid"], str(entry.get("started")))
                stop = signal.SIGINT if name == "postgres" else signal.SIGTERM
                if await end(identity, stop, _GRACE_S):
                    left.append(name)
        self.forget_state()
        return left

    async def stop_owner(self, within_s: float) -> bool:
        """Asks the running `up` to stop and waits for it; False when none runs."""
        asked: Identity | None = None
        deadline = time.monotonic() + within_s
        while self.running():
            state = self.state()
            owner = Identity(int(state.get("pid", 0)), str(state.get("started")))
            if owner != asked and owner.alive():
                os.kill(owner.pid, signal.SIGTERM)
                asked = owner
            if time.monotonic() > deadline:
                raise LocalError(f"the stack in {self.folder} (pid {owner.pid}) has not stopped within {within_s:.0f} s")
            await asyncio.sleep(0.05)
        return asked is not None
