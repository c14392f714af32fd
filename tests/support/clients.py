"""How a well-behaved client speaks to the gateway."""

import httpx

from tests.support.poll import until


async def get_patiently(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response:
    """As an obedient client: a request refused for its burst alone is sent again until it passes."""

    async def attempt() -> httpx.Response | None:
        answer = await client.get(path, headers=headers)
        hasty = answer.status_code == 429 and answer.json()["violated-policies"] == ["burst"]
        return None if hasty else answer

    # the smallest plan's burst lets one through in 0.2 s: asking much more often would only keep the gateways busy
    answer = await until(attempt, seconds=10, every_s=0.1, what=f"{path} within its burst")
    assert answer is not None
    return answer


async def until_cached(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response:
    """The first answer from the cache: the gateway has heard of the newest version by then."""

    async def hit() -> httpx.Response | None:
        answer = await client.get(path, headers=headers)
        return answer if answer.headers.get("x-cache") == "HIT" else None

    answer = await until(hit, what=f"{path} cached")
    assert answer is not None
    return answer
