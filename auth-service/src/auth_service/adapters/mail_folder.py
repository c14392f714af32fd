"""Mail as files in a folder, for a machine of one's own: `<id>.eml`, readable by its owner alone."""

import asyncio
import os
from pathlib import Path

from auth_service.adapters.letters import message_of
from auth_service.domain.model import Letter
from shared.clock import Clock
from shared.errors import Unavailable

__all__ = ["MailFolder"]


class MailFolder:
    def __init__(self, folder: Path, sender: str, clock: Clock) -> None:
        self._folder = folder
        self._sender = sender
        self._clock = clock

    async def send(self, letter: Letter) -> None:
        content = bytes(message_of(letter, self._sender, self._clock))
        try:
            await asyncio.to_thread(self._write, self._folder / f"{letter.id}.eml", content)
        except OSError as error:
            raise Unavailable(f"the mail folder cannot be written to ({type(error).__name__})") from error

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
