"""Every forged credential, through the running product: a 401 in the contract's words, and nothing is the worse for it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.security.attacks import Headers, attacks, bearer
from tests.security.crowd import Crowd, crowd_at
from tests.security.forging import Forge
from tests.support.accounts import Account
from tests.support.stack import Stack

ME = "/api/v1/auth/me"


@pytest.fixture
async def crowd(stack: Stack) -> AsyncIterator[Crowd]:
    async with crowd_at(stack.url) as crowd:
        yield crowd


async def answer_to(crowd: Crowd, headers: Headers) -> httpx.Response:
    return await crowd.request("GET", ME, headers=headers)


def fault(answer: httpx.Response) -> str | None:
    """What is not as the contract has it."""
    if answer.status_code != 401:
        return f"{answer.status_code} {answer.text[:200]}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"it is {answer.headers['content-type']}"
    if answer.headers.get_list("www-authenticate") != ['Bearer realm="kalpi"']:
        return f"it asks for {answer.headers.get_list('www-authenticate')}"
    document = answer.json()
    if (document["status"], document["type"], document["instance"]) != (401, "urn:kalpi:problem:unauthenticated", ME):
        return str(document)
    return None if document["request_id"] == answer.headers["x-request-id"] else "it has another request id"


async def test_every_forged_credential_is_a_401_and_the_gateway_goes_on(
    crowd: Crowd, stack: Stack, account: Account, forge: Forge
) -> None:
    processes = {name: (entry["pid"], entry["restarts"]) for name, entry in stack.state["services"].items()}
    assert (await answer_to(crowd, bearer(forge.token))).status_code == 200
    assert (await answer_to(crowd, bearer(forge.sealed()))).status_code == 200, "the forge's own seal is good"
    faults: dict[str, str] = {}
    names = []
    for name, headers in attacks(forge, account.key["X-API-Key"]):
        names.append(name)
        if (wrong := fault(await answer_to(crowd, headers))) is not None:
            faults[name] = wrong
    assert faults == {}
    assert len(names) == len(set(names)) > 400
    for headers in (bearer(forge.token), [(b"X-API-Key", account.key["X-API-Key"].encode())]):
        assert (await answer_to(crowd, headers)).status_code == 200
    assert {name: (entry["pid"], entry["restarts"]) for name, entry in stack.state["services"].items()} == processes


async def test_a_header_beyond_64_kib_is_a_431_and_the_gateway_goes_on(
    client: httpx.AsyncClient, crowd: Crowd, forge: Forge
) -> None:
    for headers in (
        bearer("a" * (64 << 10)),
        bearer(forge.token + "." * (64 << 10)),
        [*bearer(forge.token), (b"X", b"x" * 65536)],
    ):
        answer = await client.get(ME, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (431, "application/problem+json")
        assert (await answer_to(crowd, bearer(forge.token))).status_code == 200
