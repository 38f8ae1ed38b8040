"""Ingest: what becomes of each kind of delivery, of the same delivery again, and of one that was cut off anywhere."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode, encodebytes
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Copy, CopyStatus, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.manifest import Limits
from icav2_copy_batch.domain.schedule import Backlog, Slots
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages import ingest
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE
from icav2_copy_batch.stages.ingest import Ingest, Ingested, OutOfTime
from tests import doubles
from tests.event_files import invocation, sample, schema_faults

FROM, TO = "b23fb516-d852-4985-adcc-831c12e8cd22", "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
MANIFEST = {
    f"icav2://{FROM}/a.txt": [f"icav2://{TO}/1/", f"icav2://{TO}/2/"],
    f"icav2://{FROM}/ü #1.txt": [f"icav2://{TO}/1/"],
}
JOBS = [
    (f"icav2://{TO}/1/", [f"icav2://{FROM}/a.txt", f"icav2://{FROM}/ü #1.txt"]),
    (f"icav2://{TO}/2/", [f"icav2://{FROM}/a.txt"]),
]
OTHER_MANIFEST = {f"icav2://{FROM}/b.txt": [f"icav2://{TO}/1/"]}
MAX_BYTES = 1_000_000
ALL_BUT_THE_LAST = 7
"""Requests that ingest makes for ``MANIFEST`` before it notes that it has: a look for the copy, the manifest, the copy,
two jobs, the event and the backlog."""
ACCEPTED, REJECTED = Ingested(accepted=1), Ingested(rejected=1)


@dataclass(kw_only=True)
class World(doubles.World):
    """Ingest, and what ICA says to names of projects."""

    limits: Limits = field(default_factory=lambda: Limits(max_manifest_bytes=MAX_BYTES))
    projects: dict[str, list[str]] = field(default_factory=lambda: {"from": [FROM], "to": [TO]})
    """Name → the ids of the projects of that name. Most tests call projects by their ids."""
    ica_trouble: IcaError | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ingest = Ingest(
            table=self.table,
            bucket=self.bucket,
            dispatch=self.dispatch,
            bus=self.bus,
            tasks=self.tasks,
            publish=self.publish,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            limits=self.limits,
            operate=self.operate,
            spread=doubles.in_turn,
            project_id=self.project_id,
        )
        self.looked_up: list[str] = []

    def project_id(self, name: str) -> str:
        """What ICA says to a name."""
        self.looked_up.append(name)
        if self.ica_trouble:
            raise self.ica_trouble
        ids = self.projects.get(name, [])
        if len(ids) != 1:
            raise IcaRefused(f"{len(ids)} projects are named {name!r}")
        return ids[0]

    def receive(self, body: object, message_id: str = "1") -> Ingested:
        return self.ingest.receive(message_id, body if isinstance(body, str) else json.dumps(body))

    def send_what_was_lost(self) -> None:
        """What the poller does once a launch message must have been lost."""
        self.clock.now += LOST_MESSAGE_AGE + timedelta(seconds=1)
        self.dispatch.send()

    def upload(self, content: object, key: str = "manifests/run.json", version_id: str = "v1") -> dict[str, Any]:
        """Put a file into our bucket; the notification of it."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.bucket.versions[self.bucket.name, key, version_id] = data
        event: dict[str, Any] = invocation("s3-object-created")
        event["detail"]["bucket"]["name"] = self.bucket.name
        event["detail"]["object"] |= {"key": key, "version-id": version_id}
        return event

    def jobs(self, copy_id: str) -> list[tuple[str, list[str]]]:
        return [(job.destination, list(job.sources)) for job in self.table.jobs(copy_id)]

    def only_copy_id(self) -> str:
        (copy_id,) = self.table.copies
        return copy_id

    def launched(self) -> list[LaunchRequest]:
        return self.queue.sent

    def rejection(self) -> dict[str, Any]:
        """The detail of the only event, which is a rejection as its schema says."""
        ((detail_type, detail),) = self.bus.events
        assert detail_type == "CopyRejected"
        assert schema_faults("copy-rejected", detail) == []
        return detail

    def settle(self, copy_id: str, status: JobStatus = JobStatus.PASSED) -> None:
        """Have every job of a copy run and end."""
        for job in list(self.table.jobs(copy_id)):
            running = doubles.run(self.table, job, self.clock(), f"ica-{job.job_id}")
            end = self.table.mark_passed if status is JobStatus.PASSED else self.table.give_up
            reason = None if status is JobStatus.PASSED else "disk full"
            assert end(running, running.ended_attempt("ENDED", reason, self.clock()), self.clock())

    def everything(self) -> dict[str, Any]:
        """The state of the world, less what is only said twice: launch messages and events of one id."""
        return deepcopy(
            {
                "copies": self.table.copies,
                "jobs": self.table.job_items,
                "backlogs": self.table.backlog_items,
                "objects": self.bucket.objects,
                "launched": set(self.queue.sent),
                "events": {detail["event_id"]: (detail_type, detail) for detail_type, detail in self.bus.events},
                "answers": self.tasks.answers,
            }
        )


@pytest.fixture
def world() -> World:
    return World()


# --- each kind of delivery -------------------------------------------------------------------------------------------


def test_a_message_with_a_manifest_becomes_a_copy_with_its_jobs_and_launch_messages(world: World) -> None:
    assert world.receive({"manifest": MANIFEST}) == ACCEPTED
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert (copy.total_jobs, copy.open_jobs, copy.passed_jobs, copy.failed_jobs) == (2, 2, 0, 0)
    assert (copy.status, copy.submitted_at, copy.task_tokens) == (
        CopyStatus.OPEN,
        timestamp(world.clock()),
        frozenset(),
    )
    assert world.jobs("sqs-1") == JOBS
    assert world.launched() == [LaunchRequest("sqs-1", "000001", 1), LaunchRequest("sqs-1", "000002", 1)]


def test_as_many_messages_are_sent_at_once_as_there_are_slots_and_the_rest_waits_in_the_backlog(world: World) -> None:
    world.ingest = replace(world.ingest, dispatch=replace(world.dispatch, slots=Slots(total=3)))
    body = {"copy_id": "run", "manifest": {f"icav2://{FROM}/a": [f"icav2://{TO}/{number}/" for number in range(5)]}}
    assert world.receive(body) == ACCEPTED
    assert [request.job_id for request in world.launched()] == ["000001", "000002", "000003"]
    (backlog,) = world.table.backlogs()
    assert (backlog.copy_id, backlog.project, backlog.next, backlog.last) == ("run", TO, 4, 5)


def test_what_was_accepted_and_not_sent_is_sent_when_it_comes_again(world: World) -> None:
    world.line.cut_after = ALL_BUT_THE_LAST + 1
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    assert world.launched() == []
    world.line.cut_after = None
    assert world.receive({"manifest": MANIFEST}) == ACCEPTED
    assert len(world.launched()) == 2


def test_what_cannot_be_sent_at_once_is_left_to_the_poller(world: World) -> None:
    """It may be another copy's: nothing of this submission is left to be done again."""

    def breaks(requests: object) -> None:
        raise RuntimeError("made by the test")

    world.queue.send = breaks  # type: ignore[method-assign]
    assert world.receive({"manifest": MANIFEST}) == ACCEPTED
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert copy.ingested_at


def test_a_message_that_was_lost_and_is_sent_again_is_counted(world: World) -> None:
    world.receive({"manifest": MANIFEST})
    world.clock.now += LOST_MESSAGE_AGE + timedelta(seconds=1)
    assert world.receive({"manifest": OTHER_MANIFEST}, "2") == Ingested(accepted=1, sent_again=2)


def test_a_rejection_sends_nothing(world: World) -> None:
    world.table.create_backlogs([Backlog("another", "to", 1, 1, "then")])
    world.receive({"manifest": {}})
    assert world.table.backlogs() != []


def test_the_jobs_are_queued_and_due_when_a_launch_message_must_have_been_lost(world: World) -> None:
    world.receive({"manifest": MANIFEST})
    for job in world.table.jobs("sqs-1"):
        assert (job.status, job.attempt, job.options) == (JobStatus.QUEUED, 1, CopyOptions())
        assert job.queued_at == timestamp(world.clock())
        assert job.due_at == timestamp(world.clock() + LOST_MESSAGE_AGE)


def test_the_start_of_a_copy_is_published_once_its_jobs_are_there(world: World) -> None:
    world.receive({"manifest": MANIFEST})
    ((detail_type, detail),) = world.bus.events
    assert detail_type == "CopyStarted"
    assert schema_faults("copy-started", detail) == []
    assert (detail["copy_id"], detail["total_jobs"]) == ("sqs-1", 2)


def test_a_manifest_that_came_in_a_message_is_kept_where_the_event_says(world: World) -> None:
    world.receive({"manifest": MANIFEST, "task_token": "secret"})
    assert world.bus.events[0].detail["manifest_uri"] == "s3://our-bucket/submitted/sqs-1.json"
    assert json.loads(world.bucket["submitted/sqs-1.json"]) == MANIFEST


def test_a_message_with_base64_of_gzip_is_the_same_copy_as_the_plain_one(world: World) -> None:
    packed = b64encode(gzip.compress(json.dumps(MANIFEST).encode())).decode()
    assert world.receive({"manifest_b64gz": packed, "copy_id": "run"}) == ACCEPTED
    assert world.jobs("run") == JOBS
    assert json.loads(world.bucket["submitted/sqs-1.json"]) == MANIFEST
    assert world.receive({"manifest": MANIFEST, "copy_id": "run"}, "2") == ACCEPTED
    assert len(world.bus.events) == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_message_with_a_manifest_uri_has_it_read_and_not_kept_again(world: World, pack: Any) -> None:
    world.bucket.objects["their-bucket", "runs/a b.json"] = pack(json.dumps(MANIFEST).encode())
    assert world.receive({"manifest_uri": "s3://their-bucket/runs/a b.json"}) == ACCEPTED
    assert world.jobs("sqs-1") == JOBS
    assert world.bus.events[0].detail["manifest_uri"] == "s3://their-bucket/runs/a b.json"
    assert world.bucket.keys() == set()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_uploaded_manifest_becomes_a_copy_called_after_the_upload(world: World, pack: Any) -> None:
    assert world.receive(world.upload(pack(json.dumps(MANIFEST).encode()), "manifests/ü #1+2.json")) == ACCEPTED
    copy_id = world.only_copy_id()
    assert copy_id.startswith("s3-")
    assert world.jobs(copy_id) == JOBS
    assert world.bus.events[0].detail["manifest_uri"] == "s3://our-bucket/manifests/ü #1+2.json"
    assert world.bucket.keys() == set()


def test_an_upload_is_read_in_the_version_that_was_uploaded(world: World) -> None:
    event = world.upload(MANIFEST, version_id="v1")
    world.upload(OTHER_MANIFEST, version_id="v2")
    world.receive(event)
    assert world.jobs(world.only_copy_id()) == JOBS


def test_an_upload_may_be_a_message(world: World) -> None:
    body = {"manifest": MANIFEST, "copy_id": "run-288", "action_on_exist": "OVERWRITE", "task_token": "token"}
    assert world.receive(world.upload(body)) == ACCEPTED
    copy = world.table.get_copy("run-288")
    assert copy
    assert copy.manifest_uri == "s3://our-bucket/manifests/run.json"
    assert copy.task_tokens == {"token"}
    assert {job.options.action_on_exist for job in world.table.jobs("run-288")} == {"OVERWRITE"}


def test_a_notification_of_several_uploads_is_several_submissions(world: World) -> None:
    notification = invocation("s3-notification")
    contents = [MANIFEST, OTHER_MANIFEST]
    keys = ["manifests/240229 run #1+2 100%.json", "manifests/2024/Übersicht.json.gz"]
    for key, content in zip(keys, contents, strict=True):
        world.bucket.objects["icav2-copy-batch-manifests", key] = json.dumps(content).encode()
    assert world.receive(notification) == Ingested(accepted=2)
    assert sorted(copy.copy.total_jobs for copy in world.table.copies.values()) == [1, 2]
    assert [event.detail_type for event in world.bus.events] == ["CopyStarted", "CopyStarted"]


def test_a_bad_upload_does_not_hold_up_the_good_one_beside_it(world: World) -> None:
    keys = ["manifests/240229 run #1+2 100%.json", "manifests/2024/Übersicht.json.gz"]
    for key, content in zip(keys, [b"nonsense", json.dumps(MANIFEST).encode()], strict=True):
        world.bucket.objects["icav2-copy-batch-manifests", key] = content
    assert world.receive(invocation("s3-notification")) == Ingested(accepted=1, rejected=1)
    assert [event.detail_type for event in world.bus.events] == ["CopyRejected", "CopyStarted"]


@pytest.mark.parametrize(
    "body",
    [
        invocation("s3-test-event"),
        {**invocation("s3-object-created"), "detail-type": "Object Deleted"},
        {
            **invocation("s3-object-created"),
            "detail": {"bucket": {"name": "our-bucket"}, "object": {"key": "rejected/sqs-1/problems.json"}},
        },
    ],
    ids=["test event", "deletion", "outside manifests/"],
)
def test_a_notification_about_no_manifest_is_dealt_with_by_doing_nothing(world: World, body: object) -> None:
    assert world.receive(body) == Ingested()
    assert world.line.requests == 0


def test_options_are_handed_on_to_every_job(world: World) -> None:
    options = {"action_on_exist": "RENAME", "copy_user_tags": False, "copy_technical_tags": True}
    world.receive({"manifest": MANIFEST, **options})
    assert [job.options for job in world.table.jobs("sqs-1")] == [CopyOptions("RENAME", copy_user_tags=False)] * 2


@pytest.mark.parametrize("name", ["message-manifest", "message-manifest-b64gz", "message-with-all-options"])
def test_each_sample_of_a_message_is_accepted(world: World, name: str) -> None:
    assert world.receive(sample(name)) == ACCEPTED


def test_a_task_that_waits_is_not_answered_before_its_copy_settles(world: World) -> None:
    world.receive({"manifest": MANIFEST, "task_token": "token"})
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert copy.task_tokens == {"token"}
    assert world.tasks.answers == {}


# --- the same again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [{"manifest": MANIFEST}, {"manifest": MANIFEST, "copy_id": "run", "task_token": "token"}]
)
def test_a_redelivered_message_starts_nothing_new(world: World, body: dict[str, Any]) -> None:
    world.receive(body)
    before, sent = world.everything(), list(world.queue.sent)
    world.clock.forward(minutes=4)
    assert world.receive(body) == ACCEPTED
    assert world.everything() == before
    assert world.queue.sent == sent
    assert len(world.bus.events) == 1


def test_a_redelivered_upload_starts_nothing_new_however_it_is_notified(world: World) -> None:
    event = world.upload(MANIFEST)
    world.receive(event)
    before = world.everything()
    world.receive(event, "another message")
    record = invocation("s3-notification")["Records"][0]
    record["s3"]["bucket"]["name"] = world.bucket.name
    record["s3"]["object"] |= {"key": "manifests/run.json", "versionId": "v1"}
    world.receive({"Records": [record]}, "a third")
    assert world.everything() == before


def test_a_file_uploaded_anew_is_another_copy(world: World) -> None:
    world.receive(world.upload(MANIFEST, version_id="v1"))
    world.receive(world.upload(MANIFEST, version_id="v2"))
    assert len(world.table.copies) == 2


def test_the_same_message_sent_twice_by_its_client_is_two_copies(world: World) -> None:
    world.receive({"manifest": MANIFEST}, "1")
    world.receive({"manifest": MANIFEST}, "2")
    assert set(world.table.copies) == {"sqs-1", "sqs-2"}


def test_jobs_that_have_moved_on_are_not_reset_by_a_redelivery(world: World) -> None:
    world.line.cut_after = ALL_BUT_THE_LAST
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    world.line.cut_after = None
    world.settle("sqs-1")
    jobs = list(world.table.jobs("sqs-1"))
    assert world.receive({"manifest": MANIFEST}) == ACCEPTED
    assert list(world.table.jobs("sqs-1")) == jobs
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert (copy.open_jobs, copy.passed_jobs) == (0, 2)


CRASHED_BODIES = {
    "accepted": {"manifest": MANIFEST, "task_token": "token"},
    "accepted from S3": {"manifest_uri": "s3://their-bucket/run.json", "copy_id": "run"},
    "rejected": {"manifest": {"nonsense": []}, "task_token": "token"},
}


@pytest.mark.parametrize("body", CRASHED_BODIES.values(), ids=CRASHED_BODIES)
def test_killed_after_any_request_and_delivered_again_it_ends_in_the_same(body: dict[str, Any]) -> None:
    def fresh(cut_after: int | None = None) -> World:
        world = World(line=doubles.Line(cut_after=cut_after))
        world.bucket.objects["their-bucket", "run.json"] = json.dumps(MANIFEST).encode()
        return world

    undisturbed = fresh()
    undisturbed.receive(body)
    requests = undisturbed.line.requests
    assert requests >= 4
    undisturbed.send_what_was_lost()
    for cut_after in range(1, requests + 1):
        world = fresh(cut_after)
        with suppress(doubles.LineCut):  # not raised where it is the poller's to go on
            world.receive(body)
        world.line.cut_after = None
        world.receive(body)
        world.send_what_was_lost()
        assert world.everything() == undisturbed.everything(), f"killed after request {cut_after} of {requests}"


def test_killed_again_and_again_it_gets_to_the_end(world: World) -> None:
    undisturbed = World()
    undisturbed.receive({"manifest": MANIFEST})
    for cut_after in range(1, 30):
        world.line.requests, world.line.cut_after = 0, cut_after
        try:
            world.receive({"manifest": MANIFEST})
        except doubles.LineCut:
            continue
        break
    world.line.cut_after = None
    world.receive({"manifest": MANIFEST})  # the last one may have died where it is the poller's to go on
    undisturbed.send_what_was_lost()
    world.send_what_was_lost()
    assert world.everything() == undisturbed.everything()


class SlowTable(doubles.Table):
    """A table for which an invocation has time for two portions of jobs."""

    def __init__(self, world: World) -> None:
        super().__init__(world.line)
        self.world, self.firsts = world, list[int]()

    def create_jobs(self, *arguments: Any, first: int = 1) -> None:
        self.firsts.append(first)
        self.world.seconds_left -= 430
        super().create_jobs(*arguments, first=first)  # type: ignore[misc]


def test_more_jobs_than_one_invocation_can_write_are_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "PORTION", 10)
    slow = SlowTable(world)
    world.ingest = replace(world.ingest, table=slow, dispatch=replace(world.dispatch, table=slow))
    world.table = slow
    body = {"manifest": {f"icav2://{FROM}/a": [f"icav2://{TO}/{number}/" for number in range(25)]}}
    with pytest.raises(OutOfTime, match="20 of 25 jobs are written"):
        world.receive(body)
    assert world.queue.sent == []
    world.seconds_left = 900
    assert world.receive(body) == ACCEPTED
    assert slow.firsts == [1, 11, 11, 21], "only the last portion may have been left half done"
    assert [job.job_id for job in slow.jobs("sqs-1")] == [f"{number:06d}" for number in range(1, 26)]
    assert [sent.job_id for sent in world.queue.sent] == [f"{number:06d}" for number in range(1, 26)]


def test_nothing_is_launched_before_all_jobs_are_there() -> None:
    for cut_after in range(1, 6):  # a look, the manifest, the copy and two jobs
        world = World(line=doubles.Line(cut_after=cut_after))
        with pytest.raises(doubles.LineCut):
            world.receive({"manifest": MANIFEST})
        assert world.queue.sent == []
    assert len(world.table.job_items) == 2


def test_the_start_that_is_published_again_is_word_for_word_the_same(world: World) -> None:
    world.line.cut_after = ALL_BUT_THE_LAST
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    world.line.cut_after = None
    world.clock.forward(hours=2)
    world.receive({"manifest": MANIFEST})
    first, second = world.bus.events
    assert first == second


def test_the_start_that_is_published_again_is_the_same_even_when_the_copy_has_settled(world: World) -> None:
    world.line.cut_after = ALL_BUT_THE_LAST
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    world.line.cut_after = None
    world.settle("sqs-1")
    world.publish.publish("sqs-1")
    world.receive({"manifest": MANIFEST})
    started = [event.detail for event in world.bus.events if event.detail_type == "CopyStarted"]
    assert len(started) == 1 or started[0] == started[1]


# --- projects by name ------------------------------------------------------------------------------------------------

BY_NAME = {
    "icav2://from/a.txt": ["icav2://to/1/", "icav2://to/2/"],
    f"icav2://{FROM.upper()}/ü #1.txt": [f"icav2://{TO}/1/"],
}
"""``MANIFEST``, its projects called as a person may call them."""


def test_a_manifest_of_ids_alone_asks_ica_nothing(world: World) -> None:
    world.ica_trouble = IcaUnavailable("down")
    assert world.receive({"manifest": MANIFEST}) == ACCEPTED
    assert world.looked_up == []
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert copy.project_names == {}


def test_the_jobs_and_their_backlogs_have_the_ids_of_projects_called_by_name(world: World) -> None:
    world.ingest = replace(world.ingest, dispatch=replace(world.dispatch, slots=Slots(total=1)))
    assert world.receive({"manifest": BY_NAME}) == ACCEPTED
    assert world.looked_up == ["from", "to"], "each once"
    assert world.jobs("sqs-1") == JOBS
    assert [backlog.project for backlog in world.table.backlogs()] == [TO]
    assert json.loads(world.bucket["submitted/sqs-1.json"]) == BY_NAME, "as it was sent"
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert copy.project_names == {FROM: "from", TO: "to"}


def test_the_same_manifest_with_projects_called_otherwise_is_the_same_copy(world: World) -> None:
    world.receive({"manifest": BY_NAME, "copy_id": "run"}, "1")
    assert world.receive({"manifest": MANIFEST, "copy_id": "run"}, "2") == ACCEPTED
    assert [event.detail_type for event in world.bus.events] == ["CopyStarted"]


def test_what_is_said_of_a_copy_calls_its_projects_as_its_client_does(world: World) -> None:
    world.receive({"manifest": BY_NAME})
    world.settle("sqs-1", JobStatus.FAILED)
    world.publish.publish("sqs-1")
    result = json.loads(world.bucket["results/sqs-1.json"])
    assert [job["dest_uri"] for job in result["job_list_with_attempt_counter"]] == ["icav2://to/1/", "icav2://to/2/"]
    assert [job["source_uris"] for job in result["job_list_with_attempt_counter"]] == [
        ["icav2://from/a.txt", "icav2://from/ü #1.txt"],
        ["icav2://from/a.txt"],
    ]
    assert [job["dest_uri"] for job in result["failed_jobs"]] == ["icav2://to/1/", "icav2://to/2/"]


def test_all_projects_that_cannot_be_found_are_named_with_where_they_stand(world: World) -> None:
    world.projects["twice"] = [FROM, TO]
    manifest = {
        "icav2://unknown/a.txt": ["icav2://to/1/", "icav2://twice/2/"],
        "icav2://unknown/b.txt": ["icav2://nobody/1/"],
        "nonsense": ["icav2://to/1/"],
    }
    assert world.receive({"manifest": manifest}) == REJECTED
    assert world.rejection()["problem_count"] == 4
    assert [tuple(each.values()) for each in world.rejection()["problems"]] == [
        ("icav2://unknown/a.txt", "is in a project that cannot be found: 0 projects are named 'unknown'"),
        ("icav2://twice/2/", "is in a project that cannot be found: 2 projects are named 'twice'"),
        ("icav2://nobody/1/", "is in a project that cannot be found: 0 projects are named 'nobody'"),
        ("nonsense", "does not start with icav2://"),
    ]
    assert world.table.copies == {}
    assert sorted(world.looked_up) == ["nobody", "to", "twice", "unknown"], "each once"


def test_while_ica_cannot_be_asked_for_a_name_the_message_comes_again_and_nothing_is_said(world: World) -> None:
    world.ica_trouble = IcaUnavailable("ICA answered 503")
    with pytest.raises(IcaUnavailable):
        world.receive({"manifest": BY_NAME, "task_token": "token"})
    assert (world.bus.events, world.tasks.answers, world.table.copies) == ([], {}, {})
    world.ica_trouble = None
    assert world.receive({"manifest": BY_NAME, "task_token": "token"}) == ACCEPTED
    assert world.jobs("sqs-1") == JOBS


@pytest.mark.parametrize("cut_after", [4, ALL_BUT_THE_LAST, None], ids=["half written", "all but noted", "done"])
def test_a_copy_that_is_there_knows_its_projects_whatever_has_become_of_their_names(
    world: World, cut_after: int | None
) -> None:
    world.line.cut_after = cut_after
    with suppress(doubles.LineCut):
        world.receive({"manifest": BY_NAME})
    assert world.only_copy_id() == "sqs-1"
    world.line.cut_after = None
    world.looked_up.clear()
    world.projects = {"from": ["another project", "and another"]}
    assert world.receive({"manifest": BY_NAME}) == ACCEPTED
    assert world.looked_up == []
    assert world.jobs("sqs-1") == JOBS
    assert [event.detail_type for event in world.bus.events if event.detail_type != "CopyStarted"] == []


# --- which manifest a sender may name --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["results/other.json", "rejected/sqs-9/submission", "submitted/sqs-9.json", "manifest"])
def test_what_the_stack_keeps_for_others_cannot_be_named_as_a_manifest(world: World, key: str) -> None:
    world.bucket.objects["our-bucket", key] = json.dumps(MANIFEST).encode()
    assert world.receive({"manifest_uri": f"s3://our-bucket/{key}", "copy_id": "run"}) == REJECTED
    assert world.rejection()["problems"] == [
        {"about": f"s3://our-bucket/{key}", "problem": "may not be read as a manifest; upload it under manifests/"}
    ]


def test_a_manifest_that_was_uploaded_can_be_named(world: World) -> None:
    world.bucket.objects["our-bucket", "manifests/run.json"] = json.dumps(MANIFEST).encode()
    assert world.receive({"manifest_uri": "s3://our-bucket/manifests/run.json"}) == ACCEPTED


def test_a_copy_that_was_begun_is_finished_by_the_manifest_uri_that_its_events_name(world: World) -> None:
    world.line.cut_after = 4
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    world.line.cut_after = None
    begun = world.table.get_copy("sqs-1")
    assert begun
    assert begun.manifest_uri == "s3://our-bucket/submitted/sqs-1.json"
    another = {"copy_id": "another", "manifest_uri": begun.manifest_uri}
    assert world.receive(another, "2") == REJECTED
    assert world.receive({"copy_id": "sqs-1", "manifest_uri": begun.manifest_uri}, "3") == ACCEPTED
    assert world.jobs("sqs-1") == JOBS


# --- the client's own copy id ----------------------------------------------------------------------------------------


def test_the_clients_copy_id_with_the_same_manifest_is_answered_by_the_copy_that_is_there(world: World) -> None:
    world.receive({"manifest": MANIFEST, "copy_id": "run"}, "1")
    assert world.receive({"manifest": MANIFEST, "copy_id": "run"}, "2") == ACCEPTED
    assert set(world.table.copies) == {"run"}
    assert len(world.bus.events) == 1
    assert len(world.queue.sent) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"manifest": OTHER_MANIFEST},
        {"manifest": MANIFEST, "action_on_exist": "OVERWRITE"},
        {"manifest": MANIFEST, "copy_user_tags": False},
    ],
    ids=["another manifest", "another action", "another flag"],
)
def test_the_clients_copy_id_with_something_else_is_refused_and_the_copy_left_alone(
    world: World, other: dict[str, Any]
) -> None:
    world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "first"}, "1")
    table = deepcopy(world.table)
    assert world.receive({**other, "copy_id": "run", "task_token": "second"}, "2") == REJECTED
    assert world.table == table
    assert len(world.queue.sent) == 2
    assert world.bus.events[1].detail["problems"] == [
        {"about": "run", "problem": "is the copy_id of another manifest; choose another one, or omit it"}
    ]
    assert set(world.tasks.answers) == {"second"}


@pytest.mark.parametrize(
    "same",
    [
        {"manifest": {source: to[::-1] for source, to in reversed(MANIFEST.items())}},
        {"manifest_b64gz": encodebytes(gzip.compress(json.dumps(MANIFEST).encode())).decode()},
        {"manifest": MANIFEST, "action_on_exist": "SKIP", "copy_user_tags": True},
    ],
    ids=["another order", "packed", "defaults"],
)
def test_the_same_content_is_answered_by_the_copy_that_is_there_however_it_is_said(
    world: World, same: dict[str, Any]
) -> None:
    world.receive({"manifest": MANIFEST, "copy_id": "run"}, "1")
    assert world.receive({**same, "copy_id": "run"}, "2") == ACCEPTED
    assert [event.detail_type for event in world.bus.events] == ["CopyStarted"]
    assert world.jobs("run") == JOBS


CHANGED_PARAMETERS = {
    "fewer sources a job": (Limits(), Limits(max_sources_per_job=1)),
    "more sources a job": (Limits(max_sources_per_job=1), Limits()),
    "no copies within a project": (Limits(allow_same_project=True), Limits()),
}


@pytest.mark.parametrize("cut_after", [3, 4, 5, ALL_BUT_THE_LAST - 1, None])
@pytest.mark.parametrize(("before", "after"), CHANGED_PARAMETERS.values(), ids=CHANGED_PARAMETERS)
def test_what_was_begun_under_other_parameters_is_finished_as_it_was_begun(
    before: Limits, after: Limits, cut_after: int | None
) -> None:
    body = {
        "manifest": {**MANIFEST, f"icav2://{TO}/c": [f"icav2://{TO}/1/"]} if before.allow_same_project else MANIFEST
    }
    undisturbed, world = World(limits=before), World(limits=before)
    undisturbed.receive(body)
    world.line.cut_after = cut_after
    with suppress(doubles.LineCut):
        world.receive(body)
    assert world.only_copy_id() == "sqs-1"
    world.line.cut_after = None
    world.ingest = replace(world.ingest, limits=after)
    assert world.receive(body) == ACCEPTED
    assert world.receive(body) == ACCEPTED
    undisturbed.send_what_was_lost()
    world.send_what_was_lost()
    assert world.everything() == undisturbed.everything()


def test_a_copy_is_not_finished_in_a_plan_that_is_not_its_own(world: World) -> None:
    """Should a release of ours ever plan otherwise: some sources would be copied twice, others never."""
    world.line.cut_after = 4
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    world.line.cut_after = None
    world.ingest = replace(world.ingest, limits=replace(world.limits, max_sources_bytes=1))
    with pytest.raises(RuntimeError, match="was begun with 2 jobs and now has 3"):
        world.receive({"manifest": MANIFEST})


def test_of_two_that_submit_a_copy_at_one_moment_the_second_finds_that_of_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = world.table.create_copy

    def another_is_faster(copy: Copy) -> Copy | None:
        monkeypatch.undo()
        world.ingest = replace(world.ingest, limits=Limits(max_sources_per_job=1))
        world.receive({"manifest": MANIFEST, "copy_id": "run"}, "2")
        return create(copy)

    monkeypatch.setattr(world.table, "create_copy", another_is_faster)
    assert world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "token"}, "1") == ACCEPTED
    copy = world.table.get_copy("run")
    assert copy
    assert (copy.total_jobs, copy.task_tokens) == (3, frozenset({"token"}))
    assert [event.detail_type for event in world.bus.events] == ["CopyStarted"]


def test_a_second_task_that_waits_for_a_copy_is_answered_with_the_first(world: World) -> None:
    world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "first"}, "1")
    world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "second"}, "2")
    assert world.tasks.answers == {}
    world.settle("run")
    world.publish.publish("run")
    assert {token: type(answer) for token, answer in world.tasks.answers.items()} == {
        "first": doubles.Succeeded,
        "second": doubles.Succeeded,
    }


@pytest.mark.parametrize(
    ("status", "answer"), [(JobStatus.PASSED, doubles.Succeeded), (JobStatus.FAILED, doubles.Failed)]
)
def test_a_task_that_comes_to_wait_after_the_publication_is_answered_at_once(
    world: World, status: JobStatus, answer: type
) -> None:
    world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "first"}, "1")
    world.settle("run", status)
    world.publish.publish("run")
    events = list(world.bus.events)
    assert world.receive({"manifest": MANIFEST, "copy_id": "run", "task_token": "late"}, "2") == ACCEPTED
    assert isinstance(world.tasks.answers["late"], answer)
    assert world.tasks.answers["late"][1:] == world.tasks.answers["first"][1:]
    assert world.bus.events == events


# --- rejections ------------------------------------------------------------------------------------------------------


def test_a_rejected_message_is_kept_with_its_problems(world: World) -> None:
    body = json.dumps(
        {"manifest": {"nonsense": [f"icav2://{TO}/1/"], f"icav2://{FROM}/a.txt": [f"icav2://{TO}/file"]}}, indent=3
    )
    assert world.receive(body) == REJECTED
    assert world.bucket["rejected/sqs-1/submission"] == body.encode()
    problems = [
        {"about": "nonsense", "problem": "does not start with icav2://"},
        {"about": f"icav2://{TO}/file", "problem": "is a destination, which must be a folder: end it with /"},
    ]
    assert json.loads(world.bucket["rejected/sqs-1/problems.json"]) == {"problem_count": 2, "problems": problems}
    detail = world.rejection()
    assert detail["problems"] == problems
    assert detail["submission_uri"] == "s3://our-bucket/rejected/sqs-1/submission"
    assert detail["problems_uri"] == "s3://our-bucket/rejected/sqs-1/problems.json"
    assert (detail["submission_id"], detail["copy_id"], detail["upload_uri"]) == ("sqs-1", None, None)


def test_of_a_rejected_submission_nothing_is_copied(world: World) -> None:
    world.receive({"manifest": {**MANIFEST, "nonsense": []}})
    assert world.table == doubles.Table(world.line)
    assert world.queue.sent == []
    assert world.bucket.keys() == {"rejected/sqs-1/submission", "rejected/sqs-1/problems.json"}


def test_a_rejection_is_found_by_the_id_of_the_copy_that_was_asked_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.receive({"manifest": {"nonsense": []}, "copy_id": "run-42"})
    kept = json.loads(world.bucket["rejected/copies/run-42.json"])
    assert kept == {
        "submission_id": "sqs-1",
        "rejected_at": timestamp(world.clock()),
        **json.loads(world.bucket["rejected/sqs-1/problems.json"]),
    }
    assert [getattr(record, "copy_id", None) for record in caplog.records] == ["run-42"], "logs find it too"


@pytest.mark.parametrize(
    "body",
    [
        {"manifest": MANIFEST, "copy_id": "../submitted/sqs-1"},
        {"manifest": MANIFEST, "copy_id": 7},
        {"command": "cancel", "copy_id": "run-42"},
    ],
)
def test_what_can_be_no_copys_id_leads_to_no_rejection(world: World, body: object) -> None:
    assert world.receive(body) == REJECTED
    stored = world.bucket.keys()
    assert not [key for key in stored if key.startswith("rejected/copies/")]


def test_a_rejected_upload_is_kept_in_the_version_that_was_uploaded(world: World) -> None:
    event = world.upload(b"nonsense", "manifests/run.json", "v1")
    world.upload(MANIFEST, "manifests/run.json", "v2")
    assert world.receive(event) == REJECTED
    detail = world.rejection()
    submission_id = detail["submission_id"]
    assert world.bucket[f"rejected/{submission_id}/submission"] == b"nonsense"
    assert detail["submission_uri"] == f"s3://our-bucket/rejected/{submission_id}/submission"
    assert detail["upload_uri"] == "s3://our-bucket/manifests/run.json"
    assert detail["problems"][0]["about"] == "s3://our-bucket/manifests/run.json"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{}", "is empty: it names no source"),
        (b"[]", "must be an object of source to destinations, not a list"),
        (b"null", "must be an object of source to destinations, not null"),
    ],
)
def test_an_upload_of_nothing_is_rejected_as_such(world: World, content: bytes, problem: str) -> None:
    assert world.receive(world.upload(content)) == REJECTED
    assert world.rejection()["problems"] == [{"about": "manifest", "problem": problem}]


def test_an_upload_that_is_gone_is_rejected_and_there_is_nothing_to_keep(world: World) -> None:
    event = world.upload(MANIFEST)
    world.bucket.versions.clear()
    assert world.receive(event) == REJECTED
    assert world.rejection()["submission_uri"] is None
    assert world.rejection()["problems"] == [
        {"about": "s3://our-bucket/manifests/run.json", "problem": "does not exist, or not any more"}
    ]


def test_a_hundred_problems_are_kept_although_the_event_has_no_room_for_them(world: World) -> None:
    world.receive({"manifest": {f"{number} {'x' * 900}": [f"icav2://{TO}/1/"] for number in range(150)}})
    kept = json.loads(world.bucket["rejected/sqs-1/problems.json"])
    assert (kept["problem_count"], len(kept["problems"])) == (150, 100)
    detail = world.rejection()
    assert detail["problem_count"] == 150
    assert 0 < len(detail["problems"]) < 100


REJECTED_BODIES: dict[str, tuple[object, str, str]] = {
    "no JSON": ("run this", "message", "is not JSON: "),
    "empty": ("", "message", "is not JSON: "),
    "surrogate": ('"\ud800"', "message", "is not UTF-8 text: "),
    "duplicate source": (
        '{"manifest": {"icav2://f/a": [], "icav2://f/a": []}}',
        "icav2://f/a",
        "is a key more than once",
    ),
    "no object": ([MANIFEST], "message", "must be a JSON object, not a list"),
    "bare map": (MANIFEST, f"icav2://{FROM}/", "is not a known key"),
    "unknown key": ({"manifest": MANIFEST, "typo": 1}, "typo", "is not a known key"),
    "no manifest": ({"copy_id": "run"}, "message", "must have exactly one of"),
    "two manifests": ({"manifest": MANIFEST, "manifest_b64gz": ""}, "message", "must have exactly one of"),
    "wrong type": ({"manifest": MANIFEST, "copy_user_tags": "no"}, "copy_user_tags", "must be true or false"),
    "null": ({"manifest": None}, "manifest", "must be an object of source to destinations, not null"),
    "empty map": ({"manifest": {}}, "manifest", "is empty"),
    "bad base64": ({"manifest_b64gz": "!"}, "manifest_b64gz", "is not base64: "),
    "cut gzip": ({"manifest_b64gz": "H4sI"}, "manifest_b64gz", "is incomplete gzip"),
    "bomb": (
        {"manifest_b64gz": b64encode(gzip.compress(b" " * (MAX_BYTES + 1))).decode()},
        "manifest_b64gz",
        "decompresses to more than 1,000,000 bytes",
    ),
    "no file": ({"manifest_uri": "s3://their-bucket/no"}, "s3://their-bucket/no", "does not exist"),
    "large file": ({"manifest_uri": "s3://their-bucket/large"}, "s3://their-bucket/large", "is larger than 1,000,000"),
    "other file": ({"manifest_uri": "s3://their-bucket/text"}, "s3://their-bucket/text", "is not JSON: "),
    "same project": (
        {"manifest": {f"icav2://{TO}/a": [f"icav2://{TO}/b/"]}},
        f"icav2://{TO}/a",
        f"is in the same project as its destination icav2://{TO}/b/",
    ),
}


@pytest.mark.parametrize(("body", "about", "problem"), REJECTED_BODIES.values(), ids=REJECTED_BODIES)
def test_a_wrong_message_is_rejected_with_what_is_wrong(world: World, body: object, about: str, problem: str) -> None:
    world.bucket.objects["their-bucket", "large"] = b" " * (MAX_BYTES + 1)
    world.bucket.objects["their-bucket", "text"] = b"nonsense"
    assert world.receive(body) == REJECTED
    first = world.rejection()["problems"][0]
    assert first["about"].startswith(about)
    assert first["problem"].startswith(problem)
    assert world.table.copies == {}


@pytest.mark.parametrize("copy_id", ["run-288", "no copy id!"])
def test_a_rejection_names_the_copy_id_that_was_sent(world: World, copy_id: str) -> None:
    world.receive({"manifest": {}, "copy_id": copy_id})
    assert world.rejection()["copy_id"] == copy_id


@pytest.mark.parametrize("copy_id", [1, None, ["run"], {}])
def test_a_rejection_leaves_out_a_copy_id_that_is_none(world: World, copy_id: object) -> None:
    world.receive({"manifest": {}, "copy_id": copy_id})
    assert world.rejection()["copy_id"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"manifest": {}, "task_token": "token"},
        {"task_token": "token"},
        {"manifest": MANIFEST, "typo": 1, "task_token": "token"},
        {"manifest_b64gz": "!", "task_token": "token"},
    ],
)
@pytest.mark.parametrize("uploaded", [False, True])
def test_the_task_of_a_rejected_submission_fails_with_the_detail_of_the_event(
    world: World, body: dict[str, Any], uploaded: bool
) -> None:
    assert world.receive(world.upload(body) if uploaded else body) == REJECTED
    assert world.tasks.answers == {"token": doubles.Failed("token", "CopyRejected", world.rejection())}


def test_a_redelivered_rejection_says_the_same_under_the_same_id(world: World) -> None:
    world.receive({"manifest": {}})
    objects = dict(world.bucket.objects)
    world.clock.forward(hours=2)
    world.receive({"manifest": {}})
    first, second = (event.detail for event in world.bus.events)
    assert first["event_id"] == second["event_id"]
    assert {**first, "rejected_at": None} == {**second, "rejected_at": None}
    assert world.bucket.objects == objects


def test_a_copy_within_a_project_is_accepted_where_the_limits_allow_it() -> None:
    world = World(limits=Limits(allow_same_project=True))
    assert world.receive({"manifest": {f"icav2://{TO}/a": [f"icav2://{TO}/b/"]}}) == ACCEPTED


def test_trouble_that_is_not_the_clients_is_not_answered_by_a_rejection(world: World) -> None:
    world.line.cut_after = 0
    with pytest.raises(doubles.LineCut):
        world.receive({"manifest": MANIFEST})
    assert world.bus.events == []


BROKEN_NOTIFICATIONS: dict[str, dict[str, Any]] = {
    "record without s3": {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]},
    "record without object": {
        "Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "bucket"}}}]
    },
    "s3 that is no object": {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": "bucket"}]},
    "event without bucket": {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": "k"}}},
    "key that is no string": {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "bucket"}, "object": {"key": 1}},
    },
}


@pytest.mark.parametrize("body", BROKEN_NOTIFICATIONS.values(), ids=BROKEN_NOTIFICATIONS)
def test_a_notification_without_its_parts_is_rejected(world: World, body: dict[str, Any]) -> None:
    assert world.receive(body) == REJECTED


def test_a_message_with_an_endless_copy_id_is_rejected(world: World) -> None:
    assert world.receive({"manifest": MANIFEST, "copy_id": "x" * 300_000}) == REJECTED


DUPLICATE = b'{"icav2://f/a": ["icav2://t/1/"], "icav2://f/a": ["icav2://t/2/"]}'


@pytest.mark.parametrize("uploaded", [False, True])
@pytest.mark.parametrize("brought", ["manifest", "manifest_b64gz", "manifest_uri"])
def test_the_task_of_a_message_with_a_duplicate_source_key_fails(world: World, brought: str, uploaded: bool) -> None:
    world.bucket.objects["their-bucket", "run.json"] = DUPLICATE
    value = {
        "manifest": DUPLICATE.decode(),
        "manifest_b64gz": json.dumps(b64encode(gzip.compress(DUPLICATE)).decode()),
        "manifest_uri": '"s3://their-bucket/run.json"',
    }[brought]
    body = f'{{"{brought}": {value}, "copy_id": "run", "task_token": "token"}}'
    assert world.receive(world.upload(body.encode()) if uploaded else body) == REJECTED
    detail = world.rejection()
    assert [problem["about"] for problem in detail["problems"]] == ["icav2://f/a"]
    assert detail["copy_id"] == "run"
    assert world.tasks.answers == {"token": doubles.Failed("token", "CopyRejected", detail)}


@pytest.mark.parametrize("key", ["manifest_uri", "task_token"])
def test_a_message_with_text_that_cannot_be_encoded_is_rejected(world: World, key: str) -> None:
    body = {"manifest_uri": "s3://bucket/\ud800"} if key == "manifest_uri" else {"manifest": MANIFEST, key: "\ud800"}
    world.bucket.objects["bucket", "\ud800"] = json.dumps(MANIFEST).encode()
    assert world.receive(body) == REJECTED


# --- counting --------------------------------------------------------------------------------------------------------


def test_what_was_ingested_adds_up() -> None:
    assert Ingested(1, 2) + Ingested(3, 4) == Ingested(4, 6)


def test_time_is_taken_from_the_clock_that_is_passed_in(world: World) -> None:
    world.clock.forward(days=-1000)
    world.receive({"manifest": MANIFEST})
    copy = world.table.get_copy("sqs-1")
    assert copy
    assert copy.submitted_at == copy.ingested_at == timestamp(world.clock())
    assert replace(copy, ingested_at=None).submitted_at < timestamp(doubles.Clock().now - timedelta(days=999))
