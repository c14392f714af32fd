"""A gateway whose store has a primary that is lost: it goes on with the one that Sentinel promotes, without a restart."""

from pathlib import Path

from gateway.app import create_app
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from shared.limits.plans import parse_plans
from shared.store import open_store
from tests.gateway.conftest import PLANS, Origin, settings_for
from tests.support.asgi import running
from tests.support.sentinel import watched_store

PATH = "/api/v1/bars/AAPL"


async def test_what_was_spent_before_the_failover_is_spent_after_it(
    bus: EventBus, origin: Origin, origin_url: str, nats_url: str, tmp_path: Path
) -> None:
    headers, _ = origin.new_person("many")
    async with watched_store(tmp_path) as store:
        async with open_store(store.url) as redis:
            await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
        async with running(create_app(settings_for(origin_url, store.url, nats_url))) as gateway:
            before = [(await gateway.get(PATH, headers=headers)).status_code for _ in range(4)]
            await store.has_copied()
            store.kill_primary()
            await store.runs_scripts()
            after = [(await gateway.get(PATH, headers=headers)).status_code for _ in range(7)]
    assert before == [200] * 4
    assert after == [200] * 6 + [429]
