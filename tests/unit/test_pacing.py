"""Pacing: many callers of an ICA that limits calls, in virtual time; and what one container does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from threading import Barrier, Lock

import pytest

from icav2_copy_batch.adapters.ica.pacing import CALLERS_AT_ONCE, LONGEST_TURN, Pacing
from icav2_copy_batch.domain.ica import IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.pace import FORGOTTEN_AFTER, FREE_RATE, HELD_AFTER, LONGEST_PAUSE, Pace, first_pace
from tests import doubles
from tests.unit.paced_world import PacedWorld

UNLIMITED = 1e9
THROTTLED = IcaUnavailable("ICA answered 429", http_status=429)


# --- many callers ----------------------------------------------------------------------------------------------------


def test_where_ica_limits_nothing_nothing_is_written_read_or_waited_for() -> None:
    world = PacedWorld(UNLIMITED).run()
    assert (world.table.line.requests, world.answered, world.share_refused) == (0, 240, 0)


@pytest.mark.parametrize("threads", [8, 1])
@pytest.mark.parametrize("containers", [5, 1])
@pytest.mark.parametrize("limit", [2, 6, 20, 50])
def test_calls_are_made_about_as_often_as_ica_takes_them(limit: int, containers: int, threads: int) -> None:
    """In a minute of work for all; one thread alone cannot make more than some 20 calls a second."""
    calls = limit * 60 // (containers * threads)
    world = PacedWorld(limit).run(containers, threads, calls)
    assert world.gave_up == 0
    assert world.share_refused <= 0.1
    possible = min(limit, 15 * containers * threads)
    assert world.ended_at <= (1.4 if limit == 2 else 1.3) * world.answered / possible


@pytest.mark.parametrize("seed", range(2, 6))
def test_six_calls_a_second_are_kept_to_whatever_chance_does(seed: int) -> None:
    world = PacedWorld(6, seed).run(calls=8)
    assert world.share_refused <= 0.1
    assert world.ended_at <= 1.3 * world.answered / 6


def test_a_limit_that_is_halved_is_found_again() -> None:
    world = PacedWorld(lambda seconds: 6 if seconds < 40 else 3).run(calls=10)
    assert world.share_refused <= 0.12
    assert world.answered_between(60, 90) >= 3 * 30 / 1.3


def test_a_limit_that_comes_in_the_middle_is_found() -> None:
    world = PacedWorld(lambda seconds: UNLIMITED if seconds < 1 else 6).run(calls=20)
    assert world.gave_up == 0
    assert world.answered_between(20, 50) >= 6 * 30 / 1.3


def test_a_limit_that_is_gone_is_forgotten() -> None:
    world = PacedWorld(lambda seconds: 6 if seconds < 20 else UNLIMITED).run(calls=60)
    assert world.ended_at < 60, "at six a second it would take 400 s"
    assert world.table.pace_item
    assert world.table.pace_item.rate > 100


def test_while_nothing_is_answered_little_is_asked_and_afterwards_all_goes_on() -> None:
    world = PacedWorld(lambda seconds: 0 if 20 <= seconds < 50 else 6).run(calls=12)
    assert world.gave_up == 0
    asked_meanwhile = [at for at, _ in world.calls if 30 <= at < 50]
    assert 5 <= len(asked_meanwhile) <= 15
    assert world.answered_between(75, 90) >= 6 * 15 / 1.3


def test_all_wait_for_as_long_as_ica_says() -> None:
    world = PacedWorld(2, retry_after=5).run(calls=2)
    refused_at = [at for at, answered in world.calls if not answered]
    assert refused_at
    counted = [at for at in refused_at if at > 2]
    for at in counted:
        assert world.answered_between(at + 0.6, at + 4.9) == 0, "but for moments that were taken already"


def test_one_that_dies_with_moments_taken_holds_up_the_others_no_longer_than_those_last() -> None:
    world = PacedWorld(6)
    for number in range(5):
        pacing = world.container()
        for _ in range(8):
            world.start(pacing, 8, at=0.01 * number, lives=10.0 if number else 36_000.0)
    world.finish()
    assert world.answered >= 8 * 8
    assert world.gave_up == 0
    assert world.answered_between(10.5, 12.5) >= 7, "the one that is left calls as often as all did before"


# --- one container ---------------------------------------------------------------------------------------------------


class Container(doubles.World):
    def __init__(self, beside: Container | None = None) -> None:
        super().__init__()
        if beside:
            self.table, self.clock = beside.table, beside.clock
        self.made_at: list[datetime] = []
        self.pacing = Pacing(
            table=self.table,
            clock=self.clock,
            sleep=self.sleep,
            seconds_left=lambda: self.seconds_left,
            jitter=max,
        )

    def call(self, error: Exception | None = None, seconds_needed: float = 20.0) -> None:
        with self.pacing.turn(seconds_needed):
            self.made_at.append(self.clock())
            if error:
                raise error

    def refused(self, retry_after: float | None = None) -> None:
        with pytest.raises(IcaUnavailable, match="429"):
            self.call(IcaUnavailable("ICA answered 429", http_status=429, retry_after=retry_after))

    @property
    def pace(self) -> Pace:
        assert self.table.pace_item
        return self.table.pace_item


@pytest.fixture
def container() -> Container:
    return Container()


def test_the_first_429_tells_everybody_and_begins_with_as_many_calls_as_were_answered(container: Container) -> None:
    for _ in range(7):
        container.call()
        container.clock.forward(seconds=0.1)
    assert container.table.line.requests == 0
    container.refused()
    assert (container.pace.rate, container.pace.ceiling) == (7, None)


def test_other_errors_say_nothing_about_the_pace(container: Container) -> None:
    for error in (IcaUnavailable("503", http_status=503), IcaRefused("404", http_status=404), IcaUnavailable("lost")):
        with pytest.raises(type(error)):
            container.call(error)
    assert container.table.line.requests == 0


def test_calls_are_as_far_apart_as_the_rate_says(container: Container) -> None:
    container.refused()
    container.made_at.clear()
    for _ in range(4):
        container.call()
    apart = [(after - before).total_seconds() for before, after in pairwise(container.made_at)]
    assert apart == [0.5, 0.5, 0.5], "nothing is learned from those that were made right after the 429"


def test_calls_that_come_more_seldom_than_they_may_do_not_raise_the_rate(container: Container) -> None:
    container.refused()
    for _ in range(20):
        container.clock.forward(seconds=5)
        container.call()
    assert container.pace.rate == 2
    for _ in range(20):
        container.call()
    assert container.pace.rate > 4


def test_another_container_learns_of_it_when_it_begins(container: Container) -> None:
    container.refused()
    other = Container(beside=container)
    assert other.pacing.held_until() is None
    assert other.pacing.calls_possible(60) == 60 * 2 / CALLERS_AT_ONCE
    other.call()
    other.call()
    assert other.made_at[1] - other.made_at[0] == timedelta(seconds=0.5)


def test_without_a_429_any_number_of_calls_is_possible(container: Container) -> None:
    assert container.pacing.calls_possible(1) == float("inf")
    assert container.pacing.held_until() is None


def test_nobody_begins_while_nobody_may_call_for_long(container: Container) -> None:
    container.refused(retry_after=40)
    assert container.pacing.held_until() == container.clock() + timedelta(seconds=40)
    container.clock.forward(seconds=40 - HELD_AFTER.total_seconds())
    assert container.pacing.held_until() is None


def test_ica_is_not_believed_that_nobody_may_call_for_hours(container: Container) -> None:
    container.refused(retry_after=1e9)
    assert container.pacing.held_until() == container.clock() + LONGEST_PAUSE


def test_a_call_whose_turn_comes_too_late_is_not_made(container: Container) -> None:
    container.refused(retry_after=30)
    container.seconds_left = 49
    with pytest.raises(IcaUnavailable):
        container.call(seconds_needed=20)
    container.seconds_left = 900
    container.clock.forward(seconds=31)
    container.refused(retry_after=LONGEST_TURN.total_seconds() + 2)
    with pytest.raises(IcaUnavailable):
        container.call()
    assert len(container.made_at) == 2
    assert sum(container.slept) == 0, "who cannot have a turn does not wait for it"


def test_a_call_for_which_no_time_is_left_after_waiting_is_not_made(container: Container) -> None:
    """The invocation was frozen meanwhile, say; a copy batch must not be started after its claim's lease."""
    container.refused(retry_after=5)
    container.pacing._sleep = lambda seconds: setattr(container, "seconds_left", 44.0)
    with pytest.raises(IcaUnavailable):
        container.call(seconds_needed=45)
    assert len(container.made_at) == 1


def test_some_minutes_after_the_last_429_nothing_is_held_back(container: Container) -> None:
    container.refused()
    container.clock.now += FORGOTTEN_AFTER + timedelta(seconds=1)
    requests = container.table.line.requests
    for _ in range(5):
        container.call()
    assert container.slept == []
    assert container.table.line.requests == requests
    container.refused()
    assert (container.pace.lowered_at, container.pace.rate) == (container.clock(), 5)


def test_what_another_has_written_meanwhile_is_respected(container: Container) -> None:
    """Its moments are not taken again, and a rate that it has lowered is not lowered once more."""
    container.refused()
    container.table.pace_item, theirs = container.pace.take(1, container.clock())
    container.made_at.clear()
    container.call()
    assert container.made_at == [theirs[0] + timedelta(seconds=0.5)]


def test_of_many_calls_that_are_refused_together_one_lowers_the_rate(container: Container) -> None:
    container.refused()
    first = container.pace
    container.refused()
    assert container.pace.rate == first.rate


@pytest.mark.parametrize("method", ["pace", "write_pace"])
def test_trouble_with_the_table_is_no_trouble_of_the_calls(container: Container, method: str) -> None:
    """The container then keeps a pace of its own."""
    container.refused()

    def break_down(*arguments: object) -> None:
        raise RuntimeError("made by the test")

    setattr(container.table, method, break_down)
    container.pacing.held_until()
    container.made_at.clear()
    for _ in range(3):
        container.call()
    assert container.made_at[2] - container.made_at[0] == timedelta(seconds=1)


def test_threads_of_a_container_have_a_turn_each_and_ask_for_it_together() -> None:
    """Eight threads, as in a launch: no two call at the same moment, by few writes of the table."""
    container, lock, barrier = Container(), Lock(), Barrier(8)
    container.table.pace_item = first_pace(100, container.clock(), None)
    container.pacing.held_until()
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        with lock:
            turns.append(round(seconds, 3))

    container.pacing._sleep = sleep

    def call(_: int) -> None:
        barrier.wait()
        for _ in range(5):
            with container.pacing.turn(20.0):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert len(turns) == len(set(turns)), "no two at one moment"
    assert len(turns) >= 39, "all but the first had to wait"


def test_a_pace_that_nobody_needs_is_not_kept(container: Container) -> None:
    container.table.pace_item = first_pace(int(FREE_RATE), container.clock(), None)
    assert container.pacing.held_until() is None
    assert container.pacing.calls_possible(1) == float("inf")
    container.call()
    assert container.slept == []
