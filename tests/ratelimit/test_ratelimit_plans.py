"""The control plane of the plans: tried, published, restored, told of; the file is a way to publish like any other."""

import asyncio
import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from ratelimit_service.app import NAME
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from tests.ratelimit.conftest import (
    SMALL,
    Administrator,
    MakeSettings,
    OwnFile,
    day_of,
    enforced,
    gateways,
    plans_with,
    serving,
)
from tests.support.poll import until
from tests.support.principals import headers_for, user

ROUTES = (
    ("GET", "plans"),
    ("PUT", "plans"),
    ("POST", "plans/validate"),
    ("GET", "plans/history"),
    ("GET", "plans/history/1"),
    ("POST", "plans/rollback"),
    ("GET", "limits/tenants"),
    ("GET", "limits/tenants/0190b5a0-0000-7000-8000-000000000000"),
    ("PUT", "limits/tenants/0190b5a0-0000-7000-8000-000000000000"),
    ("DELETE", "limits/tenants/0190b5a0-0000-7000-8000-000000000000"),
    ("GET", "limits/changes"),
    ("GET", "limits/usage"),
    ("POST", "limits/users/0190b5a0-0000-7000-8000-000000000000/reset"),
)
"""Of administrators alone."""


async def version_is(admin: Administrator, number: int) -> None:
    async def newest() -> bool:
        return bool((await admin.history())[0]["version"] == number)

    await until(newest, what=f"version {number}")


async def test_what_the_file_says_is_the_first_version_and_each_time_it_says_another_thing_the_next(
    plans: OwnFile, settings_of: MakeSettings
) -> None:
    async with serving(settings_of(plans)) as admin:
        await version_is(admin, 1)
        plans.says(plans_with(20))
        await version_is(admin, 2)
        plans.says(f"# a comment\n{plans_with(20)}")
        plans.says(plans_with(30))
        await version_is(admin, 3)
        newest, second, first = await admin.history()
    assert [one["source"] for one in (newest, second, first)] == ["file"] * 3
    assert (second["before"], second["after"]) == ({"tiers.free.limits.day": 10}, {"tiers.free.limits.day": 20})
    assert (first["before"], first["after"]["tiers"]) == (None, ["free"])
    assert newest["actor"] == "svc:ratelimit-service"
    async with serving(settings_of(plans)) as admin:
        plans.says(plans_with(40))
        await version_is(admin, 4)


async def test_what_is_published_is_on_every_gateway_at_once(
    plans: OwnFile,
    settings_of: MakeSettings,
    redis: Redis,
    bus: EventBus,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """By the fact: the service looks by itself once an hour here. How long it took is in the report."""
    took = []
    async with serving(settings_of(plans, look_s=3600)) as admin, gateways(redis, bus) as both:
        await enforced(both, lambda book: day_of(book) == 10)
        for number in range(1, 6):
            began = time.monotonic()
            answer = await admin.publish(plans_with(100 + number), replaces=number, reason="more")
            assert (answer.status_code, answer.json()["version"]) == (200, number + 1)
            await enforced(both, lambda book, day=100 + number: day_of(book) == day)  # type: ignore[misc]
            took.append(time.monotonic() - began)

        async def here_too() -> bool:
            return bool((await admin.told("GET", "plans"))["in_force"])

        await until(here_too, what="the plans at the service itself")
        shown = await admin.told("GET", "plans")
    record_testsuite_property("published plans count on two gateways after, s", round(max(took), 3))
    assert (shown["newest"]["version"], shown["newest"]["text"]) == (6, plans_with(105))
    assert shown["rules"]["tiers"]["free"]["limits"]["concurrency"] == 2


async def test_history_says_who_published_what_and_why(plans: OwnFile, settings_of: MakeSettings) -> None:
    async with serving(settings_of(plans)) as admin:
        answer = await admin.publish(plans_with(20), replaces=1, reason="a better offer")
        newest = (await admin.history())[0]
        assert (newest["source"], newest["actor"], newest["reason"]) == ("published", admin.principal.user_id, "a better offer")
        assert newest["request_id"] == answer.headers["x-request-id"]
        assert (newest["before"], newest["after"]) == ({"tiers.free.limits.day": 10}, {"tiers.free.limits.day": 20})
        assert (await admin.told("GET", "plans/history/1"))["text"] == SMALL
        assert (await admin.ask("GET", "plans/history/3")).status_code == 404
        (change,) = (await admin.told("GET", "limits/changes", noun="plan", subject="2"))["data"]
        assert (change["event"], change["client_ip"], change["after"]) == ("published", "127.0.0.1", newest["after"])


async def test_history_comes_in_pages(plans: OwnFile, settings_of: MakeSettings) -> None:
    async with serving(settings_of(plans)) as admin:
        for number in range(1, 5):
            assert (await admin.publish(plans_with(10 + number), replaces=number)).status_code == 200
        seen, query = [], {"limit": 2}
        while True:
            page = await admin.told("GET", "plans/history", **query)
            seen += [one["version"] for one in page["data"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]


async def test_of_many_who_replace_the_same_version_one_does(plans: OwnFile, settings_of: MakeSettings) -> None:
    async with serving(settings_of(plans)) as admin:
        answers = await asyncio.gather(*(admin.publish(plans_with(20 + n), replaces=1) for n in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        refused = next(answer.json() for answer in answers if answer.status_code == 409)
        assert (refused["type"], "version 2 is the newest" in refused["detail"]) == ("urn:kalpi:problem:plans-moved", True)
        assert [one["version"] for one in await admin.history()] == [2, 1]


@pytest.mark.parametrize(("method", "path"), [("POST", "plans/validate"), ("PUT", "plans")])
async def test_an_unfit_text_is_refused_with_every_bad_rule_and_its_place(
    method: str, path: str, plans: OwnFile, settings_of: MakeSettings
) -> None:
    unfit = SMALL.replace("day: 10", "day: 0").replace("batch_series: 5", "batch_series: 0")
    async with serving(settings_of(plans)) as admin:
        for text, places in (
            (unfit, [["tiers", "free", "limits", "day"], ["tiers", "free", "entitlements", "batch_series"]]),
            ("tiers: [}", [[]]),
            ("[" * 30_000, [[]]),
            (f"{SMALL}\noverrides: {{}}", [["overrides"]]),
        ):
            body = {"text": text} if method == "POST" else {"text": text, "replaces": 1}
            answer = await admin.ask(method, path, body)
            assert answer.status_code == 422
            found = [fault["loc"] for fault in answer.json()["errors"]]
            assert [place[:6] for place in found] == [["body", "text", *place] for place in places]
        too_long = {"text": " " * (1 << 17), "replaces": 1} if method == "PUT" else {"text": " " * (1 << 17)}
        assert (await admin.ask(method, path, too_long)).status_code == 422
        assert len(await admin.history()) == 1


async def test_a_text_that_is_tried_says_what_it_would_change_and_changes_nothing(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    more = plans_with(20) + "  pro: {limits: {}, entitlements: {indicators: all, batch_series: 5}}\n"
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        trial = await admin.told("POST", "plans/validate", {"text": more})
        assert trial["before"] == {"tiers": ["free"], "tiers.free.limits.day": 10}
        assert (trial["after"]["tiers"], trial["after"]["tiers.pro.entitlements.indicators"]) == (["free", "pro"], "all")
        assert len(await admin.history()) == 1
        assert all(day_of(watcher.book) == 10 for watcher in both)


async def test_an_older_version_is_in_force_again_until_the_file_changes_whoever_starts_anew(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        await admin.publish(plans_with(20), replaces=1)
        await admin.publish(plans_with(30), replaces=2)
        restored = (await admin.restore(2, replaces=3)).json()
        assert (restored["version"], restored["source"], restored["restores"]) == (4, "restored", 2)
        await enforced(both, lambda book: day_of(book) == 20)
        assert (await admin.restore(4, replaces=4)).status_code == 409
        assert (await admin.restore(9, replaces=4)).status_code == 404
        assert (await admin.restore(1, replaces=3)).status_code == 409
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        assert (await admin.told("GET", "plans"))["newest"]["version"] == 4
        plans.says(f"# the same rules\n{SMALL}")
        plans.says(plans_with(40))
        await enforced(both, lambda book: day_of(book) == 40)
        assert [one["source"] for one in await admin.history()] == ["file", "restored", "published", "published", "file"]


async def test_the_file_that_ships_never_replaces_what_an_operator_published(
    settings_of: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ships(text: str) -> None:
        monkeypatch.setattr("ratelimit_service.adapters.plans.FilePlans.text", lambda _self: text)

    async def newest() -> tuple[int, str]:
        async with serving(settings_of()) as admin:
            one = (await admin.told("GET", "plans"))["newest"]
            return one["version"], one["source"]

    ships(SMALL)
    assert await newest() == (1, "shipped")
    ships(plans_with(11))
    assert await newest() == (2, "shipped")
    async with serving(settings_of()) as admin:
        await admin.publish(plans_with(12), replaces=2)
    ships(plans_with(13))
    assert await newest() == (3, "published")


async def test_a_store_that_was_emptied_is_given_the_plans_again(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    async with serving(settings_of(plans)) as admin:
        await admin.publish(plans_with(20), replaces=1)
        await redis.delete(PLANS_KEY, f"{PLANS_KEY}:state")

        async def is_back() -> bool:
            return bool(await redis.exists(PLANS_KEY))

        await until(is_back, what="the plans")
        async with gateways(redis, bus) as both:
            assert all(day_of(watcher.book) == 20 for watcher in both)


async def test_several_services_put_one_and_the_same_in_force(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    async with serving(settings_of(plans)) as one, serving(settings_of(plans)) as other, gateways(redis, bus) as both:
        for number in range(1, 9):
            admin = (one, other)[number % 2]
            assert (await admin.publish(plans_with(100 + number), replaces=number)).status_code == 200
        await enforced(both, lambda book: day_of(book) == 108)
        plans.says(plans_with(50))
        await enforced(both, lambda book: day_of(book) == 50)
        assert len(await one.history()) == 10, "a file that both have seen change is one version"


async def test_only_an_administrator_with_a_credential_for_it_is_let_in(plans: OwnFile, settings_of: MakeSettings) -> None:
    admin = user("pro", roles=("admin",))
    strangers = (
        (user("pro"), 403),
        (admin.model_copy(update={"scopes": ("keys:manage",)}), 403),
        (user("pro").model_copy(update={"scopes": admin.scopes}), 403),
        (admin.service("gateway"), 401),
    )
    async with serving(settings_of(plans)) as administrator:
        for method, path in ROUTES:
            for who, status in strangers:
                headers = headers_for(who, NAME)
                answer = await administrator.client.request(method, f"/api/v1/admin/{path}", headers=headers, json={})
                assert answer.status_code == status, (method, path, who, answer.text)
            assert (await administrator.client.request(method, f"/api/v1/admin/{path}")).status_code == 401
