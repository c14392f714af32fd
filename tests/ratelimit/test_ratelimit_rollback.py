"""Whatever is published, restored and written into the file, in any order: the law of which one is in force."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimit_service.domain.errors import InForceAlready, PlansMoved
from ratelimit_service.domain.model import Origin
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.limits.plans import parse_plans
from shared.store import open_store
from tests.ratelimit.conftest import SMALL, MakeSettings, OwnFile, Parts, parts_of, plans_with

ANN = Origin("ann")
STEPS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.just("restore"), st.integers(1, 8)),
    st.tuples(st.just("file"), st.integers(1, 5)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("late"), st.integers(1, 5)),
)


@dataclass
class Model:
    """`texts` are the versions, from the first on; `of_file` is what the file last said of its own."""

    texts: list[str] = field(default_factory=lambda: [SMALL])
    of_file: str = SMALL

    def file_says(self, text: str) -> None:
        if text != self.of_file:
            self.of_file = text
            self.texts.append(text)


async def step(parts: Parts, model: Model, plans: OwnFile, kind: str, number: int) -> None:
    newest = len(model.texts)
    if kind == "publish":
        await parts.publishing.publish(plans_with(number), replaces=newest, reason="", origin=ANN)
        model.texts.append(plans_with(number))
    elif kind == "late":
        with pytest.raises(PlansMoved):
            await parts.publishing.publish(plans_with(number), replaces=newest - 1, reason="", origin=ANN)
    elif kind == "file":
        plans.says(plans_with(number))
        model.file_says(plans_with(number))
    elif kind == "restore" and number == newest:
        with pytest.raises(InForceAlready):
            await parts.publishing.restore(number, replaces=newest, reason="", origin=ANN)
    elif kind == "restore" and number < newest:
        restored = await parts.publishing.restore(number, replaces=newest, reason="", origin=ANN)
        assert restored.text == model.texts[number - 1]
        model.texts.append(restored.text)


def test_the_newest_is_in_force_and_a_rollback_undoes_what_came_since(
    plans: OwnFile, settings_of: MakeSettings, redis_url: str, nats_url: str
) -> None:
    """On one database: each run goes on where the one before has ended."""
    model, runner = Model(), asyncio.Runner()

    async def lived(steps: list[tuple[str, int]]) -> None:
        bus = EventBus(nats_url, service="test", clock=system_clock, new_id=new_id)
        async with open_store(redis_url) as redis, bus:
            watcher = PlanWatcher(redis)
            while steps:
                async with parts_of(settings_of(plans), redis, bus) as parts:
                    await parts.control.look()
                    while steps:
                        kind, number = steps.pop(0)
                        if kind == "restart":
                            break
                        await step(parts, model, plans, kind, number)
                        await parts.control.look()
                        await watcher._read()
                        assert watcher.book == parse_plans(model.texts[-1])
                    kept = await parts.publishing.history(before=None, limit=len(model.texts) + 1)
                    assert [one.text for one in reversed(kept)] == model.texts
                    assert [one.number for one in reversed(kept)] == [*range(1, len(model.texts) + 1)]
                    assert [one.change.seq for one in kept] == sorted((one.change.seq for one in kept), reverse=True)

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(STEPS, min_size=1, max_size=12))
    def played(steps: list[tuple[str, int]]) -> None:
        runner.run(lived(list(steps)))

    with runner:
        played()
