"""When an instance is not asked: the laws of the breaker, over any order of requests, answers and pauses."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.domain.breaker import Breaker, BreakerRules

RULES = BreakerRules(failures=3, share=0.5, window_s=10.0, open_s=1.0)


def failing(breaker: Breaker, now: float, times: int) -> None:
    for _ in range(times):
        breaker.leave(breaker.enter(now), now, failed=True)


def test_it_opens_at_so_many_failures_and_closes_at_the_first_answer_after_a_pause() -> None:
    breaker = Breaker(RULES)
    failing(breaker, 0.0, 2)
    assert breaker.admits(0.0)
    failing(breaker, 0.0, 1)
    assert (breaker.state(0.0), breaker.admits(0.0), breaker.admits_in(0.4)) == ("open", False, 0.6)
    assert breaker.state(1.0) == "half-open"
    probe = breaker.enter(1.0)
    assert not breaker.admits(1.5), "one at a time"
    breaker.leave(probe, 1.5, failed=False)
    assert (breaker.state(1.5), breaker.admits(1.5)) == ("closed", True)


def test_a_failed_probe_keeps_it_open_for_the_whole_pause_again() -> None:
    breaker = Breaker(RULES)
    failing(breaker, 0.0, 3)
    failing(breaker, 1.0, 1)
    assert not breaker.admits(1.99)
    assert breaker.admits(2.0)


def test_a_probe_that_never_ends_does_not_keep_others_out_for_ever() -> None:
    breaker = Breaker(RULES)
    failing(breaker, 0.0, 3)
    breaker.enter(1.0)
    assert not breaker.admits(1.9)
    assert breaker.admits(2.0)


def test_few_failures_among_many_answers_do_not_open_it() -> None:
    breaker = Breaker(RULES)
    for number in range(300):
        breaker.leave(breaker.enter(0.0), 0.0, failed=number % 3 == 0)
    assert breaker.state(0.0) == "closed"


def test_failures_long_ago_are_forgotten() -> None:
    breaker = Breaker(RULES)
    failing(breaker, 0.0, 2)
    failing(breaker, 10.0, 2)
    assert breaker.state(10.0) == "closed"
    failing(breaker, 11.0, 1)
    assert breaker.state(11.0) == "open"


def test_failures_now_and_then_do_not_add_up() -> None:
    breaker = Breaker(RULES)
    for now in (4.0, 13.9, 18.8, 30.0):
        failing(breaker, now, 1)
    assert breaker.state(30.0) == "closed"


def test_what_was_asked_before_it_opened_neither_closes_it_nor_keeps_it_open() -> None:
    breaker = Breaker(RULES)
    early = [breaker.enter(0.0) for _ in range(9)]
    failing(breaker, 0.0, 3)
    breaker.leave(early.pop(), 0.5, failed=False)
    assert breaker.state(0.5) == "open"
    breaker.leave(breaker.enter(1.0), 1.0, failed=False)
    for era in early:
        breaker.leave(era, 1.1, failed=True)
    assert breaker.state(1.1) == "closed"


class Laws(RuleBasedStateMachine):
    """Any history; what has ended since the last change of state is kept beside it, to be counted in the plain way."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(RULES)
        self.now = 0.0
        self.closed = True
        self.under_way: list[tuple[int, int]] = []
        self.changes = 0
        self.changed_at = 0.0
        self.entered_open: list[float] = []
        self.ended: list[tuple[float, bool]] = []

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        if not self.breaker.admits(self.now):
            assert not self.closed
            assert self.breaker.admits_in(self.now) > 0
            return
        if not self.closed:
            since = self.entered_open[-1] if self.entered_open else self.changed_at
            assert self.now - since >= RULES.open_s - 1e-9, "one probe a pause"
            self.entered_open.append(self.now)
        self.under_way.append((self.breaker.enter(self.now), self.changes))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1 << 30), failed=st.booleans())
    def end(self, which: int, failed: bool) -> None:
        era, changes = self.under_way.pop(which % len(self.under_way))
        self.breaker.leave(era, self.now, failed=failed)
        now_closed = self.breaker.state(self.now) == "closed"
        counts = changes == self.changes
        if counts and self.closed:
            self.ended.append((self.now, failed))
        if now_closed != self.closed:
            assert counts, "an old request changed the state"
            if now_closed:
                assert not failed
            else:
                recent = [bad for at, bad in self.ended if self.now - at <= RULES.window_s]
                assert sum(recent) >= RULES.failures, "opened without enough failures"
            self._changed(closed=now_closed)
        elif counts and not self.closed:
            assert failed, "an answer to a probe closes it"
            self._changed(closed=False)
        elif self.closed:
            # what ended in this half of the window is certain to be counted
            half_s = RULES.window_s / 2
            newest = [bad for at, bad in self.ended if at // half_s == self.now // half_s]
            if failed and sum(newest) >= RULES.failures:
                everything = [bad for at, bad in self.ended if self.now - at <= RULES.window_s]
                assert sum(newest) / len(everything) < RULES.share, "it should have opened"

    @rule()
    def a_service_that_is_well_is_asked_again(self) -> None:
        self.wait(RULES.open_s)
        assert self.breaker.admits(self.now), "a pause is enough to be asked"

    @invariant()
    def says_the_same_everywhere(self) -> None:
        assert (self.breaker.state(self.now) == "closed") == self.closed
        assert self.breaker.admits(self.now) == (self.breaker.admits_in(self.now) == 0)

    def _changed(self, *, closed: bool) -> None:
        self.closed = closed
        self.changes += 1
        self.changed_at = self.now
        self.entered_open = []
        self.ended = []


TestLaws = Laws.TestCase
