"""Reconcile: a copy batch whose start nobody saw is adopted, proven not to be there, or a person is asked."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaError, IcaJob, IcaUnavailable
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import Claim, Job, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART, Slots
from icav2_copy_batch.stages.reconcile import (
    LAUNCH_DIED,
    LONGEST_UNDECIDED_SEARCH_AGAIN,
    UNDECIDED_SEARCH_AGAIN,
    UNREADABLE_FOR,
    DecisionRefused,
    Reconcile,
)
from icav2_copy_batch.stages.search import LISTS_LAG, LOST_ANSWER_AGE
from tests import doubles
from tests.doubles import SmallIca

PROJECT = "8a4c7e52-0b1f-4d3a-b6e9-5f2c8d7a6b10"
SOURCE = "11111111-1111-4111-8111-111111111111"
COPY, OTHER = "DataCopyBatch", "Analysis"
NONE_AFTER = LOST_ANSWER_AGE + LISTS_LAG


class RecentIca(SmallIca):
    """An ICA that shows jobs, and what the copy batches of some of them copy."""

    def show(
        self,
        name: str,
        created_at: datetime,
        *data_ids: str,
        folder: str | None = "fol.0",
        made: str = "",
        subject_type: str = COPY,
    ) -> None:
        """A copy batch; ``made`` is a folder in which it has made its files."""
        self.show_job(name, created_at, subject_type)
        self.batch_folders[f"batch-{name}"] = folder
        self.items[f"batch-{name}"] = [
            CopyBatchItem(it, "COPIED", created=IcaData(f"made-{it}", f"{made}{it}", "AVAILABLE") if made else None)
            for it in data_ids
        ]

    def show_job(self, name: str, created_at: datetime | None, subject_type: str = OTHER) -> None:
        created = timestamp(created_at) if created_at else None
        job = IcaJob(name, "RUNNING", None, created, f"batch-{name}", subject_type, PROJECT)
        self.jobs_there[name] = job


class World(doubles.World):
    """Jobs whose launch has asked ICA for ``a`` and ``b`` into a folder each, and has not had its answer."""

    def __init__(self, jobs: int = 1, data: tuple[str, ...] = ("a", "b"), root: bool = False) -> None:
        super().__init__()
        self.ica, self.asked_at = RecentIca(), self.clock()
        self.reconcile = Reconcile(table=self.table, ica=self.ica, clock=self.clock)
        sources = [f"icav2://{SOURCE}/{name.replace('fol.', '')}" for name in data]
        destinations = [f"icav2://{PROJECT}/{'' if root else f'x{number}/'}" for number in range(jobs)]
        for number, job in enumerate(self.create(*destinations, sources=sources)):
            claimed = self.claim(job)
            intent = Intent.of(timestamp(self.clock()), None if root else f"fol.{number}", data)
            assert self.table.record_intent(claimed, intent, self.clock() + timedelta(minutes=1), 0)

    def claim(self, job: Job) -> Job:
        lease_until = self.clock() + timedelta(minutes=6)
        assert self.table.claim_for_launch(job, PROJECT, self.clock(), lease_until, Slots()) is Claim.CLAIMED
        return self.table.job_items["run", job.job_id]

    def lose_answers(self) -> None:
        for job in list(self.table.jobs("run")):
            due_at = self.clock() + timedelta(seconds=1)
            assert self.table.mark_answer_lost(job, self.clock(), due_at, doubles.hold("connection dropped"))
        self.clock.forward(seconds=1.1)

    def settle(self) -> dict[str, int]:
        return {str(each): number for each, number in self.reconcile.settle_unknown_launches().items()}

    def settle_late(self) -> dict[str, int]:
        """The look that may conclude that nothing was started."""
        self.clock.now = max(self.clock.now, self.asked_at + NONE_AFTER + timedelta(seconds=1))
        return self.settle()

    def job(self, number: int = 1) -> Job:
        return self.table.job_items["run", f"{number:06d}"]


@pytest.fixture
def world() -> World:
    world = World()
    world.lose_answers()
    return world


# --- adopted ---------------------------------------------------------------------------------------------------------


def test_a_copy_batch_that_was_started_is_adopted_a_second_after_its_answer_was_lost(world: World) -> None:
    world.ica.show("one", world.asked_at, "b", "a")
    assert world.settle() == {"adopted": 1}
    job = world.job()
    assert (job.status, job.ica_job_id, job.ica_batch_id) == (JobStatus.RUNNING, "one", "batch-one")
    assert world.table.slots == {PROJECT: 1}
    assert world.queue.sent == []


def test_what_a_launch_that_died_has_started_is_adopted_before_its_lease_has_run_out() -> None:
    world = World()
    world.ica.show("one", world.asked_at, "a", "b")
    assert world.settle() == {}, "it may still have its answer"
    world.clock.forward(seconds=61)
    assert world.settle() == {"adopted": 1}


def test_a_job_that_ica_shows_late_is_adopted_when_it_does(world: World) -> None:
    seconds = 0.0
    while world.clock() < world.asked_at + timedelta(minutes=2):
        assert set(world.settle()) <= {"waiting"}
        world.clock.forward(seconds=1)
    world.ica.show("one", world.asked_at, "a", "b")
    while not world.settle():
        world.clock.forward(seconds=1)
        seconds += 1
    assert world.job().ica_job_id == "one"
    assert seconds <= 31


@pytest.mark.parametrize("listed", [[], ["a"]])
def test_a_batch_whose_items_are_listed_late_is_waited_for(world: World, listed: list[str]) -> None:
    world.ica.show("one", world.asked_at, *listed)
    assert world.settle() == {"waiting": 1}
    world.ica.show("one", world.asked_at, "a", "b")
    world.clock.forward(seconds=3)
    assert world.settle() == {"adopted": 1}


def test_where_ica_shows_no_folder_the_same_data_is_adopted_once_nothing_else_can_be_it(world: World) -> None:
    world.ica.show("one", world.asked_at, "a", "b", folder=None)
    assert world.settle() == {"waiting": 1}
    assert world.settle_late() == {"adopted": 1}


@pytest.mark.parametrize("has_settled", [True, False])
def test_where_ica_shows_no_folder_the_ended_attempt_of_another_copy_is_not_adopted(
    world: World, has_settled: bool
) -> None:
    """It has copied the same data into another folder, a moment before."""
    (other,) = world.create(f"icav2://{PROJECT}/elsewhere/", copy_id="another")
    running = doubles.run(world.table, other, world.asked_at, "one", PROJECT)
    ended = running.ended_attempt("FAILED", "disk full", world.asked_at)
    if has_settled:
        assert world.table.give_up(running, ended, world.asked_at - timedelta(seconds=5))
    else:
        now = world.asked_at
        assert world.table.requeue(running, ended, frozenset(), now, now, doubles.hold("again"))
    world.ica.show("one", world.asked_at - timedelta(seconds=10), "a", "b", folder=None)
    assert world.settle_late() == {"released": 1}


def test_copies_that_were_submitted_after_a_launch_do_not_hide_those_at_work_at_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many copies are looked through, the newest first."""
    monkeypatch.setattr("icav2_copy_batch.stages.reconcile.MOST_COPIES", 2)
    (other,) = world.create(f"icav2://{PROJECT}/elsewhere/", copy_id="another")
    running = doubles.run(world.table, other, world.asked_at, "one", PROJECT)
    ended = running.ended_attempt("FAILED", "disk full", world.asked_at)
    assert world.table.give_up(running, ended, world.asked_at)
    world.clock.now = world.asked_at + LOST_ANSWER_AGE + 2 * CLOCKS_APART + timedelta(seconds=2)
    for number in range(2):
        world.create(f"icav2://{PROJECT}/later/{number}/", copy_id=f"later-{number}")
    world.ica.show("one", world.asked_at, "a", "b", folder=None)
    assert world.settle_late() == {"released": 1}


def test_a_copy_that_was_submitted_while_a_launch_could_have_started_its_ica_job_is_looked_through(
    world: World,
) -> None:
    """Its ICA job shows as created by then where ICA's clock is slow."""
    world.clock.now = world.asked_at + LOST_ANSWER_AGE + 2 * CLOCKS_APART
    (other,) = world.create(f"icav2://{PROJECT}/elsewhere/", copy_id="another")
    running = doubles.run(world.table, other, world.clock(), "one", PROJECT)
    assert world.table.give_up(running, running.ended_attempt("FAILED", "disk full", world.clock()), world.clock())
    world.ica.show("one", world.clock() - CLOCKS_APART, "a", "b", folder=None)
    assert world.settle_late() == {"released": 1}


def test_where_ica_shows_no_folder_the_files_made_tell_it(world: World) -> None:
    world.ica.show("one", world.asked_at, "a", "b", folder=None, made="/x0/")
    world.ica.show("another", world.asked_at, "a", "b", folder=None, made="/x0/deeper/")
    world.ica.show("third", world.asked_at, "a", "b", folder=None, made="/y/")
    assert world.settle() == {"adopted": 1}
    assert world.job().ica_job_id == "one"


def test_a_batch_of_which_it_is_not_known_when_it_was_created_is_not_adopted(world: World) -> None:
    """It may be that of another copy of the same files, long ago."""
    world.ica.show("one", world.asked_at, "a", "b")
    at = world.ica.jobs_there["one"]
    world.ica.jobs_there["one"] = replace(at, created_at=None)
    assert world.settle() == {"waiting": 1}
    world.ica.jobs_there["one"] = at
    world.clock.forward(seconds=3)
    assert world.settle() == {"adopted": 1}


def test_a_batch_into_the_root_is_adopted_whether_or_not_ica_shows_the_roots_id() -> None:
    for shown in (None, "fol.of-the-root"):
        world = World(root=True)
        world.lose_answers()
        world.ica.show("one", world.asked_at, "a", "b", folder=shown)
        assert world.settle_late() == {"adopted": 1}


def test_a_batch_for_which_ica_lists_the_files_of_a_folder_is_adopted() -> None:
    world = World(data=("fol.tree/", "a"))
    world.lose_answers()
    world.ica.data |= {path: IcaData(path, path, "AVAILABLE", 7) for path in ("/tree/1", "/tree/2", "/a", "/b")}
    world.ica.show("one", world.asked_at, "/tree/1", "/tree/2", "/a")
    world.ica.show("another", world.asked_at, "/tree/1", "/b")
    assert world.settle() == {"waiting": 1}
    assert world.settle_late() == {"adopted": 1}
    assert world.job().ica_job_id == "one"


def test_such_files_are_those_of_the_folder_in_whichever_unicode_form_ica_holds_their_names() -> None:
    world = World(data=("fol.ä/",))
    world.lose_answers()
    shown = unicodedata.normalize("NFD", "/ä/ö.txt")
    world.ica.data = {shown: IcaData(shown, shown, "AVAILABLE", 7)}
    world.ica.show("one", world.asked_at, shown)
    assert world.settle() == {"waiting": 1}
    assert world.settle_late() == {"adopted": 1}


def test_a_source_that_was_replaced_since_changes_nothing(world: World) -> None:
    """The search compares with what was asked for; nothing is looked up at the sources."""
    world.ica.show("one", world.asked_at, "a", "b")
    assert world.settle() == {"adopted": 1}
    assert {call[0] for call in world.ica.calls} == {"recent_jobs", "copy_batch_folder", "copy_batch_items"}


# --- proven not to be there ------------------------------------------------------------------------------------------


def test_where_none_was_started_the_job_is_queued_again_late_and_gives_back_what_it_had(world: World) -> None:
    before = world.job()
    assert world.settle() == {"waiting": 1}
    assert world.settle_late() == {"released": 1}
    job = world.job()
    assert (job.status, job.attempt, job.queued_at) == (JobStatus.QUEUED, 1, before.queued_at)
    assert (job.due_at, job.hold) == (timestamp(world.clock()), LAUNCH_DIED), "it gets a message at once"
    assert not +world.table.slots


def test_a_launch_that_died_is_waited_for_until_its_lease_has_run_out_and_the_lists_must_show() -> None:
    world = World()
    world.clock.now = datetime.fromisoformat(world.job().lease_until or "") + LISTS_LAG
    assert world.settle() == {"waiting": 1}
    world.clock.forward(seconds=31)
    assert world.settle() == {"released": 1}


def test_a_claim_that_has_asked_for_nothing_is_released_without_a_search() -> None:
    world = World()
    assert world.table.release(world.job(), world.clock(), world.clock(), doubles.hold("tried again"))
    claimed = world.claim(world.job())
    world.clock.now = datetime.fromisoformat(claimed.lease_until or "") + timedelta(seconds=1)
    assert world.settle() == {"released": 1}
    assert world.ica.calls == []


def test_a_launch_that_went_on_after_its_release_must_not_ask() -> None:
    world = World()
    assert world.table.release(world.job(), world.clock(), world.clock(), doubles.hold("tried again"))
    claimed = world.claim(world.job())
    assert world.table.release(claimed, world.clock(), world.clock(), doubles.hold("taken for dead"))
    assert not world.table.record_intent(claimed, Intent.of("", None, ["a"]), world.clock(), 0)


@pytest.mark.parametrize(
    ("data", "folder"), [(("a", "c"), "fol.0"), (("a", "b", "c"), "fol.0"), (("a", "b"), "fol.9"), (("c",), None)]
)
def test_a_batch_whose_own_data_show_that_it_is_another_is_no_hindrance(
    world: World, data: tuple[str, ...], folder: str | None
) -> None:
    world.ica.show("another", world.asked_at, *data, folder=folder)
    assert world.settle_late() == {"released": 1}


def test_items_are_read_only_of_a_batch_whose_folder_could_be_it(world: World) -> None:
    world.ica.show("another", world.asked_at, "a", "b", folder="fol.9")
    assert world.settle_late() == {"released": 1}
    assert world.ica.called("copy_batch_items") == []


def test_another_known_job_of_ours_is_no_hindrance(world: World) -> None:
    """One that runs, and one that has ended since, which is looked up in its copy when all else is told apart."""
    for name in ("running", "ended"):
        copy_id = "run" if name == "ended" else "other"
        job = replace(world.job(), copy_id=copy_id, job_id="000009", status=JobStatus.RUNNING, ica_job_id=name)
        if name == "ended":
            ended = replace(job, attempt=1).ended_attempt("SUCCEEDED", None, world.clock())
            job = replace(job, status=JobStatus.PASSED, due_at=None, attempts=(ended,))
        world.table.job_items[copy_id, "000009"] = job
        world.ica.show(name, world.asked_at, "a", "b", folder=None)
    assert world.settle_late() == {"released": 1}


def test_a_job_of_another_kind_is_no_hindrance_where_the_kind_of_ours_is_known(world: World) -> None:
    """It is known from a job of ours, which is one call."""
    world.ica.show_job("other", world.asked_at)
    world.table.job_items["run", "000009"] = replace(
        world.job(), job_id="000009", status=JobStatus.RUNNING, ica_job_id="ours"
    )
    world.ica.jobs_there["ours"] = IcaJob("ours", "RUNNING", subject_type=COPY)
    assert world.settle_late() == {"released": 1}


@pytest.mark.parametrize("seconds", [-31, LOST_ANSWER_AGE.total_seconds() + 31])
def test_a_job_of_another_time_is_no_hindrance(world: World, seconds: float) -> None:
    """What comes later can never be it, however long the search goes on."""
    world.ica.show_job("other", world.asked_at + timedelta(seconds=seconds))
    assert world.settle_late() == {"released": 1}


# --- undecided -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "show",
    [
        lambda world: world.ica.show_job("other", world.asked_at),
        lambda world: world.ica.show_job("other", world.asked_at, COPY),
        lambda world: world.ica.show("one", world.asked_at),
        lambda world: world.ica.show("one", world.asked_at, "a"),
        lambda world: [world.ica.show(each, world.asked_at, "a", "b") for each in ("one", "two")],
        lambda world: [world.ica.show(each, world.asked_at, "a", "b", folder=None) for each in ("one", "two")],
    ],
    ids=["a kind not known yet", "unreadable", "no items", "some items", "two into the folder", "two of the same data"],
)
def test_what_could_be_it_and_cannot_be_told_apart_is_left_to_a_person(world: World, show: object) -> None:
    show(world)  # type: ignore[operator]
    assert world.settle_late() == {"undecided": 1}
    job = world.job()
    assert (job.status, job.undecided_since) == (JobStatus.LAUNCHING, timestamp(world.clock()))
    assert "ICA job" in str(job.hold)
    assert (world.table.slots, world.queue.sent) == ({PROJECT: 1}, [])
    assert world.settle() == {}, "but not before it is due again"


def test_of_two_launches_of_the_same_data_none_is_decided_where_ica_shows_no_folders() -> None:
    world = World(jobs=2)
    world.lose_answers()
    world.ica.show("one", world.asked_at, "a", "b", folder=None)
    assert world.settle_late() == {"undecided": 2}


def test_where_ica_does_not_say_when_it_created_a_job_the_job_could_be_it(world: World) -> None:
    world.ica.show_job("other", None, COPY)
    assert world.settle_late() == {"undecided": 1}


def test_an_undecided_launch_is_searched_for_less_and_less_often(world: World) -> None:
    world.ica.show_job("other", world.asked_at)
    looks = []
    while world.clock() < world.asked_at + timedelta(hours=12):
        if world.settle_late():
            looks.append(world.clock())
        world.clock.forward(minutes=1)
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert pauses[0] >= UNDECIDED_SEARCH_AGAIN
    assert pauses == sorted(pauses)
    assert pauses[-1] >= LONGEST_UNDECIDED_SEARCH_AGAIN
    assert len(looks) < 40


def test_what_becomes_readable_ends_the_doubt(world: World) -> None:
    world.ica.show_job("one", world.asked_at, COPY)
    assert world.settle_late() == {"undecided": 1}
    world.ica.show("one", world.asked_at, "a", "b")
    world.clock.now += UNDECIDED_SEARCH_AGAIN + timedelta(seconds=1)
    assert world.settle() == {"adopted": 1}
    assert world.job().undecided_since is None


# --- what a person says ----------------------------------------------------------------------------------------------


def undecided() -> World:
    world = World()
    world.lose_answers()
    world.ica.show_job("theirs", world.asked_at)
    assert world.settle_late() == {"undecided": 1}
    return world


def test_a_person_may_say_which_ica_job_it_is() -> None:
    world = undecided()
    world.reconcile.adopt("run", "000001", "theirs")
    assert (world.job().status, world.job().ica_job_id) == (JobStatus.RUNNING, "theirs")


def test_a_person_may_say_that_none_was_started() -> None:
    world = undecided()
    world.reconcile.release("run", "000001")
    assert (world.job().status, world.job().due_at) == (JobStatus.QUEUED, timestamp(world.clock()))


def test_a_person_decides_only_what_is_undecided() -> None:
    world = World()
    world.ica.show("one", world.asked_at, "a", "b")
    with pytest.raises(DecisionRefused, match="not undecided"):
        world.reconcile.adopt("run", "000001", "one")
    with pytest.raises(DecisionRefused, match="not undecided"):
        world.reconcile.release("run", "000001")
    with pytest.raises(DecisionRefused, match="no job 000007"):
        world.reconcile.release("run", "000007")


def test_an_ica_job_that_cannot_be_the_one_is_not_adopted() -> None:
    world = undecided()
    world.ica.jobs_there["elsewhere"] = IcaJob("elsewhere", "RUNNING", project_id=SOURCE)
    world.ica.jobs_there["ours"] = IcaJob("ours", "RUNNING", project_id=PROJECT)
    world.table.job_items["run", "000009"] = replace(
        world.job(), job_id="000009", status=JobStatus.RUNNING, ica_job_id="ours"
    )
    for ica_job_id, why in (("nobody", "shows no job"), ("elsewhere", "another project"), ("ours", "another attempt")):
        with pytest.raises(DecisionRefused, match=why):
            world.reconcile.adopt("run", "000001", ica_job_id)
    assert world.job().status is JobStatus.LAUNCHING


def test_an_ica_job_that_was_created_before_the_launch_is_not_adopted() -> None:
    """It cannot be the one, and may be of a copy that had settled before, whose jobs are not looked through."""
    world = undecided()
    first = world.asked_at - CLOCKS_APART
    world.ica.show_job("old", first - timedelta(milliseconds=1), COPY)
    with pytest.raises(DecisionRefused, match="before this launch asked ICA"):
        world.reconcile.adopt("run", "000001", "old")
    world.ica.show_job("new", first, COPY)
    world.reconcile.adopt("run", "000001", "new")
    assert world.job().ica_job_id == "new"


def test_the_ica_job_of_the_job_that_is_redriven_is_not_adopted() -> None:
    world = undecided()
    former = replace(world.job(), ica_job_id="old").ended_attempt("FAILED", "disk full", world.asked_at)
    world.table.job_items["run", "000001"] = replace(world.job(), former=(former,))
    world.ica.show_job("old", world.asked_at, COPY)
    with pytest.raises(DecisionRefused, match="another attempt"):
        world.reconcile.adopt("run", "000001", "old")


@pytest.mark.parametrize("say", ["adopt", "release"])
def test_a_person_who_is_late_changes_nothing(say: str) -> None:
    world = undecided()
    read = world.table.get_job

    def moves_on_meanwhile(copy_id: str, job_id: str) -> Job | None:
        job = read(copy_id, job_id)
        assert world.table.mark_running(world.job(), "one", "batch-one", world.clock(), world.clock())
        return job

    world.table.get_job = moves_on_meanwhile  # type: ignore[method-assign]
    adopt: Callable[[str, str], None] = partial(world.reconcile.adopt, ica_job_id="theirs")
    decide = {"adopt": adopt, "release": world.reconcile.release}[say]
    with pytest.raises(DecisionRefused, match="has changed meanwhile"):
        decide("run", "000001")
    assert (world.job().ica_job_id, world.queue.sent) == ("one", [])


# --- many, and trouble -----------------------------------------------------------------------------------------------


def test_a_hundred_lost_answers_are_settled_in_one_look_of_a_few_hundred_calls() -> None:
    world = World(jobs=100)
    world.lose_answers()
    for number in range(100):
        world.ica.show(f"job-{number}", world.asked_at, "a", "b", folder=f"fol.{number}")
    assert world.settle() == {"adopted": 100}
    assert len(world.ica.called("recent_jobs")) == 1
    assert len(world.ica.calls) <= 201


def test_what_was_told_apart_is_not_read_again(world: World) -> None:
    world.ica.show("another", world.asked_at, "a", "c")
    assert world.settle() == {"waiting": 1}
    world.ica.calls.clear()
    world.clock.forward(seconds=3)
    assert world.settle() == {"waiting": 1}
    assert [call[0] for call in world.ica.calls] == ["recent_jobs"]


@pytest.mark.parametrize("method", ["recent_jobs", "copy_batch_folder", "copy_batch_items"])
def test_where_ica_is_not_there_it_is_asked_again_later(world: World, method: str) -> None:
    world.ica.show("one", world.asked_at, "a", "b")
    world.ica.trouble(method, IcaUnavailable("503"))
    assert world.settle() == {"unreadable": 1}
    world.ica.troubles.clear()
    world.clock.forward(seconds=3)
    assert world.settle() == {"adopted": 1}


def test_where_ica_cannot_be_asked_for_long_it_is_left_to_a_person_too(world: World) -> None:
    world.ica.show("one", world.asked_at, "a", "b")
    world.ica.trouble("recent_jobs", IcaUnavailable("the list of jobs is broken"))
    assert world.settle_late() == {"unreadable": 1}
    world.clock.now = world.asked_at + NONE_AFTER + UNREADABLE_FOR + timedelta(minutes=1)
    assert world.settle() == {"undecided": 1}
    assert "the list of jobs is broken" in str(world.job().hold)
    world.ica.troubles.clear()
    world.clock.now += LONGEST_UNDECIDED_SEARCH_AGAIN
    assert world.settle() == {"adopted": 1}


def test_what_ica_was_seen_not_to_show_long_ago_proves_nothing_now(world: World) -> None:
    """The poller stood still between its look and its conclusion."""

    def stand_still(_: object) -> None:
        world.clock.now = world.asked_at + NONE_AFTER + timedelta(hours=1)

    world.ica.troubles["recent_jobs"] = stand_still
    assert world.settle() == {"waiting": 1}


def test_a_launch_that_cannot_be_settled_holds_up_no_other() -> None:
    """For a reason that nobody has foreseen; it is looked at again later."""
    world = World(jobs=3)
    world.lose_answers()
    for number in range(3):
        world.ica.show(f"job-{number}", world.asked_at, "a", "b", folder=f"fol.{number}")

    def break_with_the_second(arguments: tuple[object, ...]) -> IcaError | None:
        if "batch-job-1" in arguments:
            raise RuntimeError("made by the test")
        return None

    world.ica.troubles["copy_batch_items"] = break_with_the_second
    assert world.settle() == {"adopted": 2, "not_moved": 1}
    world.ica.troubles.clear()
    world.clock.forward(seconds=3)
    assert world.settle() == {"adopted": 1}


@pytest.mark.parametrize("moved", ["running", "postponed"])
def test_a_launch_that_another_has_seen_to_meanwhile_is_let_be(world: World, moved: str) -> None:
    listed = world.table.jobs_in

    def another_is_faster(status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        found = listed(status, due_before)
        if status is JobStatus.LAUNCHING:
            if moved == "running":
                assert world.table.mark_running(world.job(), "one", "batch-one", world.clock(), world.clock())
            else:
                assert world.table.postpone(world.job(), world.clock() + UNDECIDED_SEARCH_AGAIN)
        return found

    world.table.jobs_in = another_is_faster  # type: ignore[method-assign]
    assert world.settle() == {}
    assert world.ica.calls == []


def test_the_clocks_may_differ_by_as_much_as_is_allowed_for(world: World) -> None:
    world.ica.show("one", world.asked_at - CLOCKS_APART, "a", "b")
    assert world.settle() == {"adopted": 1}
