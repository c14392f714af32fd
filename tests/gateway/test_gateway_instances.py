"""Which instance is asked, how often one is asked again, and how long an answer may take."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.breaker import BreakerRules
from gateway.domain.instances import Call, Instance, Instances
from gateway.domain.patience import SLOWEST, Patience
from gateway.domain.retries import RetryBudget, may_be_repeated

RULES = BreakerRules(failures=2, share=0.5, window_s=10.0, open_s=1.0)


def instances(count: int) -> Instances:
    return Instances([f"http://{number}" for number in range(count)], RULES)


def chosen(of: Instances, now: float = 0.0, but: tuple[Instance, ...] = ()) -> Instance:
    one = of.choose(now, but)
    assert one is not None
    return one


def break_open(instance: Instance, now: float = 0.0) -> None:
    for _ in range(RULES.failures):
        instance.start(now).end(now, failed=True)


def test_of_equals_each_is_asked_in_turn() -> None:
    three = instances(3)
    asked = [chosen(three).url for _ in range(9)]
    assert Counter(asked) == dict.fromkeys(asked[:3], 3)
    assert asked[:3] == asked[3:6] == asked[6:]


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=60))
def test_the_one_asked_never_has_more_under_way_than_another(count: int, steps: list[tuple[bool, int]]) -> None:
    some, open_calls = instances(count), list[Call]()
    for ends, which in steps:
        if ends and open_calls:
            open_calls.pop(which % len(open_calls)).end(0.0, failed=False)
            continue
        one = chosen(some)
        assert one.under_way == min(each.under_way for each in some)
        open_calls.append(one.start(0.0))
    assert sum(each.under_way for each in some) == len(open_calls)
    for call in open_calls:
        call.end(0.0, failed=None)
        call.end(0.0, failed=True)  # ended once, whoever ends it again
    assert [each.under_way for each in some] == [0] * count
    assert {each.breaker.state(0.0) for each in some} == {"closed"}


def test_one_that_fails_is_passed_over_until_its_pause_is_over() -> None:
    two = instances(2)
    bad = chosen(two)
    break_open(bad)
    assert {chosen(two, 0.5).url for _ in range(4)} == {one.url for one in two if one is not bad}
    assert two.admit_in(0.5) == 0
    other = chosen(two, 0.5)
    break_open(other, 0.5)
    assert two.choose(0.75) is None
    assert two.admit_in(0.75) == pytest.approx(0.25)
    assert chosen(two, 1.0) is bad, "its pause is over first"


def test_those_that_were_tried_are_not_asked_again() -> None:
    two = instances(2)
    first = chosen(two)
    second = chosen(two, but=(first,))
    assert second is not first
    assert two.choose(0.0, but=(first, second)) is None


@given(st.lists(st.one_of(st.just("request"), st.just("retry"), st.floats(0, 5)), max_size=200), st.floats(0, 0.5))
def test_retries_are_a_part_of_the_requests_in_any_interval(steps: list[str | float], ratio: float) -> None:
    reserve, per_s = 3.0, 0.5
    budget, now = RetryBudget(ratio=ratio, reserve=reserve, per_s=per_s), 0.0
    happened: list[tuple[float, int, int]] = []
    for step in steps:
        if isinstance(step, float):
            now += step
        elif step == "request":
            budget.add_request()
            happened.append((now, 1, 0))
        else:
            happened.append((now, 0, int(budget.take(now))))
    for start in range(len(happened)):
        requests = retries = 0
        for at, request, retry in happened[start:]:
            requests, retries = requests + request, retries + retry
            assert retries <= reserve + ratio * requests + per_s * (at - happened[start][0]) + 1e-6


def test_a_budget_that_is_spent_comes_back_with_requests_and_with_time() -> None:
    budget = RetryBudget(ratio=0.25, reserve=1.0, per_s=0.5)
    assert budget.take(0.0)
    assert not budget.take(0.0)
    for _ in range(4):
        budget.add_request()
    assert budget.take(0.0)
    assert not budget.take(1.0)
    assert budget.take(2.0)


@pytest.mark.parametrize(("method", "may"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False), ("PUT", False)])
def test_only_what_changes_nothing_is_sent_again(method: str, may: bool) -> None:
    assert may_be_repeated(method) == may


def test_a_byte_a_second_uses_patience_up() -> None:
    patience, waited = Patience(2.0), 0.0
    while patience.left_s > 0 and waited < 100:
        wait = min(1.0, patience.left_s)
        waited += wait
        patience.came(1, wait)
        if wait < 1.0:
            break
    assert waited == pytest.approx(2.0, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0, 1)), max_size=100))
def test_patience_is_never_more_than_at_first_and_an_answer_takes_as_long_as_its_bytes(pieces: list[tuple[int, float]]) -> None:
    patience, came, waited = Patience(2.0), 0, 0.0
    for count, part in pieces:
        wait = part * patience.left_s
        patience.came(count, wait)
        came, waited = came + count, waited + wait
        assert 0 <= patience.left_s <= 2.0
        assert waited <= 2.0 + came / SLOWEST + 1e-6


def test_a_large_answer_that_comes_steadily_is_waited_for() -> None:
    patience = Patience(2.0)
    for _ in range(1000):
        patience.came(SLOWEST, 1.0)
    assert patience.left_s == 2.0
