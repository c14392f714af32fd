"""What a tenant has instead of its tier's: from a moment and until another, of whatever is given and of nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.limits.plans import Override, Plan, PlanBook, parse_plans
from shared.limits.sharing import plan_for
from shared.principal import Principal

BOOK = parse_plans(
    """
anonymous_ip: {quota: 50}
tiers:
  free:
    limits: {burst: {quota: 5}, day: 50, concurrency: 2}
    entitlements: {indicators: [sma], history_days: 90, batch_series: 5}
  pro:
    limits: {burst: {quota: 25}, day: 500}
    entitlements: {indicators: [sma, rsi], history_days: 365, batch_series: 50, features: [patterns]}
"""
)
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
CHANGES: dict[str, dict[str, list[object]]] = {
    "limits": {"burst": [{"quota": 7}, None], "day": [70, None], "concurrency": [7, None]},
    "entitlements": {
        "indicators": ["all", ["ema"]],
        "history_days": [9, None],
        "batch_series": [9],
        "features": [["screener"], []],
    },
}


def with_override(tenant: str, **rules: object) -> PlanBook:
    return BOOK.model_copy(update={"overrides": {tenant: Override.model_validate(rules)}})


def member(tenant: str, tier: str = "free", **terms: object) -> Principal:
    return Principal.model_validate({"kind": "user", "user_id": "ann", "tenant_id": tenant, "tier": tier, **terms})


def moments() -> st.SearchStrategy[datetime]:
    return st.integers(-100, 100).map(lambda seconds: NOON + timedelta(seconds=seconds))


@given(st.none() | moments(), st.none() | moments(), moments())
def test_it_is_in_force_from_its_first_moment_until_before_its_last(
    starts: datetime | None, ends: datetime | None, now: datetime
) -> None:
    rules = {"starts_at": starts, "ends_at": ends, "limits": {"day": 7}}
    if starts is not None and ends is not None and ends <= starts:
        with pytest.raises(ValidationError, match="it ends before it begins"):
            Override.model_validate(rules)
        return
    book = PlanBook.model_validate_json(with_override("acme", **rules).model_dump_json(exclude_unset=True))
    within = (starts is None or now >= starts) and (ends is None or now < ends)
    whole = plan_for(member("acme"), book, now)
    assert whole == (BOOK.tiers["free"].model_copy(update={"limits": whole.limits}) if whole else None)
    assert (whole is not None and whole.limits.day == parse_day(7)) == within
    assert (whole == BOOK.tiers["free"]) != within


def parse_day(day: int) -> object:
    return Plan.model_validate({"limits": {"day": day}, "entitlements": BOOK.tiers["free"].entitlements}).limits.day


@st.composite
def changes(draw: st.DrawFn) -> dict[str, dict[str, object]]:
    return {
        part: {name: draw(st.sampled_from(values)) for name, values in rules.items() if draw(st.booleans())}
        for part, rules in CHANGES.items()
    }


@given(changes(), st.sampled_from(["free", "pro"]))
def test_what_is_given_is_in_place_of_the_tiers_and_what_is_not_stays(given_: dict[str, dict[str, object]], tier: str) -> None:
    if not any(given_.values()):
        with pytest.raises(ValidationError, match="neither a limit nor an entitlement"):
            Override.model_validate(given_)
        return
    book = PlanBook.model_validate_json(with_override("acme", **given_).model_dump_json(exclude_unset=True))
    plain = BOOK.tiers[tier].model_dump(mode="json")
    expected = Plan.model_validate({part: {**plain[part], **given_[part]} for part in plain})
    assert plan_for(member("acme", tier), book, NOON) == expected
    assert plan_for(member("other", tier), book, NOON) == BOOK.tiers[tier]


def test_members_divide_what_their_tenant_was_given() -> None:
    book = with_override("acme", limits={"day": 90})
    plan = plan_for(member("acme", quota="split", members=3), book, NOON)
    assert plan is not None
    assert plan.limits.day == parse_day(30)


def test_a_tier_that_is_not_there_is_not_made_by_an_override() -> None:
    assert plan_for(member("acme", "gold"), with_override("acme", limits={"day": 90}), NOON) is None


def test_the_same_plan_is_laid_over_once() -> None:
    book = with_override("acme", limits={"day": 90})
    assert plan_for(member("acme"), book, NOON) is plan_for(member("acme"), book, NOON)
    assert book == with_override("acme", limits={"day": 90})


@pytest.mark.parametrize(
    "rules",
    [
        {"limits": {"dya": 7}},
        {"limits": {"day": 0}},
        {"entitlements": {"indicators": None}},
        {"entitlements": {"indicators": ["x"] * 1001}},
        {"limits": {"day": 7}, "starts_at": "2026-07-01T12:00:00"},
        {"limits": {"day": 7}, "until": None},
    ],
    ids=str,
)
def test_a_bad_rule_is_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Override.model_validate(rules)
