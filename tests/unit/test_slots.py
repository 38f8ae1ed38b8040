"""Whose turn it is: never more than there are slots, and no copy before another that has fewer in flight."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.domain.job import Job, JobStatus
from icav2_copy_batch.domain.slots import CLOCKS_APART, FOLDER_REST, Slots, choose

PROJECTS, COPIES = "pqr", "abcd"


def job(copy_id: str, number: int, project: str = "p") -> Job:
    return Job(copy_id, f"{number:06d}", JobStatus.QUEUED, 1, f"icav2://{project}/{number}/")


@st.composite
def jobs(draw: st.DrawFn, most: int = 30) -> list[Job]:
    drawn = draw(st.lists(st.tuples(st.sampled_from(COPIES), st.sampled_from(PROJECTS)), max_size=most))
    return [job(copy_id, number, project) for number, (copy_id, project) in enumerate(drawn)]


some_slots = st.builds(Slots, st.integers(0, 40), st.integers(0, 20))


def projects(of: list[Job]) -> Counter[str]:
    return Counter(each.destination.split("/")[2] for each in of)


@given(jobs(), jobs(), some_slots)
def test_no_more_are_chosen_than_there_are_slots(waiting: list[Job], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    assert len(chosen) <= max(slots.total - len(in_flight), 0)
    before, after = projects(in_flight), projects([*in_flight, *chosen])
    assert all(after[project] <= max(slots.per_project, before[project]) for project in after)


@given(jobs(), jobs(), some_slots)
def test_each_is_chosen_once_of_those_that_wait(waiting: list[Job], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    assert len({each.job_id for each in chosen}) == len(chosen)
    assert all(each in waiting for each in chosen)


@given(jobs(), jobs(), some_slots)
def test_no_slot_is_left_free_for_which_a_job_waits(waiting: list[Job], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    after = projects([*in_flight, *chosen])
    left = [each for each in waiting if each not in chosen]
    is_full = len(in_flight) + len(chosen) >= slots.total
    assert is_full or all(after[each.destination.split("/")[2]] >= slots.per_project for each in left)


@given(jobs(), jobs(), some_slots)
def test_jobs_of_one_copy_into_one_project_go_in_their_order(
    waiting: list[Job], in_flight: list[Job], slots: Slots
) -> None:
    chosen = choose(waiting, in_flight, slots)
    for copy_id in COPIES:
        for project in PROJECTS:
            alike = [
                each
                for each in waiting
                if each.copy_id == copy_id and each.destination.startswith(f"icav2://{project}/")
            ]
            of_chosen = [each for each in chosen if each in alike]
            assert of_chosen == alike[: len(of_chosen)]


@given(jobs(), jobs(), st.integers(0, 40))
def test_no_copy_gets_a_slot_before_one_that_waits_with_fewer_in_flight(
    waiting: list[Job], in_flight: list[Job], total: int
) -> None:
    """At each choice, of the copies that still wait, it is one of those with the fewest in flight."""
    flying = Counter(each.copy_id for each in in_flight)
    left = Counter(each.copy_id for each in waiting)
    for each in choose(waiting, in_flight, Slots(total, per_project=1000)):
        assert flying[each.copy_id] == min(flying[copy_id] for copy_id, count in left.items() if count)
        flying[each.copy_id] += 1
        left[each.copy_id] -= 1


def test_a_large_copy_holds_up_no_small_one() -> None:
    large, small = [job("large", number) for number in range(100)], [job("small", 200)]
    assert choose([*large, *small], [], Slots(total=4)) == [large[0], small[0], *large[1:3]]
    assert choose([*large[9:], *small], large[:9], Slots(total=10)) == small


def test_of_copies_with_as_many_in_flight_the_one_goes_first_that_is_due_first() -> None:
    waiting = [job("b", 1), job("a", 2)]
    assert choose(waiting, [], Slots(total=1)) == waiting[:1]


def test_a_full_project_holds_up_no_job_into_another() -> None:
    waiting = [job("a", 1, "full"), job("a", 2, "free"), job("b", 3, "full")]
    assert choose(waiting, [job("c", 9, "full")], Slots(per_project=1)) == [waiting[1]]


def test_where_as_many_are_in_flight_as_may_be_or_more_none_is_chosen() -> None:
    in_flight = [job("a", number) for number in range(5)]
    assert choose([job("b", 9)], in_flight, Slots(total=5)) == []
    assert choose([job("b", 9)], in_flight, Slots(total=3)) == []


def test_a_folder_rests_for_longer_than_clocks_are_apart_both_ways() -> None:
    """An ICA job of the copy before, by a clock that is late, and a claim, by one that is early."""
    assert FOLDER_REST >= 2 * CLOCKS_APART
