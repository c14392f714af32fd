"""What the three embedded servers have in common: a folder, a password, a port that is kept, a start and a stop."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path

from kalpi_local.errors import LocalError
from kalpi_local.files import private_folder, tail, write_private
from kalpi_local.net import free_port
from kalpi_local.processes import Child, Launch

__all__ = ["GRACE_S", "Server", "plain_environment"]

GRACE_S = 10.0
_START_S = 30.0
_TRIES = 5


def plain_environment() -> dict[str, str]:
    """What a server from a wheel needs of the environment: nothing that would configure it behind our back."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TZ", "TMPDIR") if name in os.environ} | {"LC_ALL": "C"}


class Server(ABC):
    """A server on a port of 127.0.0.1. The port is remembered in its folder and used again while it is free.

    `launch` prepares the folder, whatever a crashed run left in it, and says what to run.
    """

    name: str

    def __init__(self, folder: Path, password: str, *, durable: bool = True, logs: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.password = password
        self.durable = durable
        self.log = (logs or self.folder.parent / "logs") / f"{self.name}.log"
        self.port = 0
        self._settled = False
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """For clients; known once it was launched."""

    async def ready(self) -> bool:
        """Whether our server, not just any, serves on that port; from then on it is restarted on this port or not at all."""
        answered = await self._answers()
        self._settled = self._settled or answered
        return answered

    @abstractmethod
    async def _answers(self) -> bool: ...

    @abstractmethod
    async def _prepared(self) -> Launch: ...

    async def launch(self) -> Launch:
        """What to run now, on the port it had while that is free."""
        private_folder(self.folder)
        if not self._settled:
            remembered = self.folder / "port"
            self.port = free_port(self.port or _number_in(remembered))
            write_private(remembered, f"{self.port}\n")
        return await self._prepared()

    async def start(self) -> None:
        """Returns once it is ready; LocalError with the end of its log when it cannot be."""
        deadline = time.monotonic() + _START_S
        for turn in range(_TRIES):
            # a second try meets another port, or finds the backends of a killed postmaster gone
            await asyncio.sleep(0.2 * turn)
            self._child = await Child.spawn(await self.launch(), self.log)
            while self._child.returncode is None and time.monotonic() < deadline:
                if await self.ready():
                    return
                await asyncio.sleep(0.02)
            await self._child.stop(GRACE_S)
        raise LocalError("\n".join([f"{self.name} did not start; the end of {self.log}:", *tail(self.log, 10)]))

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(GRACE_S)
            self._child = None


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
