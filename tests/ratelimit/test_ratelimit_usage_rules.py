"""Usage without its database: slots of latencies, rows that add up, the sample of the log, partitions, what a batch must be."""

import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratelimit_service.domain.histograms import ERROR, LONGEST_US, percentile, slot_of, value_of
from ratelimit_service.domain.partitions import LATEST, OLDEST, Partition, Schedule, expired, wanted
from ratelimit_service.domain.requests import NOBODY, RequestBatch, Requests, event_id
from ratelimit_service.domain.rollups import GRAINS, OTHER, day_units, folded, rollups
from ratelimit_service.domain.sampling import Sampler
from ratelimit_service.domain.sums import Sums, added_up
from tests.ratelimit.usage_world import NOON, Asked, batch_id, batch_of, key_id, tenant_id, user_id

# ----- latencies


@given(st.lists(st.integers(1, LONGEST_US), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_within_its_error_of_the_exact_one(latencies: list[int], share: float) -> None:
    exact = sorted(latencies)[max(1, math.ceil(share * len(latencies))) - 1]
    found = percentile(Counter(map(slot_of, latencies)), share)
    assert found is not None
    assert abs(found - exact) <= ERROR * exact * (1 + 1e-9)


@given(st.lists(st.integers(0, LONGEST_US)), st.lists(st.integers(0, LONGEST_US)))
def test_slots_of_two_times_are_those_of_both_together(one: list[int], other: list[int]) -> None:
    assert Counter(map(slot_of, one)) + Counter(map(slot_of, other)) == Counter(map(slot_of, one + other))


def test_slots_ascend_and_the_longest_is_the_last() -> None:
    last = slot_of(LONGEST_US)
    assert slot_of(10**12) == last < 256
    assert [value_of(slot) for slot in range(last + 1)] == sorted(value_of(slot) for slot in range(last + 1))
    assert percentile({}, 0.5) is None


# ----- rows that add up

MOMENTS = st.datetimes(datetime(2026, 3, 13), datetime(2026, 3, 15)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


def made(chosen: dict[str, Any]) -> Asked:
    return Asked()._replace(**chosen)


ASKED = st.fixed_dictionaries(
    {
        "at": MOMENTS,
        "user": st.integers(0, 3),
        "key": st.integers(0, 2),
        "indicator": st.sampled_from(("", "rsi", "sma")),
        "symbol": st.sampled_from(("", "AAPL", "MSFT")),
        "status": st.sampled_from((200, 304, 404, 422, 429, 503)),
        "cache": st.sampled_from(("hit", "miss")),
        "latency_us": st.integers(0, 10**7),
        "units": st.integers(0, 4),
        "bytes_out": st.integers(0, 10**6),
    }
).map(made)


def requests_of(asked: list[Asked]) -> Requests:
    return Requests(batch_id(), RequestBatch.model_validate(batch_of(asked)))


def counted(asked: list[Asked]) -> Sums:
    return added_up([requests_of(asked)] if asked else [])


def sums(rows: dict[Any, list[int]], seconds: int) -> dict[Any, list[int]]:
    """By key, with the time cut to a grain."""
    found: dict[Any, list[int]] = {}
    for key, measures in rows.items():
        whole = key._replace(at=key.at // seconds * seconds)
        found[whole] = [a + b for a, b in zip(found.get(whole, [0] * len(measures)), measures, strict=True)]
    return found


@given(st.lists(ASKED, max_size=40))
def test_minutes_hours_and_days_add_up_to_the_same(asked: list[Asked]) -> None:
    made = rollups(counted(asked))
    for table in ("use", "traffic", "demand"):
        minute, hour, day = (getattr(made[grain], table) for grain in ("minute", "hour", "day"))
        assert sums(minute, GRAINS["hour"]) == hour
        assert sums(minute, GRAINS["day"]) == sums(hour, GRAINS["day"]) == day
    for made_of in made.values():
        for rows in (made_of.use, made_of.traffic):
            assert sum(row[0] for row in rows.values()) == len(asked)
            assert sum(row[1] for row in rows.values()) == sum(one.units for one in asked)


@given(st.lists(ASKED, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_requests_are_counted_together_as_they_are_one_by_one(asked: list[Asked], chance: Random) -> None:
    """However a batch tells of them: callers and calls that are the same may have one row, or more."""
    alone = added_up([requests_of([request]) for request in asked])
    told = batch_of(asked)
    for rows, places in (("callers", "caller"), ("calls", "call")):
        told[places] = [told[rows].index(row) if chance.random() < 0.5 else at for at, row in enumerate(told[rows])]
    together = added_up([Requests(batch_id(), RequestBatch.model_validate(told))])
    assert (rollups(together), day_units(together)) == (rollups(alone), day_units(alone))


@given(st.lists(ASKED, max_size=40))
def test_units_are_counted_for_who_paid_on_the_day_and_for_their_tenant_in_all(asked: list[Asked]) -> None:
    expected: Counter[tuple[int, str]] = Counter()
    for one in asked:
        day = round(one.at.timestamp()) // 86_400 * 86_400
        expected[day, one.subject] += one.units
        if one.user:
            expected[day, f"members:{tenant_id(one.user)}"] += one.units
    found = day_units(counted([one._replace(at=one.at.replace(microsecond=0)) for one in asked]))
    assert {key: spent.units for key, spent in found.items()} == {key: units for key, units in expected.items() if units}


def test_a_name_that_a_service_does_not_know_is_no_name() -> None:
    asked = [Asked(symbol="XXXX", status=status) for status in (200, 404, 422, 429)]
    demand = rollups(counted(asked))["day"].demand
    assert {key.name: row for key, row in demand.items()} == {"XXXX": [2, 2, 1], OTHER: [2, 2, 2]}


def test_what_has_no_row_of_its_own_is_counted_as_other() -> None:
    demand = rollups(counted([Asked(symbol=name) for name in ("A", "B", "C", "C")]))["day"].demand
    assert {key.name: row[0] for key, row in folded(demand, lambda key: key.name == "C").items()} == {OTHER: 2, "C": 2}


# ----- the log


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 100), st.integers(0, 2**32))
def test_what_failed_is_always_kept_and_what_was_served_is_kept_to_a_rate(
    served: int, failed: int, per_s: int, seed: int
) -> None:
    now = 0.0
    sampler = Sampler(per_s, lambda: now, Random(seed).random)  # noqa: S311 - chance, no secret
    requests = requests_of([Asked(status=200)] * served + [Asked(status=429)] * failed)
    entries = sampler.sample([requests])
    told = [requests[place] for place in range(served, served + failed)]
    assert [entry.request for entry in entries if entry.request.call.status == 429] == told
    assert all(entry.kept == 1 for entry in entries if entry.request.call.status == 429)
    if served <= per_s:
        assert len(entries) == len(requests)
    else:
        assert {entry.kept for entry in entries if entry.request.call.status == 200} <= {per_s / served}


def test_the_number_of_requests_is_estimated_from_the_share_that_was_kept() -> None:
    now, random = 0.0, Random(7)  # noqa: S311 - as above
    sampler = Sampler(100, lambda: now, random.random)
    entries = []
    for _ in range(200):
        entries += sampler.sample([requests_of([Asked()] * 200), requests_of([Asked()] * 200)])
        now += 1
    assert len(entries) == pytest.approx(200 * 100, rel=0.05)
    assert sum(1 / entry.kept for entry in entries) == pytest.approx(200 * 400, rel=0.03)


# ----- partitions

DAYS = st.dates(date(2025, 1, 1), date(2027, 12, 31))
SCHEDULES = (Schedule("log", "day", 10), Schedule("use", "month", 40))


@given(DAYS)
def test_whatever_may_come_has_a_partition(today: date) -> None:
    made = list(wanted(SCHEDULES, today))
    for schedule in SCHEDULES:
        mine = sorted({(one.first, one.until) for one in made if one.table == schedule.table})
        assert mine[0][0] <= today - OLDEST
        assert mine[-1][1] > today + LATEST
        assert all(until == first for (_, until), (first, _) in pairwise(mine)), "without a gap"


@given(DAYS, st.integers(0, 60))
def test_what_is_dropped_is_old_and_needed_no_more(start: date, days: int) -> None:
    """Through the days as they pass, with partitions made and dropped each day."""
    there: dict[str, set[Partition]] = {schedule.table: set() for schedule in SCHEDULES}
    for today in (start + timedelta(days=passed) for passed in range(days + 1)):
        for one in wanted(SCHEDULES, today):
            there[one.table].add(one)
        for schedule in SCHEDULES:
            for one in expired(schedule, [kept.first for kept in there[schedule.table]], today):
                assert one.until <= today - timedelta(days=schedule.keep_days)
                there[schedule.table].remove(one)
            oldest = min(kept.until for kept in there[schedule.table])
            assert oldest > today - timedelta(days=schedule.keep_days)
    assert set(wanted(SCHEDULES, start + timedelta(days=days))) <= there["log"] | there["use"]


# ----- batches


@pytest.mark.parametrize(
    "fault",
    [
        {"at": []},
        {"caller": [1]},
        {"call": [-1]},
        {"calls": [["GET", "/x", "", "", 99, "hit"]]},
        {"calls": [["GET", "/x", "", "", 200, "maybe"]]},
        {"calls": [["GET", "/x\0", "", "", 200, "hit"]]},
        {"callers": [["someone", "", "", "none", "", ""]]},
        {"units": [-1]},
        {"units": [1 << 31]},
        {"request_id": ["r" * 65]},
        {"at": [1 << 60]},
        {"lost": [-1, 0]},
    ],
    ids=str,
)
def test_a_batch_that_is_not_whole_is_none(fault: dict[str, Any]) -> None:
    RequestBatch.model_validate(batch_of([Asked()]))
    with pytest.raises(ValidationError):
        RequestBatch.model_validate(batch_of([Asked()]) | fault)


def test_a_batch_is_read_as_it_was_told() -> None:
    requests = requests_of([Asked(user=3, key=7, latency_us=1 << 40), Asked(user=0, units=0)])
    first, nobody = requests[0], requests[1]
    assert first.caller[1:3] == (user_id(3), key_id(7))
    assert (nobody.caller.user_id, nobody.caller.subject) == (NOBODY, "")
    assert first.latency_us == (1 << 31) - 1


def test_events_of_batches_have_ids_of_their_own_that_ascend_with_time() -> None:
    batch = batch_id()
    at = round(NOON.timestamp() * 1000)
    ids = [event_id(batch, place, at + place // 100) for place in range(500)]
    assert ids == sorted(set(ids))
    assert {one.version for one in ids} == {7}
    assert not set(ids) & {event_id(batch_id(), place, at + place // 100) for place in range(500)}
