"""Origins of web pages that a tenant allows: exact ones, few, and told to the gateways."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.web_origins import MOST_ORIGINS, web_origin
from tests.auth.auth_world import Person, World, administrator
from tests.auth.tenancy import organisation

TENANT = "/api/v1/tenant"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.COM:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_kept_as_a_browser_sends_it(written: str, sent: str) -> None:
    assert web_origin(written) == sent == web_origin(sent)


UNFIT = [
    "*",
    "null",
    "",
    "https://",
    "https://*.example.com",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://app.example.com?x",
    "https://user@app.example.com",
    "https://app.example.com:",
    "https://app.example.com:0",
    "https://app.example.com:65536",
    "https://app..example.com",
    "https://-app.example.com",
    "https://bücher.example",
    "https://app.example.com\n",
    " https://app.example.com",
    "https://a b",
    "http://[:::1]",
    "http://[1.2.3.4]",
    "ftp://app.example.com",
    "chrome-extension://abcdef",
    "file://",
    "app.example.com",
    f"https://{'a.' * 130}example",
]


@pytest.mark.parametrize("text", UNFIT)
def test_whatever_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        web_origin(text)


@given(st.text(max_size=40) | st.from_regex(r"https?://.{1,20}(:[0-9]{0,6})?"))
def test_what_is_kept_is_kept_as_it_is_ever_after(text: str) -> None:
    try:
        origin = web_origin(text)
    except ValueError:
        return
    assert web_origin(origin) == origin
    assert origin.isascii()


async def allow(world: World, person: Person, origins: list[Any]) -> Any:
    return await world.call("PATCH", TENANT, person.principal, json={"allowed_origins": origins})


async def union(world: World) -> list[str]:
    answer = await world.call("GET", "/internal/v1/origins")
    assert answer.status_code == 200
    return list(answer.json()["origins"])


async def test_a_tenants_origins_are_told_to_the_gateways(world: World) -> None:
    one, other = await organisation(world), await organisation(world)
    mine, ours = f"https://{one.name}.example", "https://both.example"
    for person, origins in ((one, [mine, ours, f"{mine}:443"]), (other, [ours])):
        assert (await allow(world, person, origins)).json()["allowed_origins"] == sorted({*origins} - {f"{mine}:443"})
    everybodys = await union(world)
    assert (everybodys.count(mine), everybodys.count(ours)) == (1, 1)
    resolved = (await world.resolve_session(one.tokens["access_token"])).json()
    assert resolved["allowed_origins"] == sorted([mine, ours])
    await world.call("PATCH", f"/api/v1/admin/tenants/{one.tenant_id}", administrator(), json={"is_active": False})
    everybodys = await union(world)
    assert (everybodys.count(mine), everybodys.count(ours)) == (0, 1)
    await allow(world, other, [])
    assert ours not in await union(world)


async def test_they_are_few_and_each_is_one(world: World, member: Person) -> None:
    assert (await allow(world, member, [f"https://a{n}.example" for n in range(MOST_ORIGINS)])).status_code == 200
    for unfit in ([f"https://a{n}.example" for n in range(MOST_ORIGINS + 1)], ["*"], ["null"], [None], ["https://a.example/x"]):
        answer = await allow(world, member, unfit)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"][:2] == ["body", "allowed_origins"]
    assert (await world.call("PATCH", TENANT, member.principal, json={"allowed_origins": None})).status_code == 200
    kept = (await world.call("GET", TENANT, member.principal)).json()["allowed_origins"]
    assert len(kept) == MOST_ORIGINS


async def test_the_list_of_all_is_for_services(world: World, member: Person) -> None:
    assert (await world.call("GET", "/internal/v1/origins", member.principal)).status_code == 404
