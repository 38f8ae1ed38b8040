"""Whose turn it is: never more than there are slots, and no copy before another that has fewer in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.domain.job import Job, JobStatus, LaunchRequest, job_id_of
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.schedule import (
    CLOCKS_APART,
    FOLDER_REST,
    Backlog,
    Slots,
    Waiting,
    backlogs_of,
    jobs_by_status,
)
from icav2_copy_batch.domain.schedule import choose as choose_from_runs

PROJECTS, COPIES = "pqr", "abcd"


def job(copy_id: str, number: int, project: str = "p") -> Waiting:
    return Waiting(LaunchRequest(copy_id, job_id_of(number), 1), project)


def flying(waiting: Waiting) -> Job:
    """The same job, in flight."""
    request = waiting.request
    return Job(request.copy_id, request.job_id, JobStatus.RUNNING, 1, f"icav2://{waiting.project}/x/")


def choose(waiting: Iterable[Waiting], in_flight: Iterable[Job], slots: Slots) -> list[Waiting]:
    """With each job a run of its own."""
    return choose_from_runs([(each.request.copy_id, [each]) for each in waiting], in_flight, slots)


@st.composite
def jobs(draw: st.DrawFn, most: int = 30) -> list[Waiting]:
    drawn = draw(st.lists(st.tuples(st.sampled_from(COPIES), st.sampled_from(PROJECTS)), max_size=most))
    return [job(copy_id, number, project) for number, (copy_id, project) in enumerate(drawn)]


in_flight_jobs = jobs().map(lambda waiting: [flying(each) for each in waiting])


some_slots = st.builds(Slots, st.integers(0, 40), st.integers(0, 20))


def projects(of: Iterable[Waiting | Job]) -> Counter[str]:
    return Counter(each.project for each in of)


@given(jobs(), in_flight_jobs, some_slots)
def test_no_more_are_chosen_than_there_are_slots(waiting: list[Waiting], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    assert len(chosen) <= max(slots.total - len(in_flight), 0)
    before, after = projects(in_flight), projects([*in_flight, *chosen])
    assert all(after[project] <= max(slots.per_project, before[project]) for project in after)


@given(jobs(), in_flight_jobs, some_slots)
def test_each_is_chosen_once_of_those_that_wait(waiting: list[Waiting], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    assert len({each.request.job_id for each in chosen}) == len(chosen)
    assert all(each in waiting for each in chosen)


@given(jobs(), in_flight_jobs, some_slots)
def test_no_slot_is_left_free_for_which_a_job_waits(waiting: list[Waiting], in_flight: list[Job], slots: Slots) -> None:
    chosen = choose(waiting, in_flight, slots)
    after = projects([*in_flight, *chosen])
    left = [each for each in waiting if each not in chosen]
    is_full = len(in_flight) + len(chosen) >= slots.total
    assert is_full or all(after[each.project] >= slots.per_project for each in left)


@given(jobs(), in_flight_jobs, some_slots)
def test_jobs_of_one_copy_into_one_project_go_in_their_order(
    waiting: list[Waiting], in_flight: list[Job], slots: Slots
) -> None:
    chosen = choose(waiting, in_flight, slots)
    for copy_id in COPIES:
        for project in PROJECTS:
            alike = [each for each in waiting if each.request.copy_id == copy_id and each.project == project]
            of_chosen = [each for each in chosen if each in alike]
            assert of_chosen == alike[: len(of_chosen)]


@given(jobs(), in_flight_jobs, st.integers(0, 40))
def test_no_copy_gets_a_slot_before_one_that_waits_with_fewer_in_flight(
    waiting: list[Waiting], in_flight: list[Job], total: int
) -> None:
    """At each choice, of the copies that still wait, it is one of those with the fewest in flight."""
    of_copy = Counter(each.copy_id for each in in_flight)
    left = Counter(each.request.copy_id for each in waiting)
    for each in choose(waiting, in_flight, Slots(total, per_project=1000)):
        copy_id = each.request.copy_id
        assert of_copy[copy_id] == min(of_copy[other] for other, count in left.items() if count)
        of_copy[copy_id] += 1
        left[copy_id] -= 1


def test_a_large_copy_holds_up_no_small_one() -> None:
    large, small = [job("large", number) for number in range(100)], [job("small", 200)]
    assert choose([*large, *small], [], Slots(total=4)) == [large[0], small[0], *large[1:3]]
    assert choose([*large[9:], *small], map(flying, large[:9]), Slots(total=10)) == small


def test_of_copies_with_as_many_in_flight_the_one_goes_first_that_is_due_first() -> None:
    waiting = [job("b", 1), job("a", 2)]
    assert choose(waiting, [], Slots(total=1)) == waiting[:1]


def test_a_full_project_holds_up_no_job_into_another() -> None:
    waiting = [job("a", 1, "full"), job("a", 2, "free"), job("b", 3, "full")]
    assert choose(waiting, [flying(job("c", 9, "full"))], Slots(per_project=1)) == [waiting[1]]


def test_a_copy_has_a_backlog_for_each_project() -> None:
    planned = [PlannedJob(f"icav2://{project}/{number}/", ()) for project in ("p", "q r") for number in range(3)]
    assert backlogs_of("a", planned[:5], "then") == [
        Backlog("a", "p", next=1, last=3, since="then"),
        Backlog("a", "q r", next=4, last=5, since="then"),
    ]
    assert backlogs_of("a", [], "then") == []


def test_the_first_of_a_backlog_are_those_that_were_never_sent() -> None:
    backlog = Backlog("a", "p", next=4, last=6, since="then")
    assert list(backlog.first(2)) == [job("a", 4), job("a", 5)]
    assert list(backlog.first(9)) == [job("a", 4), job("a", 5), job("a", 6)]
    assert list(backlog.first(0)) == []


@given(jobs(), in_flight_jobs, some_slots, st.lists(st.integers(0, 30), min_size=3, max_size=3))
def test_of_each_backlog_only_so_many_matter_as_a_project_has_slots(
    waiting: list[Waiting], in_flight: list[Job], slots: Slots, lengths: list[int]
) -> None:
    backlogs = [Backlog("a", project, 1, last, "then") for project, last in zip(PROJECTS, lengths, strict=True)]
    whole, bounded = (
        choose([*waiting, *(each for backlog in backlogs for each in backlog.first(most))], in_flight, slots)
        for most in (100, slots.per_project)
    )
    assert bounded == whole


def test_no_more_is_looked_at_than_is_chosen() -> None:
    looked_at: list[Waiting] = []

    def run(copy_id: str) -> Iterator[Waiting]:
        for number in range(10**6):
            looked_at.append(job(copy_id, number))
            yield looked_at[-1]

    chosen = choose_from_runs([("a", run("a")), ("b", run("b"))], [], Slots(total=5))
    assert len(chosen) == 5
    assert chosen == looked_at
    looked_at.clear()
    assert len(choose_from_runs([(copy_id, run(copy_id)) for copy_id in COPIES], [], Slots(per_project=6))) == 6
    assert len(looked_at) == 6 + len(COPIES), "of a full project one each"


def test_where_as_many_are_in_flight_as_may_be_or_more_none_is_chosen() -> None:
    in_flight = [flying(job("a", number)) for number in range(5)]
    assert choose([job("b", 9)], in_flight, Slots(total=5)) == []
    assert choose([job("b", 9)], in_flight, Slots(total=3)) == []


def test_a_folder_rests_for_longer_than_clocks_are_apart_both_ways() -> None:
    """An ICA job of the copy before, by a clock that is late, and a claim, by one that is early."""
    assert FOLDER_REST >= 2 * CLOCKS_APART


# --- how many there are ----------------------------------------------------------------------------------------------


def test_each_open_job_is_counted_once() -> None:
    """One moved on while the statuses were read, and two of those in flight stand in their backlog still."""
    first, second, other = (flying(job(copy_id, number)) for copy_id, number in (("a", 1), ("a", 2), ("b", 3)))
    backlogs = [Backlog("a", "p", 2, 9, ""), Backlog("b", "p", 1, 4, ""), Backlog("c", "p", 1, 1, "")]
    jobs = [replace(first, status=JobStatus.LAUNCHING), second, first, other]
    assert jobs_by_status(jobs, backlogs) == {JobStatus.RUNNING: 3, JobStatus.QUEUED: 7 + 3 + 1}
    assert jobs_by_status([], []) == {}
