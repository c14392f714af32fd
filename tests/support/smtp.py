"""An SMTP server in this process that takes mail, or answers what a test wants (RFC 5321, as much of it as a client needs)."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass(frozen=True)
class Taken:
    """Whom it was for, by the envelope; what it said; how it came."""

    to: str
    message: EmailMessage
    over_tls: bool
    user: str


@dataclass
class SmtpServer:
    """`answers` replaces what is said to a command, for so long; with `hangs_up` the connection ends after DATA instead."""

    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    answers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    taken: list[Taken] = field(default_factory=list)
    port: int = 0

    def to(self, address: str) -> list[EmailMessage]:
        return [one.message for one in self.taken if one.to == address]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Conversation(self, reader, writer).hold()
        except ConnectionError:
            pass
        finally:
            writer.close()


class _Conversation:
    def __init__(self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._over_tls, self._user, self._to = False, "", ""

    async def hold(self) -> None:
        await self._say(self._server.answers.get("connect", "220 test"))
        while line := (await self._reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            if not await self._answer(verb.upper(), rest):
                return

    async def _answer(self, verb: str, rest: str) -> bool:
        if verb in self._server.answers:
            await self._say(self._server.answers[verb])
        elif verb == "EHLO":
            await self._say("\r\n".join(self._offers()))
        elif verb == "STARTTLS" and self._server.tls:
            await self._say("220 go")
            await self._writer.start_tls(self._server.tls)
            self._over_tls = True
        elif verb == "AUTH":
            await self._say(self._authenticated(rest))
        elif verb == "DATA":
            return await self._data()
        else:
            self._to = rest.partition("<")[2].partition(">")[0] if verb == "RCPT" else self._to
            await self._say("221 bye" if verb == "QUIT" else "250 fine")
        return verb != "QUIT"

    def _offers(self) -> list[str]:
        offers = ["test", *(["STARTTLS"] if self._server.tls and not self._over_tls else []), "AUTH PLAIN", "8BITMIME"]
        return [f"250{' ' if offer is offers[-1] else '-'}{offer}" for offer in offers]

    def _authenticated(self, rest: str) -> str:
        _, user, password = base64.b64decode(rest.rpartition(" ")[2]).decode().split("\0")
        if (user, password) != self._server.login:
            return "535 no"
        self._user = user
        return "235 yes"

    async def _data(self) -> bool:
        await self._say("354 say it")
        # a line that begins with a dot is sent with two (section 4.5.2)
        raw = (await self._reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n.", b"\r\n")
        if self._server.hangs_up:
            return False
        answer = self._server.answers.get("content", "250 taken")
        if answer.startswith("250"):
            message = message_from_bytes(raw, policy=default)
            assert isinstance(message, EmailMessage)
            self._server.taken.append(Taken(self._to, message, self._over_tls, self._user))
        await self._say(answer)
        return True

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()


@asynccontextmanager
async def smtp_server(
    *, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None, at_once: ssl.SSLContext | None = None
) -> AsyncIterator[SmtpServer]:
    """On a free port; with `at_once` it speaks TLS from the first byte."""
    server = SmtpServer(tls=tls, login=login)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=at_once)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
