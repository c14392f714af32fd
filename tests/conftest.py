"""One embedded Postgres, Valkey and NATS for the whole run, on free ports; each test brings its own names.

And one `make run`, for all tests that look at the whole product.
"""

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from kalpi_local.servers import Servers, Valkey, embedded_servers
from shared.scripts import ScriptConnection
from tests.support.databases import new_database
from tests.support.otlp import Receiver, receiver
from tests.support.stack import ROOT, Stack, running_stack

# a busy machine is no fault of the code: neither a deadline nor a limit on how long examples take to make
settings.register_profile("kalpi", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kalpi")
# structlog's own choice shows every local of every frame, which takes a second for each traceback
plainly = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plainly])


# ----- with pytest-xdist (`make test`): what each worker is given

FOLDERS = {"e2e": "stack", "docs": "stack", "security": "stack", "machine": "machine"}
"""Those whose tests share something that takes ten seconds to start: the stack, or the machine with its three gateways."""
FIRST = ("stack", "machine")
"""What takes longest, the longest of it first."""


def scope_of(nodeid: str) -> str:
    """What is not to be divided between workers: all that share one start of the product, or else a file."""
    file = nodeid.partition("::")[0]
    return FOLDERS.get(Path(file).parent.name, file)


class Scopes(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return Scopes(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker is left with it at the end."""
    if hasattr(config, "workerinput"):
        places = {scope: place for place, scope in enumerate(FIRST)}
        items.sort(key=lambda item: places.get(scope_of(item.nodeid), len(FIRST)))


def pytest_collection_finish() -> None:
    """What was imported stays: a collection of garbage need not look at all of it each time."""
    gc.collect()
    gc.freeze()


# ----- what the whole run shares


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The three servers, without durability: nothing outlives the run."""
    with tempfile.TemporaryDirectory(prefix="kalpi-") as folder, asyncio.Runner() as runner:
        context = embedded_servers(Path(folder), durable=False)
        running = runner.run(context.__aenter__())
        try:
            yield running
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session", autouse=True)
def patient_pools() -> Iterator[None]:
    """On a machine that is busy with other things, a connection to Postgres may take longer than a client would wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.postgres._CONNECT_S", 20.0)
        patch.setattr("shared.postgres._POOL_S", 20.0)
        yield


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture(scope="session")
def nats_url(servers: Servers) -> str:
    return servers.nats_url


@pytest.fixture
async def postgres_url(servers: Servers) -> AsyncIterator[str]:
    """A new empty database for this test."""
    async with new_database(servers.database_url) as url:
        yield url


@pytest.fixture(scope="session")
def spans() -> Iterator[Receiver]:
    with receiver() as kept:
        yield kept


@pytest.fixture(scope="session")
def stack(spans: Receiver) -> Iterator[Stack]:
    """The README's first command, in a folder of its own, with an OTLP receiver beside it."""
    with tempfile.TemporaryDirectory(prefix="kalpi-e2e-") as name:
        folder = Path(name)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        with running_stack(folder, {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url}) as running:
            yield running


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey that a test may empty."""
    valkey = Valkey(tmp_path_factory.mktemp("own-store") / "valkey", "secret", durable=False)
    with asyncio.Runner() as runner:
        runner.run(valkey.start())
        try:
            yield valkey.url
        finally:
            runner.run(valkey.stop())


@pytest.fixture
async def scripts(redis_url: str) -> AsyncIterator[ScriptConnection]:
    """As a gateway's limiter has one, but for a store that on a busy machine may take its time."""
    async with ScriptConnection(redis_url, deadline_s=20.0) as connection:
        yield connection
