"""`kalpi plans …` and `kalpi limits …`, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer import Typer
from typer.testing import CliRunner

from ratelimit_service.app import NAME, create_app
from ratelimit_service.cli import limits, plans
from shared.ids import new_id
from tests.ratelimit.conftest import SMALL, MakeSettings, OwnFile, plans_with
from tests.support.asgi import running
from tests.support.doorman import KEY, Doorman
from tests.support.http_server import serving
from tests.support.principals import user

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def run(plans: OwnFile, settings_of: MakeSettings) -> AsyncIterator[Run]:
    service = create_app(settings_of(plans))
    # what a command prints is caught by taking the process's output: the service is not to write into it
    with capture_logs():
        async with running(service), serving(Doorman(service, user("pro", roles=("admin",)), NAME)) as url:

            async def run(app: Typer, *words: str) -> tuple[int, str]:
                environment = {"KALPI_URL": url, "KALPI_ADMIN_KEY": KEY}
                done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
                return done.exit_code, done.output

            yield run


@pytest.fixture
def file(tmp_path: Path) -> OwnFile:
    """What an operator has written and not published."""
    return OwnFile(tmp_path / "next.yaml")


async def test_plans_are_shown_tried_published_and_restored(run: Run, file: OwnFile) -> None:
    name = str(file.path)
    code, shown = await run(plans.app, "show")
    assert (code, shown.startswith("version 1 (file, "), '"day": 10' in shown) == (0, True, True)
    assert await run(plans.app, "show", "--text") == (0, SMALL)
    assert await run(plans.app, "validate", name) == (0, "no rule is another\n")
    file.says(plans_with(20))
    assert await run(plans.app, "validate", name) == (0, "tiers.free.limits.day: 10 -> 20\n")
    code, published = await run(plans.app, "publish", name, "--reason", "summer")
    assert (code, published) == (0, "version 2\ntiers.free.limits.day: 10 -> 20\n")
    code, moved = await run(plans.app, "publish", name, "--replaces", "1")
    assert (code, moved) == (1, "this replaces version 1, and version 2 is the newest\n")
    assert await run(plans.app, "rollback", "1") == (0, "version 3\ntiers.free.limits.day: 20 -> 10\n")
    assert await run(plans.app, "show", "--version", "2") == (0, plans_with(20))
    code, history = await run(plans.app, "history")
    lines = [line.split() for line in history.splitlines()]
    assert (code, [line[0] for line in lines], lines[1][2:4]) == (0, ["version", "3", "2", "1"], ["restored", "1"])
    assert lines[2][-1] == "summer"
    code, as_json = await run(plans.app, "history", "--json", "--limit", "1")
    assert (code, json.loads(as_json)["restores"]) == (0, 1)


async def test_every_bad_rule_is_named_with_its_place(run: Run, file: OwnFile) -> None:
    file.says(plans_with(0).replace("batch_series: 5", "batch_series: none"))
    code, told = await run(plans.app, "publish", str(file.path))
    assert code == 1
    for place in ("body.text.tiers.free.limits.day.quota: ", "body.text.tiers.free.entitlements.batch_series: "):
        assert place in told
    assert "version 1 " in (await run(plans.app, "show"))[1]


async def test_a_tenant_is_given_other_limits_and_has_its_tiers_again(run: Run, file: OwnFile) -> None:
    tenant, name = str(new_id()), str(file.path)
    file.says('{"limits": {"concurrency": null}}')
    until = ("--until", "2101-01-01T00:00:00Z", "--reason", "a trial")
    code, given = await run(limits.app, "override", tenant, name, *until)
    assert (code, tenant in given, '{"concurrency": null}' in given, "active" in given) == (0, True, True, True)
    code, listed = await run(limits.app, "overrides", "--state", "active", "--json")
    assert (code, json.loads(listed)["ends_at"]) == (0, "2101-01-01T00:00:00Z")
    assert await run(limits.app, "override", tenant, "--remove", "--reason", "over") == (0, "")
    assert (await run(limits.app, "overrides"))[1].count("\n") == 1
    code, changes = await run(limits.app, "changes", "--noun", "override", "--json")
    assert (code, [json.loads(line)["event"] for line in changes.splitlines()]) == (0, ["removed", "set"])


async def test_what_cannot_be_done_is_one_line_and_status_1(run: Run, file: OwnFile) -> None:
    tenant, name = str(new_id()), str(file.path)
    for words in (
        ("override", tenant, "--reason", "none"),
        ("override", tenant, name, "--remove", "--reason", "both"),
        ("override", tenant, name, "--reason", "not JSON"),
        ("override", tenant, "--remove", "--reason", "not there"),
        ("reset", "address", "nowhere", "--reason", "not an address"),
    ):
        code, told = await run(limits.app, *words)
        assert (code, told.count("\n")) == (1, 1), (words, told)


async def test_counters_are_set_back(run: Run) -> None:
    assert await run(limits.app, "reset", "address", "192.0.2.7", "--reason", "our mistake") == (0, "")
    code, changes = await run(limits.app, "changes", "--noun", "counter", "--subject", "ip:192.0.2.7", "--json")
    assert (code, json.loads(changes)["reason"]) == (0, "our mistake")
