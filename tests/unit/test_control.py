"""What operators ask: shown, cancelled, paused, resumed, redriven; and what is refused, with a reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    Claim,
    Copy,
    CopyStatus,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    OpenJob,
    timestamp,
)
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.outcomes import Finding, SourceOutcome
from icav2_copy_batch.domain.report.files import ends_of
from icav2_copy_batch.domain.requests import REQUESTS, redrive_id
from icav2_copy_batch.domain.schedule import Slots, backlogs_of
from icav2_copy_batch.domain.stops import MOST_PAUSED, Paused, copy_subject, project_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.operators.control import Control
from icav2_copy_batch.operators.listing import Listing
from icav2_copy_batch.operators.recheck import Recheck
from icav2_copy_batch.stages.ingest import Ingest
from icav2_copy_batch.stages.reconcile import DecisionRefused
from icav2_copy_batch.stages.unwritten import GIVEN_UP_AFTER, INGEST_HAS_ENDED, Unwritten
from tests import doubles
from tests.doubles.ica import SmallIca
from tests.event_files import schema_faults

TO = "f595e8f2-32d3-4c76-a324-c6a85dae87b5"
MANIFEST = {
    "icav2://from/a.txt": [f"icav2://{TO}/1/", f"icav2://{TO}/2/"],
    "icav2://from/b.txt": [f"icav2://{TO}/1/", "icav2://elsewhere/3/"],
}
OK = {"by": "arn:aws:iam::123456789012:role/operator"}


class Submissions:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, body: str) -> None:
        self.sent.append(body)


class Decisions:
    """Reconcile, as far as a person says something."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []
        self.trouble: Exception | None = None

    def adopt(self, *said: str) -> None:
        if self.trouble:
            raise self.trouble
        self.said.append(said)

    release = adopt


class World(doubles.World):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.submissions, self.reconcile, self.poller = Submissions(), Decisions(), doubles.Poller()
        self.ica = SmallIca()

    @property
    def recheck(self) -> Recheck:
        return Recheck(table=self.table, ica=self.ica, spread=doubles.in_turn, seconds_left=lambda: self.seconds_left)

    def project_id(self, project: str) -> str:
        if project != "archive":
            raise IcaRefused(f"no project named {project!r} can be seen")
        return TO

    @property
    def listing(self) -> Listing:
        return Listing(ica=self.ica, project_id=str, seconds_left=lambda: self.seconds_left)

    @property
    def ingest(self) -> Ingest:
        return Ingest(
            table=self.table,
            bucket=self.bucket,
            dispatch=self.dispatch,
            bus=self.bus,
            tasks=self.tasks,
            publish=self.publish,
            operate=self.operate,
            spread=doubles.in_turn,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            limits=Limits(),
            project_id=lambda name: name,
        )

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        control = Control(
            table=self.table,
            operate=self.operate,
            of_ica=self,  # type: ignore[arg-type]
            submissions=self.submissions,
            poller=self.poller,
            bucket_name="our-bucket",
            clock=self.clock,
        )
        answer = control.answer({"command": command, **OK, **request})
        assert json.loads(json.dumps(answer)) == answer, "Lambda returns JSON"
        return answer

    def ok(self, command: str, **request: Any) -> dict[str, Any]:
        answer = self.ask(command, **request)
        assert "ok" in answer, answer
        done: dict[str, Any] = answer["ok"]
        return done

    def refused(self, kind: str, command: str, **request: Any) -> str:
        error = self.ask(command, **request)["error"]
        assert error["kind"] == kind, error
        return str(error["message"])

    def submit(self, copy_id: str = "run", **more: Any) -> None:
        self.receive({"manifest": MANIFEST, "copy_id": copy_id, **more})

    def receive(self, body: Mapping[str, Any]) -> None:
        self.ingest.receive(f"message {len(self.bus.events)}", json.dumps(body))

    def send(self) -> Counter[str]:
        self.clock.forward(seconds=1)
        before = sum(self.cancelled)
        sent = self.dispatch.send()
        return Counter(sent=sent.first, again=sent.again, cancelled=sum(self.cancelled) - before)

    def statuses(self, copy_id: str = "run") -> list[JobStatus]:
        return [job.status for job in self.table.jobs(copy_id)]

    def job(self, number: int, copy_id: str = "run") -> Job:
        return self.table.job_items[copy_id, f"{number:06d}"]

    def run(self, number: int, copy_id: str = "run") -> Job:
        job = self.job(number, copy_id)
        return doubles.run(self.table, job, self.clock(), f"ica-{copy_id}-{number}-{job.attempt}", job.project)

    def fail(self, number: int, copy_id: str = "run", copied: frozenset[str] = frozenset()) -> None:
        running, now = self.run(number, copy_id), self.clock()
        if copied:
            ended = running.ended_attempt("PARTIALLY_SUCCEEDED", "disk full", now)
            assert self.table.requeue(running, ended, copied, now, now, doubles.hold("again", HoldReason.NEXT_ATTEMPT))
            running = self.run(number, copy_id)
        assert self.table.give_up(running, running.ended_attempt("FAILED", "disk full", now), now)

    def settle(self, copy_id: str = "run") -> None:
        """Fail the first job, pass the others, and publish."""
        for number in range(1, len(self.statuses(copy_id)) + 1):
            if number == 1:
                self.fail(number, copy_id)
            else:
                running = self.run(number, copy_id)
                ended = running.ended_attempt("SUCCEEDED", None, self.clock())
                assert self.table.mark_passed(running, ended, self.clock())
        self.publish.publish(copy_id)

    def types(self) -> list[str]:
        return [event.detail_type for event in self.bus.events]


@pytest.fixture
def world() -> World:
    return World()


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "about"),
    [
        ({"command": "cancel"}, "copy_id"),
        ({"command": "cancel", "copy_id": "no such thing!"}, "copy_id"),
        ({"command": "cancel", "copy_id": "run", "force": True}, "force"),
        ({"command": "dance"}, "command"),
        ({}, "command"),
        ({"command": ["cancel"]}, "command"),
        ({"command": "pause"}, "command"),
        ({"command": "pause", "all": True, "copy_id": "run"}, "command"),
        ({"command": "pause", "all": "yes"}, "all"),
        ({"command": "pause", "project_id": "archive-project"}, "project_id"),
        ({"command": "resume", "project_id": "archive-project"}, "project_id"),
        ({"command": "pause", "project_id": 7}, "project_id"),
        ({"command": "pause", "all": True, "reason": "x" * 501}, "reason"),
        ({"command": "redrive", "copy_id": "run", "job_id": "one"}, "job_id"),
        ({"command": "adopt", "copy_id": "run", "job_id": "000001"}, "ica_job_id"),
        ({"command": "list", "since": "yesterday"}, "since"),
        ({"command": "list", "since": "2026-11-01T00:00:00"}, "since"),
        ({"command": "list", "status": "DONE"}, "status"),
        ({"command": "list", "limit": 0}, "limit"),
        ({"command": "list", "limit": True}, "limit"),
        ({"command": "list", "before": "no id"}, "before"),
        ({"command": "list", "tags": {"run": 1}}, "tags"),
        ({"command": "status", "copy_id": "run", "jobs": 1}, "jobs"),
        ({"command": "doctor", "projects": "a"}, "projects"),
        ({"command": "subscribe"}, "projects"),
        ({"command": "subscribe", "projects": []}, "projects"),
        ({"command": "subscribe", "projects": "a"}, "projects"),
        ({"command": "subscribe", "projects": [""]}, "projects"),
        ({"command": "subscribe", "projects": ["a"] * 101}, "projects"),
        ({"command": "files"}, "uri"),
        ({"command": "files", "uri": "icav2://run/file"}, "uri"),
        ({"command": "files", "uri": "s3://bucket/"}, "uri"),
        ({"command": "plan"}, "request"),
        ({"command": "plan", "manifest": {}, "action_on_exist": "FAIL"}, "action_on_exist"),
        ({"command": "plan", "manifest": {}, "limit": 1}, "limit"),
        ({"command": "plan", "manifest": {}, "by": ""}, "by"),
        ({"command": "plan", "manifest_uri": "s3://bucket/key"}, "manifest_uri"),
    ],
)
def test_a_request_that_is_not_right_names_what_is_wrong(world: World, request_: dict[str, Any], about: str) -> None:
    answer = Control(
        table=world.table,
        operate=world.operate,
        of_ica=None,  # type: ignore[arg-type]
        submissions=world.submissions,
        poller=world.poller,
        bucket_name="our-bucket",
        clock=world.clock,
    ).answer(request_)
    assert answer["error"]["kind"] == "invalid"
    assert about in [problem["about"] for problem in answer["error"]["problems"]]


@pytest.mark.parametrize("command", [name for name, kind in REQUESTS.items() if "copy_id" in kind.__dataclass_fields__])
def test_a_copy_that_is_not_there_is_named(world: World, command: str) -> None:
    more = {"adopt": {"job_id": "000001", "ica_job_id": "x"}, "release": {"job_id": "000001"}}.get(command, {})
    assert "nobody" in world.refused("no_such_copy", command, copy_id="nobody", **more)


@pytest.mark.parametrize(("command", "more"), [("adopt", {"ica_job_id": "x"}), ("release", {})])
def test_a_job_that_is_not_there_cannot_be_decided(world: World, command: str, more: dict[str, str]) -> None:
    world.submit()
    assert "000009" in world.refused("no_such_job", command, copy_id="run", job_id="000009", **more)
    assert world.reconcile.said == []


# --- shown -----------------------------------------------------------------------------------------------------------


def test_copies_are_listed_newest_first_with_their_tags(world: World) -> None:
    for number, tags in enumerate([{"run": "1"}, {"run": "2"}, {"run": "2", "lab": "x"}]):
        world.submit(f"copy-{number}", tags=tags)
        world.clock.forward(seconds=60)
    listed = world.ok("list")["copies"]
    assert [each["copy_id"] for each in listed] == ["copy-2", "copy-1", "copy-0"]
    assert (listed[0]["tags"], listed[0]["cancelled_jobs"]) == ({"run": "2", "lab": "x"}, 0)
    assert [each["copy_id"] for each in world.ok("list", limit=1)["copies"]] == ["copy-2"]
    assert [each["copy_id"] for each in world.ok("list", tags={"run": "2"}, limit=5)["copies"]] == ["copy-2", "copy-1"]
    until = timestamp(world.clock() - timedelta(seconds=100))
    assert [each["copy_id"] for each in world.ok("list", until=until)["copies"]] == ["copy-1", "copy-0"]
    world.settle("copy-0")
    assert [each["copy_id"] for each in world.ok("list", status="FAILED")["copies"]] == ["copy-0"]


def of_seven(world: World, **more: Any) -> dict[str, Any]:
    """The answer to a list of seven copies, the first with a tag and settled; with the ids of the copies only."""
    if not world.table.copies:
        for number in range(7):
            world.submit(f"copy-{number}", tags={"first": "yes"} if number == 0 else {})
            world.clock.forward(seconds=60)
        world.settle("copy-0")
    answer = world.ok("list", **more)
    return {**answer, "copies": [copy["copy_id"] for copy in answer["copies"]]}


@pytest.mark.parametrize("wanted", [{"tags": {"first": "yes"}}, {"status": "FAILED"}])
def test_more_copies_than_one_read_brings_are_searched(
    world: World, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
) -> None:
    monkeypatch.setattr("icav2_copy_batch.operators.control.PAGE", 2)
    assert of_seven(world, **wanted) == {"copies": ["copy-0"]}
    assert len(of_seven(world)["copies"]) == 7


def test_a_list_goes_on_after_the_last_copy_that_it_has_shown(world: World) -> None:
    first = of_seven(world, limit=3)
    assert first == {"copies": ["copy-6", "copy-5", "copy-4"], "next_before": "copy-4"}
    second = of_seven(world, limit=3, before="copy-4")
    assert second["copies"] == ["copy-3", "copy-2", "copy-1"]
    assert of_seven(world, limit=3, before=second["next_before"]) == {"copies": ["copy-0"]}
    assert "nobody" in world.refused("no_such_copy", "list", before="nobody")


def test_a_list_for_which_too_many_copies_would_be_read_goes_on_by_another_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icav2_copy_batch.operators.control.PAGE", 2)
    monkeypatch.setattr("icav2_copy_batch.operators.control.MOST_LOOKED_AT", 4)
    assert of_seven(world, status="FAILED") == {"copies": [], "next_before": "copy-3"}
    assert of_seven(world, status="FAILED", before="copy-3") == {"copies": ["copy-0"]}


def test_of_a_list_no_more_copies_are_read_than_are_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    of_seven(world)
    read: list[str] = []
    get_copies = world.table.get_copies

    def noted(copy_ids: Sequence[str]) -> list[Copy]:
        read.extend(copy_ids)
        return get_copies(copy_ids)

    monkeypatch.setattr(world.table, "get_copies", noted)
    assert of_seven(world, limit=2)["copies"] == read == ["copy-6", "copy-5"]
    read.clear()
    assert of_seven(world, tags={"first": "yes"})["copies"] == read == ["copy-0"], "the index knows their tags"


def test_a_copy_is_shown_with_its_jobs_and_what_holds_them(world: World) -> None:
    world.submit()
    world.fail(1)
    world.table.wait(LaunchRequest("run", "000002", 1), world.clock(), doubles.hold("ICA is down"))
    shown = world.ok("status", copy_id="run", jobs=True)
    assert (shown["copy"]["status"], shown["copy"]["open_jobs"], shown["copy"]["failed_jobs"]) == ("OPEN", 2, 1)
    assert (shown["copy"]["result_uri"], shown["copy"]["settled_at"]) == (None, None)
    assert world.ok("list")["copies"][0]["settled_at"] is None
    failed, held, queued = shown["jobs"]
    assert (failed["status"], failed["reason"], failed["attempts"][0]["outcome"]) == ("FAILED", "disk full", "FAILED")
    assert held["hold"] == {"reason": "ICA_UNAVAILABLE", "detail": "ICA is down"}
    assert (queued["dest_uri"], queued["project_id"], queued["sources"]) == (f"icav2://{TO}/2/", TO, 1)
    assert "jobs" not in world.ok("status", copy_id="run")
    assert [job["job_id"] for job in world.ok("status", copy_id="run", failed=True)["jobs"]] == ["000001"]


def test_what_shown_jobs_say_of_each_source_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of 1,000 files has 400 KB of it, and an answer is of up to 1,000 jobs."""
    world.submit()
    world.settle()
    heavy = doubles.HeavyJobs(world.table)
    monkeypatch.setattr(world.table, "jobs", heavy.jobs)
    assert len(world.ok("status", copy_id="run", jobs=True)["jobs"]) == 3
    assert heavy.kept == [0, 1, 1], "only of the one that was shown last"


def test_jobs_are_shown_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icav2_copy_batch.operators.show.MAX_LISTED", 2)
    world.submit()
    first = world.ok("status", copy_id="run", jobs=True)
    assert ([job["job_id"] for job in first["jobs"]], first["next_after"]) == (["000001", "000002"], "000002")
    second = world.ok("status", copy_id="run", jobs=True, after=first["next_after"])
    assert [job["job_id"] for job in second["jobs"]] == ["000003"]
    assert "next_after" not in second


def test_a_published_copy_says_where_its_result_is(world: World) -> None:
    world.submit()
    world.settle()
    shown = world.ok("status", copy_id="run")["copy"]
    assert (shown["status"], shown["result_uri"]) == ("FAILED", "s3://our-bucket/results/run.json")
    assert shown["settled_at"] == world.ok("list")["copies"][0]["settled_at"] == timestamp(world.clock())


# --- cancelled -------------------------------------------------------------------------------------------------------


def test_a_cancelled_copy_ends_its_queued_jobs_now_and_its_running_ones_by_themselves(world: World) -> None:
    world.submit(task_token="token")
    running = world.run(1)
    answer = world.ok("cancel", copy_id="run")
    assert (answer["cancelled"], answer["copy"]["cancelled_jobs"]) == (2, 2)
    assert answer["left"] == [{"job_id": "000001", "status": "RUNNING", "ica_job_id": "ica-run-1-1"}]
    assert world.statuses() == [JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.CANCELLED]
    assert world.table.backlog_items == {}
    ended = running.ended_attempt("SUCCEEDED", None, world.clock())
    assert world.table.mark_passed(running, ended, world.clock())
    assert world.publish.publish("run") is CopyStatus.CANCELLED
    settled = world.bus.events[-1]
    assert (settled.detail_type, settled.detail["cancelled_jobs"]) == ("CopyCancelled", 2)
    assert settled.detail["status"] == "CANCELLED"
    assert world.tasks.answers["token"]
    assert world.table.cancelled == set(), "nothing of it is left to be seen to"


def test_an_attempt_of_a_cancelled_copy_that_fails_is_the_last(world: World) -> None:
    world.submit()
    running = world.run(1)
    world.ok("cancel", copy_id="run")
    now = world.clock()
    ended = running.ended_attempt("FAILED", "disk full", now)
    assert world.table.requeue(running, ended, frozenset(), now, now, doubles.hold("again", HoldReason.NEXT_ATTEMPT))
    sent = len(world.queue.sent)
    assert world.send() == Counter(cancelled=1)
    assert len(world.queue.sent) == sent
    assert world.statuses() == [JobStatus.CANCELLED] * 3
    assert len(world.job(1).attempts) == 1, "what was tried is remembered"


def test_a_launch_under_way_is_cancelled_unless_it_may_have_asked_ica(world: World) -> None:
    world.submit()
    for number in (1, 2):
        job = world.job(number)
        claimed = world.table.claim_for_launch(job, job.project, world.clock(), world.clock(), Slots())
        assert claimed is Claim.CLAIMED
    intent = Intent.of(timestamp(world.clock()), "fol.1", ["fil.1"])
    assert world.table.record_intent(world.job(1), intent, world.clock(), 0)
    answer = world.ok("cancel", copy_id="run")
    assert [(left["job_id"], left["status"]) for left in answer["left"]] == [("000001", "LAUNCHING")]
    assert world.statuses() == [JobStatus.LAUNCHING, JobStatus.CANCELLED, JobStatus.CANCELLED]


def test_what_is_left_of_a_large_copy_is_cancelled_by_dispatch(world: World) -> None:
    world.slots = Slots(1, 1)
    world.submit()
    world.seconds_left = 1.0
    world.table.mark_cancelled("run", world.clock())
    world.send()
    assert world.statuses() == [JobStatus.CANCELLED] * 3
    assert world.table.backlog_items == {}


def test_a_copy_whose_jobs_are_still_being_written_is_cancelled_as_they_come(world: World) -> None:
    world.line.cut_after = world.line.requests + 4
    with pytest.raises(doubles.LineCut):
        world.submit()
    world.line.cut_after = None
    world.ok("cancel", copy_id="run")
    world.submit()
    world.send()
    assert set(world.statuses()) == {JobStatus.CANCELLED}
    assert world.publish.publish("run") is CopyStatus.CANCELLED


def test_jobs_that_are_written_while_their_copy_is_cancelled_are_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest writes its last job and the backlog just after the cancel has read which jobs there are."""
    planned, now, unlaunched = flip(MANIFEST, Limits()), world.clock(), world.table.unlaunched_jobs
    world.create_copy(planned)
    world.table.create_jobs("run", planned[:2], CopyOptions(), now)

    def read(copy_id: str) -> Any:
        found = list(unlaunched(copy_id))
        world.table.create_jobs("run", planned[2:], CopyOptions(), now, first=3)
        world.table.create_backlogs(backlogs_of("run", planned, timestamp(now)))
        return found

    monkeypatch.setattr(world.table, "unlaunched_jobs", read)
    assert world.ok("cancel", copy_id="run")["cancelled"] == 2
    world.send()
    assert world.statuses() == [JobStatus.CANCELLED] * 3


def test_each_cancelled_job_is_counted_once_also_where_the_table_fails_half_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit()
    world.run(1)
    cancel = world.table.cancel

    def fail_at_last(job: OpenJob, now: datetime) -> bool:
        if job.job_id == "000003":
            raise OSError("the table is throttled")
        return cancel(job, now)

    monkeypatch.setattr(world.table, "cancel", fail_at_last)
    with pytest.raises(OSError, match="throttled"):
        world.ok("cancel", copy_id="run")
    assert sum(world.cancelled) == 1
    monkeypatch.undo()
    for _ in range(2):
        world.ok("cancel", copy_id="run")
    assert sum(world.cancelled) == 2


def test_a_settled_copy_is_not_cancelled(world: World) -> None:
    world.submit()
    world.settle()
    assert "has settled (FAILED)" in world.refused("refused", "cancel", copy_id="run")


def test_a_cancel_that_dies_anywhere_is_asked_again_and_ends_alike() -> None:
    for requests in range(1, 40):
        world = World()
        world.submit()
        world.run(1)
        world.line.cut_after = world.line.requests + requests
        try:
            world.ok("cancel", copy_id="run")
        except doubles.LineCut:
            world.line.cut_after = None
            world.ok("cancel", copy_id="run")
            assert world.statuses() == [JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.CANCELLED]
        else:
            assert requests > 5
            return
    pytest.fail("it never came to an end")


# --- cancelled, and never written to the end -------------------------------------------------------------------------


def begin(world: World, *written: int, copy_id: str = "run") -> None:
    """Leave a copy of three jobs as an ingest leaves it that died when it had written these."""
    planned = flip(MANIFEST, Limits())
    world.create_copy(planned, copy_id)
    for number in written:
        world.table.create_jobs(copy_id, [planned[number - 1]], CopyOptions(), world.clock(), first=number)


def end_unwritten(world: World) -> None:
    Unwritten(
        table=world.table, clock=world.clock, spread=doubles.in_turn, count_cancelled=world.cancelled.append
    ).end()


def counts(world: World, copy_id: str = "run") -> tuple[int, int]:
    copy = world.table.copies[copy_id].copy
    return copy.open_jobs, copy.cancelled_jobs


def test_a_cancelled_copy_that_was_never_written_to_the_end_settles(world: World) -> None:
    begin(world, 1, 3)
    running = world.run(1)
    world.ok("cancel", copy_id="run")
    assert counts(world) == (2, 1)
    world.clock.now += GIVEN_UP_AFTER + INGEST_HAS_ENDED
    end_unwritten(world)
    assert counts(world) == (2, 1), "an ingest may be under way"
    world.clock.forward(seconds=1)
    for _ in range(2):
        end_unwritten(world)
        assert counts(world) == (1, 2)
        assert sum(world.cancelled) == 2
    ended = running.ended_attempt("SUCCEEDED", None, world.clock())
    assert world.table.mark_passed(running, ended, world.clock())
    assert world.publish.publish("run") is CopyStatus.CANCELLED
    detail = world.bus.events[-1].detail
    assert (detail["status"], detail["cancelled_jobs"]) == ("CANCELLED", 2)


def test_what_was_written_after_the_cancel_has_read_the_jobs_is_ended_too(world: World) -> None:
    begin(world)
    world.ok("cancel", copy_id="run")
    planned = flip(MANIFEST, Limits())
    world.table.create_jobs("run", planned[:2], CopyOptions(), world.clock())
    world.clock.now += 2 * GIVEN_UP_AFTER
    end_unwritten(world)
    assert world.statuses() == [JobStatus.CANCELLED] * 2
    assert counts(world) == (0, 3)
    assert sum(world.cancelled) == 3


def test_jobs_that_are_too_many_for_one_call_are_ended_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(world)
    world.ok("cancel", copy_id="run")
    planned = flip(MANIFEST, Limits())
    world.table.create_jobs("run", planned[:2], CopyOptions(), world.clock())
    monkeypatch.setattr("icav2_copy_batch.stages.unwritten.MOST_AT_ONCE", 1)
    world.clock.now += 2 * GIVEN_UP_AFTER
    for open_jobs in (2, 1, 0):
        end_unwritten(world)
        assert counts(world) == (open_jobs, 3 - open_jobs)


def test_a_cancel_of_a_moment_ago_may_have_an_ingest_under_way(world: World) -> None:
    begin(world, 1)
    world.clock.now += 2 * GIVEN_UP_AFTER
    end_unwritten(world)
    assert counts(world) == (3, 0), "nobody has cancelled it"
    world.ok("cancel", copy_id="run")
    world.clock.now += INGEST_HAS_ENDED
    end_unwritten(world)
    assert counts(world) == (2, 1)
    world.clock.forward(seconds=1)
    end_unwritten(world)
    assert counts(world) == (0, 3)


@pytest.mark.parametrize("counted", [False, True])
def test_a_message_that_comes_much_later_writes_nothing_more_of_a_cancelled_copy(world: World, counted: bool) -> None:
    world.line.cut_after = world.line.requests + 4
    with pytest.raises(doubles.LineCut):
        world.submit()
    world.line.cut_after = None
    world.ok("cancel", copy_id="run")
    written = len(world.statuses())
    assert written < 3
    world.clock.now += GIVEN_UP_AFTER + timedelta(seconds=1)
    if counted:
        world.clock.now += INGEST_HAS_ENDED
        end_unwritten(world)
        assert counts(world) == (0, 3)
    world.submit()
    assert len(world.statuses()) == written
    assert world.table.backlogs() == []


def test_a_copy_that_cannot_be_ended_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for copy_id in ("a", "b", "c"):
        begin(world, copy_id=copy_id)
        world.ok("cancel", copy_id=copy_id)
    get_copy = world.table.get_copy

    def breaks(copy_id: str) -> Any:
        if copy_id == "b":
            raise RuntimeError("made by the test")
        return get_copy(copy_id)

    monkeypatch.setattr(world.table, "get_copy", breaks)
    world.clock.now += 2 * GIVEN_UP_AFTER
    end_unwritten(world)
    assert [counts(world, copy_id)[0] for copy_id in ("a", "b", "c")] == [0, 3, 0]


# --- paused ----------------------------------------------------------------------------------------------------------

SUBJECTS = [{"all": True}, {"copy_id": "run"}, {"project_id": TO}, {"project_id": TO.upper()}]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_is_paused_is_not_launched_until_it_is_resumed(world: World, subject: dict[str, Any]) -> None:
    world.slots = Slots(1, 1)
    world.submit()
    (first,) = world.queue.sent
    ended = world.run(int(first.job_id))
    world.ok("pause", reason="maintenance", **subject)
    assert world.table.mark_passed(ended, ended.ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    world.send()
    assert world.queue.sent == [first]
    assert not world.dispatch.anything_waits(timedelta(seconds=60))
    assert world.poller.triggers == 0
    world.ok("resume", **subject)
    assert world.poller.triggers == 1, "it sends what has waited, and not a minute later"
    world.slots = Slots()
    world.send()
    assert {request.job_id for request in world.queue.sent} == {"000001", "000002", "000003"}


def test_a_pause_of_one_project_lets_the_others_go_on(world: World) -> None:
    world.ok("pause", project_id=TO)
    world.submit()
    assert [world.job(int(request.job_id)).project for request in world.queue.sent] == ["elsewhere"]
    assert world.dispatch.anything_waits(timedelta(seconds=600))


def test_a_project_is_paused_and_resumed_by_its_name(world: World) -> None:
    paused = world.ok("pause", project="archive")
    assert [each["subject"] for each in paused["pauses"]] == [project_subject(TO)]
    assert "no project named 'elsewhere'" in world.refused("refused", "resume", project="elsewhere")
    assert world.ok("resume", project="archive") == {"pauses": []}


def test_a_message_of_the_queue_has_to_have_the_projects_id(world: World) -> None:
    """A pause of a name would hold nothing."""
    world.receive({"command": "pause", "project": "archive"})
    assert world.table.pauses() == []
    (rejected,) = [detail for name, detail in world.bus.events if name == "CopyRejected"]
    assert "project_id" in str(rejected)


def test_a_pause_says_who_has_made_it_since_when_and_why(world: World) -> None:
    world.submit()
    world.ok("pause", all=True, reason="maintenance")
    pauses = world.ok("pause", copy_id="run")["pauses"]
    since = timestamp(world.clock())
    assert pauses == [
        {"subject": "all", "since": since, "by": OK["by"], "reason": "maintenance"},
        {"subject": "copy run", "since": since, "by": OK["by"], "reason": None},
    ]
    assert world.ok("pauses")["pauses"] == pauses
    assert world.ok("status", copy_id="run")["copy"]["paused_at"] == since
    assert world.ok("resume", all=True)["pauses"] == pauses[1:]


def test_what_is_done_to_a_copy_is_logged_under_its_id(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """By that ``icav2-copy logs`` finds it."""
    world.submit()
    for command in ("pause", "resume", "cancel"):
        world.ok(command, copy_id="run")
    logged = {record.getMessage(): getattr(record, "copy_id", None) for record in caplog.records}
    assert logged == {"paused": "run", "resumed": "run", "copy cancelled": "run"}


def test_a_job_whose_message_is_under_way_waits_for_the_end_of_the_pause(world: World) -> None:
    world.submit()
    world.ok("pause", all=True)
    job = world.job(1)
    assert world.table.claim_for_launch(job, TO, world.clock(), world.clock(), Slots()) is Claim.STOPPED
    world.clock.forward(seconds=600)
    world.send()
    held = world.job(1).hold
    assert held
    assert held.reason is HoldReason.PAUSED
    assert not world.dispatch.anything_waits(timedelta(seconds=60))
    world.clock.forward(seconds=7200)
    world.ok("resume", all=True)
    assert world.send() == Counter(again=3)
    assert world.job(1).queued_at == timestamp(world.clock()), "the time of the pause is no delay"


def test_a_settled_copy_is_not_paused_and_a_paused_copy_that_settles_is_not_paused_any_more(world: World) -> None:
    world.submit()
    running = [world.run(number) for number in (1, 2, 3)]
    world.ok("pause", copy_id="run")
    for job in running:
        assert world.table.mark_passed(job, job.ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    world.publish.publish("run")
    assert world.ok("pauses")["pauses"] == []
    assert "has settled (COMPLETED)" in world.refused("refused", "pause", copy_id="run")


def test_a_copy_that_is_submitted_on_hold_waits_for_its_resume(world: World) -> None:
    world.submit(hold=True)
    assert world.queue.sent == []
    assert world.ok("status", copy_id="run")["copy"]["paused_at"]
    world.ok("resume", copy_id="run")
    assert world.send() == Counter(sent=3)


def test_no_more_than_so_many_copies_and_projects_are_paused(world: World) -> None:
    """Each claim and each end of a job rewrites the item that names them."""
    world.submit()
    (first, *_) = paused = [copy_subject(f"held-{number}") for number in range(MOST_PAUSED)]
    for subject in paused:
        assert world.table.pause(Paused(subject, timestamp(world.clock())))
    for another in ({"copy_id": "run"}, {"project_id": TO}):
        assert "500 copies and projects are paused" in world.refused("refused", "pause", **another)
    objects = world.bucket.keys()
    world.submit("held", hold=True)
    assert world.types()[-1] == "CopyRejected"
    assert "500 copies and projects are paused" in str(world.bus.events[-1].detail)
    assert world.table.get_copy("held") is None
    assert [key for key in world.bucket.keys() - objects if not key.startswith("rejected/")] == []
    world.ok("pause", all=True)
    world.ok("pause", all=True, reason="again")
    world.ok("resume", all=True)
    assert world.table.resume(first, world.clock())
    world.submit("held", hold=True)
    assert world.types()[-1] == "CopyStarted"
    world.submit("held", hold=True)
    assert world.types()[-1] == "CopyStarted", "it is there already"
    assert len(world.table.stops().paused) == MOST_PAUSED


def test_a_held_copy_that_was_resumed_is_not_held_again_by_what_is_left_of_its_ingest() -> None:
    """Ingest dies anywhere, somebody resumes the copy, and the message comes again."""
    for requests in range(1, 40):
        world = World()
        world.line.cut_after = requests
        try:
            world.submit(hold=True)
        except doubles.LineCut:
            world.line.cut_after = None
            if world.table.get_copy("run"):
                world.ok("resume", copy_id="run")
                world.submit(hold=True)
                assert world.table.pauses() == [], f"after {requests} requests"
                assert len(world.queue.sent) == 3
        else:
            assert requests > 8
            return
    pytest.fail("it never came to an end")


def test_a_held_copy_may_be_resumed_as_soon_as_it_is_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put = world.bus.put

    def resumes(detail_type: str, detail: Any) -> None:
        put(detail_type, detail)
        if detail_type == "CopyStarted":
            assert world.table.stops().is_paused("run", "to")
            world.ok("resume", copy_id="run")

    monkeypatch.setattr(world.bus, "put", resumes)
    world.submit(hold=True)
    assert world.table.pauses() == []
    assert len(world.queue.sent) == 3


# --- redriven --------------------------------------------------------------------------------------------------------


def redrive(world: World, **request: Any) -> dict[str, Any]:
    """Ask for it, and let ingest do it."""
    answer = world.ok("redrive", copy_id="run", **request)
    world.receive(json.loads(world.submissions.sent.pop()))
    return answer


def test_a_redrive_copies_what_the_failed_jobs_have_not_copied(world: World) -> None:
    world.submit(tags={"run": "231109"}, action_on_exist="OVERWRITE")
    world.fail(2, copied=frozenset({world.job(2).sources[0]}))
    running = world.run(1)
    world.ok("cancel", copy_id="run")
    assert world.table.mark_passed(running, running.ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    world.publish.publish("run")
    before = list(world.table.jobs("run"))
    assert redrive(world) == {"copy_id": "run.r1", "jobs": 2}
    jobs = list(world.table.jobs("run.r1"))
    assert [(job.destination, job.sources) for job in jobs] == [
        (before[1].destination, before[1].sources[1:]),
        (before[2].destination, before[2].sources),
    ]
    assert {job.options.action_on_exist for job in jobs} == {"OVERWRITE"}
    copy, origin = world.table.get_copy("run.r1"), world.table.get_copy("run")
    assert copy
    assert origin
    assert (copy.redrive_of, copy.tags, origin.redriven_as) == ("run", {"run": "231109"}, frozenset({"run.r1"}))
    assert origin.status is CopyStatus.CANCELLED, "the old result stays as it is"
    manifest = json.loads(world.bucket["submitted/run.r1.json"])
    assert {source: set(to) for source, to in manifest.items()} == {
        source: {job.destination for job in jobs if source in job.sources} for job in jobs for source in job.sources
    }
    assert (world.types()[-1], world.bus.events[-1].detail["redrive_of"]) == ("CopyStarted", "run")


def test_a_redrive_copies_again_what_the_last_attempt_found_to_be_gone(world: World) -> None:
    """An earlier attempt had copied it, and somebody has taken it away since."""
    world.submit()
    sources, now = world.job(2).sources, world.clock()
    running = world.run(2)
    part = running.ended_attempt("SUCCEEDED", None, now)
    held = doubles.hold("the next part", HoldReason.NEXT_ATTEMPT)
    assert world.table.requeue(running, part, frozenset(sources[:1]), now, now, held)
    running = world.run(2)
    wrong = [SourceOutcome(source, Finding.MISMATCH, "is not there") for source in sources]
    assert world.table.give_up(running, running.ended_attempt("FAILED", "disk full", now, wrong), now)
    world.ok("cancel", copy_id="run")
    redrive(world, job_id="000002")
    (job,) = world.table.jobs("run.job000002")
    assert job.sources == sources


def test_a_redrive_does_not_copy_again_what_the_last_attempt_has_copied(world: World) -> None:
    """With RENAME there would be a second copy of it."""
    world.submit(action_on_exist="RENAME")
    (first, second), now = world.job(2).sources, world.clock()
    running = world.run(2)
    left = [SourceOutcome(second, "FAILED", "disk full")]
    assert world.table.give_up(running, running.ended_attempt("PARTIALLY_SUCCEEDED", "disk full", now, left), now)
    assert [end.source for end in ends_of(world.job(2)) if end.is_copied] == [first]
    world.ok("cancel", copy_id="run")
    redrive(world, job_id="000002")
    (job,) = world.table.jobs("run.job000002")
    assert job.sources == (second,)


def test_the_same_redrive_again_changes_nothing(world: World) -> None:
    world.submit()
    world.settle()
    redrive(world)
    items = dict(world.table.job_items)
    redrive(world)
    assert world.table.job_items == items


@pytest.mark.parametrize(
    ("request_", "taken", "new_id"),
    [({}, ["run.r1"], "run.r2"), ({}, ["run.r1", "run.r2"], "run.r3"),
     ({"job_id": "000001"}, ["run.job000001"], "run.job000001.r1")],
)  # fmt: skip
def test_a_redrive_whose_id_is_another_submissions_takes_the_next(
    world: World, request_: dict[str, Any], taken: list[str], new_id: str
) -> None:
    world.submit()
    world.settle()
    for copy_id in taken:
        world.submit(copy_id)
    assert redrive(world, **request_) == {"copy_id": new_id, "jobs": 1}
    copy = world.table.get_copy(new_id)
    assert copy
    assert (copy.redrive_of, copy.total_jobs, world.job(1).redriven_as) == ("run", 1, new_id)
    items = dict(world.table.job_items)
    assert redrive(world, **request_) == {"copy_id": new_id, "jobs": 1}
    assert world.table.job_items == items, "the same redrive again changes nothing"


def test_what_was_redriven_is_redriven_by_the_new_copy(world: World) -> None:
    world.submit()
    world.settle()
    redrive(world, job_id="000001")
    assert "run.job000001" in world.refused("refused", "redrive", copy_id="run")
    world.receive({"command": "redrive", "copy_id": "run"})
    assert world.types()[-1] == "CopyRejected"
    assert world.table.get_copy("run.r1") is None


def test_a_redrive_that_dies_anywhere_is_delivered_again_and_ends_alike() -> None:
    for requests in range(1, 60):
        world = World()
        world.submit()
        world.settle()
        world.line.cut_after = world.line.requests + requests
        try:
            world.receive({"command": "redrive", "copy_id": "run"})
        except doubles.LineCut:
            world.line.cut_after = None
            world.receive({"command": "redrive", "copy_id": "run"})
            (job,) = world.table.jobs("run.r1")
            copy = world.table.get_copy("run.r1")
            assert copy
            assert (copy.total_jobs, job.sources) == (1, world.job(1).sources)
            assert copy.ingested_at
        else:
            assert requests > 5
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize(("longest", "request_"), [(125, {}), (118, {"job_id": "000001"})])
def test_the_longest_id_of_a_redrive_is_an_id(world: World, longest: int, request_: dict[str, str]) -> None:
    world.submit("x" * longest)
    world.settle("x" * longest)
    answer = world.ok("redrive", copy_id="x" * longest, **request_)
    world.receive(json.loads(world.submissions.sent.pop()))
    assert world.table.get_copy(answer["copy_id"])


@pytest.mark.parametrize(("length", "request_"), [(126, {}), (119, {"job_id": "000001"})])
def test_a_redrive_whose_id_would_be_too_long_is_refused(world: World, length: int, request_: dict[str, str]) -> None:
    """Ingest would reject it by an event that names no copy."""
    world.submit("x" * length)
    world.settle("x" * length)
    assert "too long" in world.refused("refused", "redrive", copy_id="x" * length, **request_)
    assert world.submissions.sent == []
    world.receive({"command": "redrive", "copy_id": "x" * length, **request_})
    assert "too long" in str(world.bus.events[-1].detail["problems"])


@pytest.mark.parametrize("how", ["open", "passed", "no such job", "passed job"])
def test_what_cannot_be_redriven_is_refused(world: World, how: str) -> None:
    world.submit()
    match how:
        case "open":
            assert "has not settled" in world.refused("refused", "redrive", copy_id="run")
        case "passed":
            for number in (1, 2, 3):
                running = world.run(number)
                ended = running.ended_attempt("SUCCEEDED", None, world.clock())
                world.table.mark_passed(running, ended, world.clock())
            assert "nothing left to copy" in world.refused("refused", "redrive", copy_id="run")
        case "no such job":
            world.settle()
            assert "000009" in world.refused("no_such_job", "redrive", copy_id="run", job_id="000009")
        case "passed job":
            world.settle()
            assert "nothing left" in world.refused("refused", "redrive", copy_id="run", job_id="000002")
    assert world.submissions.sent == []


@pytest.mark.parametrize(
    ("copy_id", "job_id", "new_id"),
    [("run", None, "run.r1"), ("run.r1", None, "run.r2"), ("run.r9", None, "run.r10"),
     ("run", "000003", "run.job000003"), ("run.job000003", None, "run.job000003.r1"), (".r1", None, ".r1.r1")],
)  # fmt: skip
def test_a_redrive_has_an_id_that_says_what_it_is(copy_id: str, job_id: str | None, new_id: str) -> None:
    assert redrive_id(copy_id, job_id) == new_id


# --- by message ------------------------------------------------------------------------------------------------------


def test_systems_cancel_pause_and_resume_by_a_message(world: World) -> None:
    world.submit()
    world.receive({"command": "pause", "all": True})
    assert [pause.subject for pause in world.table.pauses()] == ["all"]
    world.receive({"command": "resume", "all": True})
    assert world.table.pauses() == []
    world.submit("held", hold=True)
    before = len(world.queue.sent)
    world.receive({"command": "resume", "copy_id": "held"})
    assert {request.copy_id for request in world.queue.sent[before:]} == {"held"}
    world.receive({"command": "cancel", "copy_id": "run"})
    assert set(world.statuses()) == {JobStatus.CANCELLED}
    assert "CopyRejected" not in world.types()


@pytest.mark.parametrize(
    "body",
    [
        {"command": "cancel", "copy_id": "nobody"},
        {"command": "list"},
        {"command": "adopt", "copy_id": "run", "job_id": "000001", "ica_job_id": "x"},
        {"command": "cancel"},
    ],
)
def test_a_command_that_cannot_be_carried_out_is_rejected_and_not_the_copy(world: World, body: dict[str, Any]) -> None:
    world.submit()
    world.receive(body)
    rejected = world.bus.events[-1]
    assert (rejected.detail_type, rejected.detail["copy_id"]) == ("CopyRejected", None)
    assert world.ok("status", copy_id="run")["copy"]["status"] == "OPEN"


@pytest.mark.parametrize(
    ("body", "tags", "redrive_of"),
    [
        ({"copy_id": "bad", "manifest": {}, "tags": {"run": "42"}}, {"run": "42"}, None),
        ({"copy_id": "bad", "manifest": MANIFEST, "tags": {"run": 42}}, {}, None),
        ({"copy_id": "bad", "manifest": MANIFEST, "tags": {"run": "\ud800"}}, {}, None),
        ({"copy_id": "bad", "manifest": MANIFEST, "tags": ["run"]}, {}, None),
        ({"command": "redrive", "copy_id": "nobody"}, {}, "nobody"),
        ({"command": "redrive", "copy_id": ["nobody"]}, {}, None),
        ({"command": "cancel", "copy_id": "nobody"}, {}, None),
        ([], {}, None),
    ],
)
def test_what_is_rejected_is_known_by_its_tags_and_by_what_it_was_to_redrive_as_far_as_they_can_be_read(
    world: World, body: Any, tags: dict[str, str], redrive_of: str | None
) -> None:
    world.receive(body)
    rejected = world.bus.events[-1]
    assert (rejected.detail_type, rejected.detail["tags"]) == ("CopyRejected", tags)
    assert rejected.detail["redrive_of"] == redrive_of
    assert schema_faults("copy-rejected", rejected.detail) == []


# --- undecided launches ----------------------------------------------------------------------------------------------


def test_a_person_decides_an_undecided_launch(world: World) -> None:
    world.submit()
    adopted = world.ok("adopt", copy_id="run", job_id="000001", ica_job_id="ica-1")
    assert adopted["job"]["job_id"] == "000001"
    world.ok("release", copy_id="run", job_id="000002")
    assert world.reconcile.said == [("run", "000001", "ica-1"), ("run", "000002")]


def test_what_a_person_may_not_decide_is_refused_and_trouble_with_ica_is_told_as_such(world: World) -> None:
    world.submit()
    world.reconcile.trouble = DecisionRefused("job 000001 is not undecided")
    assert "not undecided" in world.refused("refused", "release", copy_id="run", job_id="000001")
    world.reconcile.trouble = IcaUnavailable("503")
    assert "try again" in world.refused("unavailable", "release", copy_id="run", job_id="000001")


# --- files in ICA ----------------------------------------------------------------------------------------------------


def test_the_files_of_a_folder_are_answered_and_so_is_icas_trouble(world: World) -> None:
    world.ica.add("/run/a")
    assert [each["path"] for each in world.ok("files", uri="icav2://from/run/")["files"]] == ["a"]
    assert "no file" in world.refused("refused", "files", uri="icav2://from/else/")
    world.ica.trouble("tree_pages", IcaUnavailable("down"))
    assert "down" in world.refused("unavailable", "files", uri="icav2://from/run/")
