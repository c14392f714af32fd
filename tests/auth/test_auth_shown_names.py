"""What users write and others read is refused where it would not be read as it is (`shared.display` has the rule)."""

from typing import Any

import httpx
import pytest

from tests.auth.auth_world import World, administrator
from tests.auth.tenancy import organisation

KEYS = "/api/v1/auth/api-keys"
UNSEEN = {
    "Acme\u202egnp.exe": "U+202E (RIGHT-TO-LEFT OVERRIDE)",
    "Ac\u200bme": "U+200B (ZERO WIDTH SPACE)",
    "Ac\u2066me": "U+2066 (LEFT-TO-RIGHT ISOLATE)",
    "Ac\u00adme": "U+00AD (SOFT HYPHEN)",
    "Ac\u200dme": "U+200D (ZERO WIDTH JOINER)",
    "Ac\u0085me": "U+0085",
    "Acme\U000e0041": "U+E0041 (TAG LATIN CAPITAL LETTER A)",
    "\u3164": "U+3164 (HANGUL FILLER)",
    "  ": "nothing but spaces",
}
SEEN = ("می\u200cخواهم", "ශ්\u200dරී ලංකා", "👩🏽\u200d💻 Łódź", "株式会社\u3000東京")


async def named(world: World, how: str, name: str) -> httpx.Response:
    owner = await organisation(world)
    if how == "renaming a tenant":
        return await world.call("PATCH", "/api/v1/tenant", owner.principal, json={"name": name})
    if how == "making a tenant":
        body: dict[str, Any] = {"name": name, "owner_id": str((await world.register()).id)}
        return await world.call("POST", "/api/v1/admin/tenants", administrator(), json=body)
    return await world.call("POST", KEYS, owner.principal, json={"name": name})


ways = pytest.mark.parametrize("how", ["renaming a tenant", "making a tenant", "making a key"])


@ways
async def test_a_name_that_would_not_be_read_as_it_is_written_is_a_422_that_says_why(world: World, how: str) -> None:
    for name, told in UNSEEN.items():
        answer = await named(world, how, name)
        assert answer.status_code == 422, name
        (error,) = answer.json()["errors"]
        assert error["loc"] == ["body", "name"]
        assert told in error["msg"]
        assert name not in answer.text or name.isspace(), "what was sent is not repeated"


@ways
async def test_names_of_the_worlds_scripts_come_back_as_they_were_sent(world: World, how: str) -> None:
    for name in SEEN:
        answer = await named(world, how, name)
        assert (answer.is_success, answer.json()["name"]) == (True, name)


async def test_a_key_needs_no_name(world: World) -> None:
    assert (await world.create_key(await world.register(), name=""))["name"] == ""
