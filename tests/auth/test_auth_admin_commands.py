"""`kalpi admin users|tenants|keys …`: over HTTP, as an operator elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from auth_service.app import NAME, create_app
from auth_service.cli.admin import app
from auth_service.settings import Settings
from shared.ids import new_id
from shared.remote import as_columns
from tests.auth.auth_world import MovableClock, Person, World, administrator, settings_of
from tests.auth.tenancy import organisation, with_member
from tests.support.asgi import running
from tests.support.doorman import KEY, Doorman
from tests.support.http_server import serving

Run = Callable[..., Any]


class CommandWorld(World):
    """With a URL for commands."""

    def __init__(self, client: httpx.AsyncClient, clock: MovableClock, settings: Settings, url: str) -> None:
        super().__init__(client, clock, settings)
        self.url = url


@pytest.fixture
async def world(own_database_url: str, nats_url: str) -> AsyncIterator[CommandWorld]:
    settings, clock = settings_of(own_database_url, nats_url), MovableClock()
    service = create_app(settings, clock=clock)
    # what a command prints is caught by taking the process's output: the service is not to write into it
    with capture_logs():
        async with running(service) as client, serving(Doorman(service, administrator(), NAME, clock)) as url:
            yield CommandWorld(client, clock, settings, url)


@pytest.fixture
def run(world: CommandWorld) -> Run:
    async def run(*words: str, key: str = KEY, url: str = "") -> tuple[int, str]:
        environment = {"KALPI_URL": url or world.url, "KALPI_ADMIN_KEY": key}
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        return done.exit_code, done.output

    return run


async def rows(run: Run, *words: str) -> list[dict[str, Any]]:
    code, output = await run(*words, "--json")
    assert code == 0, output
    return [json.loads(line) for line in output.splitlines()]


async def test_users_are_listed_and_found(world: World, run: Run) -> None:
    people = [await world.register() for _ in range(3)]
    assert [one["id"] for one in await rows(run, "users", "list")] == [str(one.id) for one in reversed(people)]
    assert [one["id"] for one in await rows(run, "users", "list", "--name", people[1].name)] == [str(people[1].id)]
    assert await rows(run, "users", "list", "--disabled") == []
    assert len(await rows(run, "users", "list", "--limit", "2")) == 2
    code, output = await run("users", "list", "--name", people[0].name)
    header, line = output.splitlines()
    assert (code, header.split()[:3]) == (0, ["id", "username", "email"])
    assert line.split()[:5] == [str(people[0].id), people[0].name, people[0].email, "free", "yes"]


async def test_more_rows_than_a_page_has_are_fetched_page_by_page(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.remote._PAGE", 2)
    people = [await world.register() for _ in range(5)]
    assert [one["id"] for one in await rows(run, "users", "list")] == [str(one.id) for one in reversed(people)]
    assert len(await rows(run, "users", "list", "--limit", "3")) == 3


async def test_a_user_is_changed_by_name_or_by_id(world: World, run: Run) -> None:
    person = await world.member()
    assert (await run("users", "tier", person.name.upper(), "pro"))[0] == 0
    assert (await run("users", "disable", str(person.id)))[0] == 0
    (shown,) = await rows(run, "users", "list", "--tier", "pro", "--disabled")
    assert shown["id"] == str(person.id)
    assert (await run("users", "enable", person.name))[0] == 0
    assert await world.is_alive(person.tokens["access_token"])
    assert await run("users", "unlock", person.name) == (0, "")
    assert await run("users", "log-out", person.name) == (0, "")
    assert not await world.is_alive(person.tokens["access_token"])


async def test_tenants_are_made_listed_and_changed(world: World, run: Run) -> None:
    owner: Person = await world.member()
    assert (await run("tenants", "create", "Engines", "--owner", owner.name, "--tier", "pro", "--quota", "shared"))[0] == 0
    (made,) = await rows(run, "tenants", "list", "--name", "engines")
    assert (made["tier"], made["quota"], made["members"]) == ("pro", "shared", 1)
    for words in (["tier"], ["quota", "split"], ["disable"]):
        assert (await run("tenants", words[0], made["id"], *words[1:]))[0] == 0
    (changed,) = await rows(run, "tenants", "list", "--name", "engines", "--disabled")
    assert (changed["tier"], changed["quota"], changed["is_active"]) == (None, "split", False)
    code, output = await run("tenants", "enable", made["id"])
    assert (code, output.splitlines()[1].split()) == (0, [made["id"], "Engines", "no", "-", "split", "yes"])


async def test_keys_are_listed_and_revoked(world: World, run: Run) -> None:
    owner = await organisation(world)
    member = await with_member(world, owner)
    keys = [await world.create_key(owner), await world.create_key(member)]
    assert [one["id"] for one in await rows(run, "keys", "list", "--user", member.name)] == [keys[1]["id"]]
    assert len(await rows(run, "keys", "list", "--tenant", str(owner.tenant_id))) == 2
    assert await run("keys", "revoke", keys[1]["id"]) == (0, "")
    assert (await world.resolve_key(keys[1]["api_key"])).status_code == 404
    assert await run("keys", "revoke", keys[1]["id"]) == (1, "no such key\n")


async def test_what_is_refused_is_one_line_and_status_1(world: World, run: Run) -> None:
    person = await world.register()
    nowhere = "http://127.0.0.1:1"
    for words, told in (
        (["users", "tier", "nobody", "pro"], "no such user"),
        (["users", "tier", str(new_id()), "pro"], "no such user"),
        (["users", "tier", person.name, "a tier"], "body.tier: String should match pattern"),
        (["tenants", "disable", str(new_id())], "no such tenant"),
    ):
        code, output = await run(*words)
        assert (code, output.count("\n")) == (1, 1)
        assert told in output
    assert (await run("users", "list", key="another")) == (1, "a signed principal is required\n")
    assert (await run("users", "list", key="a\nb")) == (1, "KALPI_ADMIN_KEY is not a key\n")
    assert (await run("users", "list", url=nowhere)) == (1, f"{nowhere} does not answer (ConnectError)\n")
    assert (await run("users", "list", url="nonsense"))[0] == 1
    assert (await run("tenants", "quota", str(new_id()), "some"))[0] == 2


def test_a_table_shows_what_would_move_a_terminals_cursor_as_what_it_is() -> None:
    shown = as_columns([{"name": "a\x1b[2Jb", "tier": None, "some": ["x", "y"]}], ("name", "tier", "some"))
    assert shown == "name    tier  some\na�[2Jb  -     x, y\n"
