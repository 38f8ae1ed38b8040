"""Following copies until they have settled, by a clock that only the follower moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from icav2_copy_batch.client import (
    CopySummary,
    HeldJobs,
    HoldSummary,
    JobSummary,
    NoSuchCopy,
    Pause,
    Problem,
    Refused,
    Unavailable,
    WaitTimedOut,
)
from icav2_copy_batch.client.submission import Submission
from icav2_copy_batch.client.waiting import (
    FAILURES_BORNE,
    LONGEST_PAUSE,
    MAY_APPEAR_WITHIN,
    MAY_BE_REFUSED_WITHIN,
    OURS_APPEARS_WITHIN,
    Follow,
    Time,
)
from icav2_copy_batch.domain.job import timestamp
from tests.doubles.clock import Clock

TIME = "2024-05-28T03:12:00.000Z"
COPY = CopySummary("run-42", "OPEN", "2024-05-28T03:12:00.000Z", total_jobs=2, open_jobs=2)
HALF = replace(COPY, open_jobs=1, passed_jobs=1)
DONE = replace(COPY, status="COMPLETED", open_jobs=0, passed_jobs=2)


@dataclass
class Stack:
    """Copies as a stack shows them: one look after the other, the last of them for ever."""

    clock: Clock
    looks: list[CopySummary | Exception] = field(default_factory=list)
    rejected: dict[str | None, Refused] = field(default_factory=dict)
    job_looks: list[list[JobSummary]] = field(default_factory=list)
    lists: list[list[CopySummary]] = field(default_factory=list)
    asked: int = 0
    jobs_after: list[str | None] = field(default_factory=list)
    """After which jobs each look at the jobs has begun."""
    slept: list[float] = field(default_factory=list)

    def status(self, copy_id: str, *, holds: bool = False) -> CopySummary:
        look = self.looks[min(self.asked, len(self.looks) - 1)]
        self.asked += 1
        if isinstance(look, Exception):
            raise look
        return look

    def jobs(self, copy_id: str, *, after: str | None = None) -> Iterator[JobSummary]:
        found = self.job_looks[min(self.asked, len(self.job_looks)) - 1]
        self.jobs_after.append(after)
        return (job for job in found if job.job_id > (after or ""))

    def list_copies(self, *, since: datetime | None = None, status: str | None = None) -> list[CopySummary]:
        if since:
            return []
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]

    def rejection(self, copy_id: str, submission_id: str | None = None) -> Refused | None:
        return self.rejected.get(submission_id)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds)

    @property
    def waited(self) -> float:
        return sum(self.slept)

    @property
    def follow(self) -> Follow:
        return Follow(self, Time(self.clock, lambda: self.clock.now.timestamp(), self.sleep))

    def copies(self, submission: Submission | None = None, timeout: float | None = None) -> list[CopySummary]:
        return [each.copy for each in self.follow.one("run-42", submission, jobs=False, timeout=timeout)]


@pytest.fixture
def stack() -> Stack:
    return Stack(Clock())


@pytest.fixture
def submitted(stack: Stack) -> Callable[[bool], Submission]:
    return lambda is_of_new_id: Submission("run-42", "sqs-1", stack.clock.now, is_of_new_id)


def test_each_change_is_seen_once_until_the_copy_has_settled(stack: Stack) -> None:
    stack.looks = [COPY, COPY, HALF, HALF, DONE]
    assert stack.copies() == [COPY, HALF, DONE]


def test_looks_become_seldom_and_begin_anew_with_a_change(stack: Stack) -> None:
    stack.looks = [*[COPY] * 10, HALF, HALF, DONE]
    stack.copies()
    assert stack.slept[:3] == [1.0, 1.5, 2.25]
    assert max(stack.slept) == LONGEST_PAUSE == stack.slept[9]
    assert stack.slept[10:] == [1.0, 1.5]


def test_the_time_to_wait_ends_and_not_a_second_later(stack: Stack) -> None:
    stack.looks = [COPY]
    with pytest.raises(WaitTimedOut, match="copy run-42 has not settled after 30 s; it goes on"):
        stack.copies(timeout=30)
    assert stack.waited == 30


def test_with_no_time_at_all_there_is_one_look(stack: Stack) -> None:
    stack.looks = [COPY]
    with pytest.raises(WaitTimedOut):
        stack.copies(timeout=0)
    assert (stack.asked, stack.slept) == (1, [])


def test_a_copy_that_has_settled_needs_no_time(stack: Stack) -> None:
    stack.looks = [DONE]
    assert stack.copies(timeout=0) == [DONE]


# --- copies that are not there ---------------------------------------------------------------------------------------


def test_a_copy_that_somebody_else_submits_may_still_come(stack: Stack) -> None:
    stack.looks = [NoSuchCopy("none"), NoSuchCopy("none"), DONE]
    assert stack.copies() == [DONE]


def test_a_copy_of_an_unknown_id_is_given_up_after_a_minute(stack: Stack) -> None:
    stack.looks = [NoSuchCopy("there is no copy run-42")]
    with pytest.raises(NoSuchCopy, match="there is no copy run-42"):
        stack.copies()
    assert MAY_APPEAR_WITHIN <= stack.waited <= MAY_APPEAR_WITHIN + LONGEST_PAUSE


def test_our_own_submission_is_waited_for_until_it_must_be_a_dead_letter(
    stack: Stack, submitted: Callable[[bool], Submission]
) -> None:
    stack.looks = [NoSuchCopy("none")]
    with pytest.raises(NoSuchCopy, match="dead-letter queue"):
        stack.copies(submitted(True))
    assert stack.waited >= OURS_APPEARS_WITHIN


def test_a_rejection_ends_the_wait(stack: Stack, submitted: Callable[[bool], Submission]) -> None:
    stack.looks = [NoSuchCopy("none")]
    stack.rejected = {"sqs-1": Refused("rejected", [Problem("a", "is wrong")])}
    with pytest.raises(Refused, match="rejected"):
        stack.copies(submitted(True))
    assert stack.slept == []


def test_who_has_not_submitted_it_hears_of_the_last_rejection(stack: Stack) -> None:
    stack.looks = [NoSuchCopy("none")]
    stack.rejected = {None: Refused("rejected")}
    with pytest.raises(Refused):
        stack.copies()


def test_the_copy_of_another_manifest_is_not_taken_for_ours(
    stack: Stack, submitted: Callable[[bool], Submission]
) -> None:
    stack.looks = [replace(DONE, submitted_at="2024-05-01T00:00:00.000Z")]
    follow = stack.follow.one("run-42", submitted(False), jobs=False, timeout=None)
    stack.clock.forward(1)
    stack.rejected = {"sqs-1": Refused("the id is in use")}
    with pytest.raises(Refused, match="in use"):
        next(follow)


def test_the_same_copy_submitted_again_is_believed_after_half_a_minute(
    stack: Stack, submitted: Callable[[bool], Submission]
) -> None:
    stack.looks = [replace(DONE, submitted_at="2024-05-01T00:00:00.000Z")]
    assert [copy.status for copy in stack.copies(submitted(False))] == ["COMPLETED"]
    assert MAY_BE_REFUSED_WITHIN <= stack.waited <= MAY_BE_REFUSED_WITHIN + LONGEST_PAUSE


def test_a_copy_that_appeared_after_its_submission_is_ours(
    stack: Stack, submitted: Callable[[bool], Submission]
) -> None:
    stack.looks = [replace(DONE, submitted_at=timestamp(stack.clock.now + timedelta(seconds=2)))]
    stack.copies(submitted(False))
    assert stack.slept == []


def test_a_new_id_can_be_of_no_earlier_copy_whatever_the_clocks_say(
    stack: Stack, submitted: Callable[[bool], Submission]
) -> None:
    stack.looks = [replace(DONE, submitted_at="2024-05-01T00:00:00.000Z")]
    stack.copies(submitted(True))
    assert stack.slept == []


# --- AWS's troubles --------------------------------------------------------------------------------------------------


def test_a_wait_outlasts_a_minute_without_the_network(stack: Stack) -> None:
    stack.looks = [COPY, *[Unavailable("no network")] * FAILURES_BORNE, DONE]
    assert stack.copies() == [COPY, DONE]


def test_it_does_not_outlast_more(stack: Stack) -> None:
    stack.looks = [COPY, Unavailable("no network")]
    with pytest.raises(Unavailable):
        stack.copies()


def test_the_first_look_has_to_succeed(stack: Stack) -> None:
    stack.looks = [Unavailable("sign in first"), DONE]
    with pytest.raises(Unavailable, match="sign in first"):
        stack.copies()
    assert stack.slept == []


# --- jobs, and all copies --------------------------------------------------------------------------------------------


def test_the_jobs_that_have_changed_come_with_each_change(stack: Stack) -> None:
    first, second = JobSummary("000001", "RUNNING", attempt=1), JobSummary("000002", "QUEUED", attempt=1)
    passed, retried = replace(first, status="PASSED"), replace(second, attempt=2)
    stack.looks = [COPY, COPY, HALF, DONE]
    stack.job_looks = [
        [first, second],
        [first, retried],
        [passed, retried],
        [passed, replace(retried, status="PASSED")],
    ]
    changes = list(stack.follow.one("run-42", None, jobs=True, timeout=None))
    assert [change.jobs for change in changes] == [
        (first, second),
        (retried,),
        (passed,),
        (replace(retried, status="PASSED"),),
    ]
    assert [change.copy for change in changes] == [COPY, COPY, HALF, DONE]


def jobs(count: int, passed: int = 0) -> list[JobSummary]:
    """Jobs of which the first have passed, and the others run."""
    statuses = ["PASSED"] * passed + ["RUNNING"] * (count - passed)
    return [JobSummary(f"{number:06d}", status) for number, status in enumerate(statuses, 1)]


def test_a_look_asks_for_some_jobs_and_the_next_goes_on(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icav2_copy_batch.client.waiting.JOBS_A_LOOK", 3)
    stack.looks = [*(replace(COPY, open_jobs=left) for left in (7, 6, 5, 4)), DONE]
    stack.job_looks = [jobs(7), jobs(7), jobs(7, passed=4), jobs(7, passed=4), jobs(7, passed=7)]
    changes = list(stack.follow.one("run-42", None, jobs=True, timeout=None))
    assert [[job.job_id[-1] for job in change.jobs] for change in changes] == [
        ["1", "2", "3"], ["4", "5", "6"], ["7"], ["1", "2", "3"], ["4", "5", "6", "7"],
    ]  # fmt: skip
    assert stack.jobs_after == [None, "000003", "000006", None, "000003"], "what has ended is not asked for again"


def test_of_a_very_large_copy_the_first_jobs_are_watched(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icav2_copy_batch.client.waiting.JOBS_A_LOOK", 3)
    monkeypatch.setattr("icav2_copy_batch.client.waiting.MOST_JOBS", 4)
    stack.looks = [*(replace(COPY, open_jobs=left) for left in (7, 6, 5)), DONE]
    stack.job_looks = [jobs(7), jobs(7), jobs(7, passed=1), jobs(7, passed=7)]
    changes = list(stack.follow.one("run-42", None, jobs=True, timeout=None))
    assert [[job.job_id[-1] for job in change.jobs] for change in changes] == [
        ["1", "2", "3"], ["4"], ["1"], ["2", "3", "4"],
    ]  # fmt: skip
    assert stack.jobs_after == [None, "000003", None, "000001"]


def test_what_a_backlog_waits_for_is_news_of_the_copy_and_not_of_each_job(stack: Stack) -> None:
    waiting, paused = HoldSummary("LAUNCH_MESSAGE"), HoldSummary("PAUSED")
    backlog, sent = (
        JobSummary("000001", "QUEUED", hold=waiting),
        JobSummary("000002", "QUEUED", due_at=TIME, hold=waiting),
    )
    pause = replace(COPY, pauses=(Pause("all"),), holds=(HeldJobs("PAUSED", 2),))
    fewer = replace(pause, holds=(HeldJobs("PAUSED", 1), HeldJobs("LAUNCH_MESSAGE", 1)))
    stack.looks = [COPY, pause, fewer, replace(DONE, pauses=())]
    held = [replace(backlog, hold=paused), replace(sent, hold=paused)]
    stack.job_looks = [[backlog, sent], held, held, held]
    changes = list(stack.follow.one("run-42", None, jobs=True, timeout=None))
    assert [(change.copy.pauses != (), [job.job_id for job in change.jobs]) for change in changes] == [
        (False, ["000001", "000002"]), (True, ["000002"]), (False, []),
    ]  # fmt: skip


def test_all_copies_are_followed_and_their_end_is_seen(stack: Stack) -> None:
    other = replace(COPY, copy_id="run-43", submitted_at="2024-05-28T03:13:00.000Z")
    stack.lists = [[COPY], [other, COPY], [other]]
    stack.looks = [DONE]
    seen: list[CopySummary] = []
    with pytest.raises(WaitTimedOut, match="the watch ends after 20 s"):
        seen.extend(change.copy for change in stack.follow.all(timeout=20))
    assert seen == [COPY, other, DONE]
