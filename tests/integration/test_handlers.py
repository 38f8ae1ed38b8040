"""The five handlers as Lambda calls them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from icav2_copy_batch.adapters.ica.http import TOKEN_REFUSED
from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.ica import JOB_STATUS_CHANGED, VERDICTS, Verdict
from icav2_copy_batch.domain.job import HoldReason, JobStatus
from icav2_copy_batch.domain.stops import Stops
from icav2_copy_batch.handlers import container as wiring
from icav2_copy_batch.handlers import publish
from icav2_copy_batch.handlers.container import Event
from icav2_copy_batch.handlers.launch import METRICS
from icav2_copy_batch.stages.launch import End
from icav2_copy_batch.stages.verify import PATIENCE
from tests.doubles.simulated_ica import TOKEN
from tests.event_files import invocation, schema_faults
from tests.integration import clients, template
from tests.integration.aws_calls import json_answer, text_of
from tests.integration.pipeline import (
    BUCKET,
    HANDLES,
    SCHEDULED,
    SECONDS_LEFT,
    Pipeline,
    available,
    metrics_in,
)
from tests.integration.template import TABLE_NAME
from tests.outgoing_events import as_sent

# --- all the way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["message", "upload", "uploaded message"])
def test_a_manifest_goes_all_the_way(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    manifest = pipeline.manifest("x", "y")
    if way == "message":
        pipeline.submit({"manifest": manifest})
    else:
        pipeline.upload(manifest if way == "upload" else {"manifest": manifest})
    assert pipeline.ingest() == []
    ((started, detail),) = pipeline.events()
    assert (started, detail["status"], detail["total_jobs"]) == ("CopyStarted", "OPEN", 2)
    copy_id = detail["copy_id"]
    assert [job.status for job in table.jobs(copy_id)] == [JobStatus.QUEUED] * 2
    assert pipeline.launch() == []
    assert [job.status for job in table.jobs(copy_id)] == [JobStatus.RUNNING] * 2
    assert pipeline.aws.count("Invoke") == 1, "the poller is triggered"
    assert pipeline.poll()["running"] == 2
    assert pipeline.publish() == []
    pipeline.ica.clock.forward(10)
    assert pipeline.poll()["passed"] == 2
    assert [job.status for job in table.jobs(copy_id)] == [JobStatus.PASSED] * 2
    assert pipeline.events() == []
    assert pipeline.publish() == []
    ((completed, detail),) = pipeline.events()
    assert (completed, detail["copy_id"], detail["status"]) == ("CopyCompleted", copy_id, "COMPLETED")
    assert detail["counters"] == {"jobs_failed": 0, "jobs_running": 0, "jobs_passed": 2}
    assert pipeline.ica.arrived() == available("x", "y")
    result = clients.s3().get_object(Bucket=BUCKET, Key=f"results/{copy_id}.json")["Body"].read()
    assert as_sent(json.loads(result)) == detail
    page = clients.s3().get_object(Bucket=BUCKET, Key=f"results/{copy_id}.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert f"<title>Copy {copy_id}: COMPLETED</title>" in page["Body"].read().decode()
    assert detail["report_uri"] == f"s3://{BUCKET}/results/{copy_id}.html"
    table_of_files = clients.s3().get_object(Bucket=BUCKET, Key=f"results/{copy_id}.csv")
    assert table_of_files["ContentType"] == "text/csv; charset=utf-8"
    assert len(table_of_files["Body"].read().splitlines()) == 1 + 4
    assert +metrics_in(capsys.readouterr().out) == {
        "SubmissionsAccepted": 1,
        "AttemptsStarted": 2,
        "AttemptsSucceeded": 2,
        "JobsPassed": 2,
        "CopiesCompleted": 1,
        "JobsRunning": 2 + 2,  # at each of two looks
        "OldestJobAge": 10,  # at the second
        "IcaCalls": sum(pipeline.ica.sim.calls.values()),
    }


def test_the_manifest_is_kept_where_the_event_says(pipeline: Pipeline) -> None:
    manifest = pipeline.manifest("x")
    pipeline.submit({"manifest": manifest})
    pipeline.ingest()
    ((_, detail),) = pipeline.events()
    bucket, _, key = detail["manifest_uri"].removeprefix("s3://").partition("/")
    assert json.loads(clients.s3().get_object(Bucket=bucket, Key=key)["Body"].read()) == manifest


@pytest.mark.parametrize("end", ["FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_fails_is_launched_again(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    pipeline.ica.script("/to/x/", end)
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.run(attempts=2)
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    (job,) = table.jobs("run")
    assert [attempt.outcome for attempt in job.attempts] == [end, "SUCCEEDED"]
    assert [attempt.ica_job_id for attempt in job.attempts] == list(pipeline.ica.world.jobs)
    assert pipeline.ica.arrived() == available("x")
    assert pipeline.ica.world.violations == []
    metrics = metrics_in(capsys.readouterr().out)
    counted = "AttemptsPartlySucceeded" if end == "PARTIALLY_SUCCEEDED" else "AttemptsFailed"
    assert (metrics["AttemptsStarted"], metrics[counted], metrics["AttemptsSucceeded"]) == (2, 1, 1)
    assert metrics["JobsPassed"] == 1


@pytest.mark.parametrize(("action", "status"), [("SKIP", 400), ("OVERWRITE", 413), ("RENAME", 422)])
def test_a_job_whose_copy_batch_ica_finds_too_large_is_copied_part_by_part(
    pipeline: Pipeline, table: CopyTable, action: str, status: int
) -> None:
    pipeline.references["MaxRedeploys"] = "0"
    pipeline.ica.set(max_items=1, max_items_status=status)
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x"), "action_on_exist": action})
    assert pipeline.ingest() == pipeline.launch() == []
    assert pipeline.ica.world.jobs == {}
    pipeline.poll()  # which has the half of it launched
    pipeline.run(attempts=2)
    ((_, _), (name, detail)) = pipeline.events()
    assert name == "CopyCompleted"
    (job,) = table.jobs("run")
    assert [attempt.outcome for attempt in job.attempts] == ["SUCCEEDED"] * 2
    (of_old,) = detail["job_list_with_attempt_counter"]
    assert (of_old["job_attempt_counter"], of_old["failed_jobs_list"]) == (2, [])
    assert pipeline.ica.arrived() == available("x")
    assert [len(ica_job.items) for ica_job in pipeline.ica.world.jobs.values()] == [1, 1]


def test_a_job_that_keeps_failing_is_given_up_and_the_copy_fails(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.references["MaxRedeploys"] = "2"
    pipeline.ica.script("/to/x/", "FAILED", "STOPPED", "PARTIALLY_SUCCEEDED")
    pipeline.submit({"manifest": pipeline.manifest("x", "y"), "task_token": "token"})
    pipeline.run(attempts=3)
    (_, (failed, detail)) = pipeline.events()
    assert (failed, detail["status"]) == ("CopyFailed", "FAILED")
    assert detail["counters"] == {"jobs_failed": 1, "jobs_running": 0, "jobs_passed": 1}
    (job,) = detail["failed_jobs"]
    assert (job["dest_uri"], job["attempts"]) == ("icav2://destination/to/x/", 3)
    assert "ended PARTIALLY_SUCCEEDED" in job["reason"]
    (request,) = pipeline.aws.requests("SendTaskFailure")
    assert json.loads(text_of(request))["error"] == "CopyFailed"
    metrics = metrics_in(capsys.readouterr().out)
    assert (metrics["JobsFailed"], metrics["JobsPassed"], metrics["CopiesFailed"]) == (1, 1, 1)


def test_a_source_that_is_not_there_fails_its_job_at_once(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = pipeline.manifest("x", "y")
    manifest["icav2://source/run/none.txt"] = ["icav2://destination/to/y/"]
    pipeline.submit({"manifest": manifest})
    pipeline.run()
    (_, (failed, detail)) = pipeline.events()
    (job,) = detail["failed_jobs"]
    assert (failed, job["dest_uri"], job["attempts"]) == ("CopyFailed", "icav2://destination/to/y/", 1)
    assert f"the source icav2://{pipeline.ica.source}/run/none.txt was not found" in job["reason"]
    assert pipeline.ica.arrived() == available("x")
    assert metrics_in(capsys.readouterr().out)["JobsFailed"] == 1


def test_projects_that_are_not_there_are_refused_with_the_submission(pipeline: Pipeline) -> None:
    """Whatever they are called, and all of them."""
    manifest = pipeline.manifest("x")
    unknown = ["icav2://no [such] project.1/to/y/", "icav2://another/"]
    manifest["icav2://source/run/x/a.txt"] += unknown
    pipeline.submit({"copy_id": "run", "manifest": manifest})
    pipeline.run()
    ((rejected, detail),) = pipeline.events()
    assert rejected == "CopyRejected"
    assert [each["about"] for each in detail["problems"]] == unknown
    assert detail["problems"][0]["problem"] == (
        "is in a project that cannot be found: no project named 'no [such] project.1' can be seen with this token; "
        "check the spelling and the user's permission, or give the project's id"
    )
    assert pipeline.ica.arrived() == {}


def test_projects_are_looked_up_by_name_once_a_copy(pipeline: Pipeline) -> None:
    """By who ingests it; launch, poll and those that they call know the ids."""
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest(*map(str, range(30)))})
    assert pipeline.ingest() == []
    assert pipeline.ica.sim.calls["GET /api/projects"] == 2
    pipeline.run()
    assert pipeline.ica.sim.calls["GET /api/projects"] == 2
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]


def test_a_submission_with_names_waits_for_ica_and_one_of_ids_does_not(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = pipeline.manifest("x")
    by_id = pipeline.by_id(manifest)
    pipeline.ica.fault("status", "GET", "projects$", status=503)
    pipeline.submit({"copy_id": "by-name", "manifest": manifest})
    monkeypatch.setitem(SECONDS_LEFT, "IngestFunction", 1)  # none to wait for another try
    assert len(pipeline.ingest()) == 1
    assert pipeline.events() == []
    monkeypatch.setitem(SECONDS_LEFT, "IngestFunction", 900)
    pipeline.submit({"copy_id": "by-id", "manifest": by_id})
    assert pipeline.ingest() == []
    assert [detail["copy_id"] for _, detail in pipeline.events()] == ["by-id"]


@pytest.mark.parametrize(
    "message",
    [
        "not JSON",
        '{"manifest": {}}',
        '{"manifest": {"icav2://p/a": ["icav2://q/no-slash"]}, "task_token": "token"}',
        '{"unknown": 1, "task_token": "token"}',
    ],
)
def test_a_submission_that_makes_no_sense_is_rejected_and_dealt_with(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], message: str
) -> None:
    pipeline.submit(message)
    assert pipeline.ingest() == []
    ((rejected, detail),) = pipeline.events()
    assert rejected == "CopyRejected"
    assert detail["problem_count"] >= 1
    assert pipeline.aws.count("SendTaskFailure") == ("task_token" in message)
    metrics = metrics_in(capsys.readouterr().out)
    assert (metrics["SubmissionsAccepted"], metrics["SubmissionsRejected"]) == (0, 1)
    assert pipeline.launch() == []
    assert pipeline.ica.world.jobs == {}


def test_a_dead_letter_of_the_rule_that_hears_of_uploads_is_ingested_when_it_is_sent_again(pipeline: Pipeline) -> None:
    """Its body is the event as the rule would have sent it; sent twice, it is still one copy."""
    pipeline.upload(pipeline.manifest("x"))
    (message,) = pipeline.messages("IngestQueue")["Records"]
    clients.sqs().purge_queue(QueueUrl=pipeline.references["IngestQueue"])
    event = invocation("s3-object-created") | {"detail": json.loads(message["body"])["detail"]}
    attributes = {"ERROR_CODE": {"DataType": "String", "StringValue": "NO_PERMISSIONS"}}
    for _ in range(2):
        clients.sqs().send_message(
            QueueUrl=pipeline.references["IngestQueue"],
            MessageBody=json.dumps(event),
            MessageAttributes=attributes,  # type: ignore[arg-type]
        )
        assert pipeline.ingest() == []
    pipeline.run()
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    assert pipeline.ica.arrived() == available("x")


# --- twice -----------------------------------------------------------------------------------------------------------


def test_everything_that_is_delivered_twice_happens_once(pipeline: Pipeline) -> None:
    """Each event again right after it was handled, and once more when all is over."""
    pipeline.submit({"manifest": pipeline.manifest("x", "y"), "task_token": "token"})
    pipeline.ica.script("/to/x/", "FAILED")
    for _ in range(3):
        for step in (pipeline.ingest, pipeline.launch, pipeline.poll, pipeline.publish):
            step()
            again(pipeline, pipeline.sent[-1:])
        pipeline.ica.clock.forward(10)
    assert len(pipeline.ica.world.jobs) == 3, "two jobs, one of which failed once"
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    assert pipeline.aws.count("SendTaskSuccess") == 1
    arrived = pipeline.ica.arrived()
    again(pipeline, list(pipeline.sent))
    assert pipeline.launch() == []
    assert len(pipeline.ica.world.jobs) == 3
    assert pipeline.events() == []
    assert pipeline.ica.arrived() == arrived == available("x", "y")


def again(pipeline: Pipeline, sent: list[Event]) -> None:
    for each in sent:
        pipeline.invoke(each["function"], each["event"])


def test_two_messages_about_one_attempt_in_one_delivery_launch_once(pipeline: Pipeline) -> None:
    pipeline.submit({"manifest": pipeline.manifest("x")})
    pipeline.ingest()
    event = pipeline.messages("LaunchQueue")
    twice = {"Records": [*event["Records"], *({**each, "messageId": "another"} for each in event["Records"])]}
    assert pipeline.invoke("LaunchFunction", twice) == {"batchItemFailures": []}
    assert len(pipeline.ica.world.jobs) == 1


# --- lost ------------------------------------------------------------------------------------------------------------


def test_a_launch_message_that_was_lost_is_sent_again(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.submit({"manifest": pipeline.manifest("x", "y")})
    pipeline.ingest()
    clients.sqs().purge_queue(QueueUrl=pipeline.references["LaunchQueue"])
    pipeline.ica.clock.forward(290)
    assert pipeline.poll()["sent_again"] == 0
    pipeline.ica.clock.forward(20)
    assert pipeline.poll()["sent_again"] == 2
    assert pipeline.poll()["sent_again"] == 0
    pipeline.run()
    assert pipeline.ica.arrived() == available("x", "y")
    assert metrics_in(capsys.readouterr().out)["LaunchMessagesSentAgain"] == 2


@pytest.mark.parametrize(
    ("fault", "seconds", "end", "metric"),
    [("drop_after", 2, "adopted", "LaunchesAdopted"), ("drop_before", 301, "released", "LaunchesReleased")],
)
def test_a_launch_whose_answer_was_lost_is_settled_by_looking_and_started_once(
    pipeline: Pipeline,
    table: CopyTable,
    capsys: pytest.CaptureFixture[str],
    *,
    fault: Literal["drop_after", "drop_before"],
    seconds: float,
    end: str,
    metric: str,
) -> None:
    """What ICA has started is adopted after a second; that it has started nothing is known only after minutes."""
    pipeline.ica.set(job_seconds=600)
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.ingest()
    pipeline.ica.fault(fault, "POST", "dataCopyBatch", count=1)
    assert pipeline.launch() == []
    again(pipeline, pipeline.sent[-1:])
    (job,) = table.jobs("run")
    assert job.status is JobStatus.LAUNCHING
    assert pipeline.poll()[end] == 0
    pipeline.ica.clock.forward(seconds)
    assert pipeline.poll()[end] == 1
    pipeline.launch()
    pipeline.ica.clock.forward(600)
    pipeline.poll()
    pipeline.publish()
    assert len(pipeline.ica.world.jobs) == 1
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    metrics = metrics_in(capsys.readouterr().out)
    assert (metrics["LaunchesUnknown"], metrics[metric], metrics["JobsPassed"]) == (1, 1, 1)


def test_the_poller_may_read_which_ica_jobs_other_copies_have_had(pipeline: Pipeline) -> None:
    """An ICA job that does not say into which folder it has copied the same data."""
    pipeline.ica.set(job_seconds=60, echo_folder=False, echo_created_data=False)
    manifest = pipeline.manifest("x")
    pipeline.submit({"copy_id": "first", "manifest": manifest})
    pipeline.submit({"copy_id": "second", "manifest": {source: ["icav2://destination/y/"] for source in manifest}})
    pipeline.ingest()
    pipeline.ica.fault("drop_before", "POST", "dataCopyBatch", count=1)
    pipeline.launch()
    pipeline.ica.clock.forward(61)
    assert pipeline.poll()["passed"] == 1
    pipeline.ica.clock.forward(301)
    assert pipeline.poll()["released"] == 1
    assert pipeline.aws.count("BatchGetItem") == 1


def test_a_copy_that_the_stream_did_not_publish_is_published_by_the_poller(pipeline: Pipeline) -> None:
    pipeline.submit({"manifest": pipeline.manifest("x")})
    pipeline.ingest()
    pipeline.launch()
    pipeline.ica.clock.forward(10)
    pipeline.poll()
    pipeline.events()
    pipeline.ica.clock.forward(59)
    pipeline.poll()
    assert pipeline.events() == []
    pipeline.ica.clock.forward(2)
    pipeline.poll()
    assert [name for name, _ in pipeline.events()] == ["CopyCompleted"]
    assert pipeline.publish() == []
    assert pipeline.events() == []


# --- some fail -------------------------------------------------------------------------------------------------------


def visibility_changes(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Queue and receipt handle of the messages that were asked to come again soon."""
    requests = [json.loads(text_of(request)) for request in pipeline.aws.requests("ChangeMessageVisibility")]
    return [(request["QueueUrl"], request["ReceiptHandle"]) for request in requests]


def test_a_submission_that_cannot_be_dealt_with_comes_again_and_the_others_do_not(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("x", "y", "z"):
        pipeline.submit({"copy_id": folder, "manifest": pipeline.manifest(folder)})
    event = pipeline.messages("IngestQueue")
    (unlucky,) = [record for record in event["Records"] if '"copy_id": "y"' in record["body"]]
    pipeline.aws.refuse("PutObject", "AccessDenied", only=unlucky["messageId"])
    answer = pipeline.invoke("IngestFunction", event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": unlucky["messageId"]}]}
    assert visibility_changes(pipeline) == [(pipeline.references["IngestQueue"], unlucky["receiptHandle"])]
    assert {detail["copy_id"] for _, detail in pipeline.events()} == {"x", "z"}
    assert metrics_in(capsys.readouterr().out)["SubmissionsAccepted"] == 2
    pipeline.aws.moto_only()
    assert pipeline.invoke("IngestFunction", {"Records": [unlucky]}) == {"batchItemFailures": []}
    assert [detail["copy_id"] for _, detail in pipeline.events()] == ["y"]


def test_a_submission_for_which_the_time_is_too_short_comes_again_and_is_finished(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x", "y")})
    event = pipeline.messages("IngestQueue")
    (record,) = event["Records"]
    monkeypatch.setitem(SECONDS_LEFT, "IngestFunction", 30)
    assert pipeline.invoke("IngestFunction", event) == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert visibility_changes(pipeline) == [(pipeline.references["IngestQueue"], record["receiptHandle"])]
    assert pipeline.events() == []
    monkeypatch.setitem(SECONDS_LEFT, "IngestFunction", 900)
    assert pipeline.invoke("IngestFunction", event) == {"batchItemFailures": []}
    assert [(name, detail["total_jobs"]) for name, detail in pipeline.events()] == [("CopyStarted", 2)]


def test_a_launch_that_cannot_be_deferred_comes_again_and_the_others_do_not(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """ICA has trouble with one project, and DynamoDB with the write that should defer its job."""
    other = pipeline.ica.world.add_project("other").id
    manifest = pipeline.manifest("x")
    manifest["icav2://other/run/c.txt"] = ["icav2://destination/to/y/"]
    pipeline.submit({"copy_id": "run", "manifest": manifest})
    pipeline.ingest()
    pipeline.ica_tries = 1
    pipeline.ica.fault("status", "GET", other, status=503)
    pipeline.aws.refuse("TransactWriteItems", "AccessDenied", only="ICA_UNAVAILABLE")
    event = pipeline.messages("LaunchQueue")
    (unlucky,) = [record for record in event["Records"] if "000002" in record["body"]]
    answer = pipeline.invoke("LaunchFunction", event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": unlucky["messageId"]}]}
    assert visibility_changes(pipeline) == [(pipeline.references["LaunchQueue"], unlucky["receiptHandle"])]
    assert [job.folder_path for job in pipeline.ica.world.jobs.values()] == ["/to/x/"]
    assert metrics_in(capsys.readouterr().out)["AttemptsStarted"] == 1
    pipeline.aws.moto_only()
    pipeline.ica.sim.troubles.clear()
    pipeline.ica.file("/run/c.txt", other)
    assert pipeline.invoke("LaunchFunction", {"Records": [unlucky]}) == {"batchItemFailures": []}
    assert len(pipeline.ica.world.jobs) == 1, "its first launch may be at work still"
    pipeline.ica.clock.forward(1800)
    pipeline.poll()
    pipeline.launch()
    assert [job.folder_path for job in pipeline.ica.world.jobs.values()] == ["/to/x/", "/to/y/"]


def test_a_launch_is_put_off_while_ica_is_unavailable_and_uses_up_no_attempt(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.ingest()
    pipeline.ica_tries = 1
    pipeline.ica.fault("status", status=503)
    assert pipeline.launch() == []
    (job,) = table.jobs("run")
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    assert (job.deferrals, job.hold and job.hold.reason) == (1, HoldReason.ICA_UNAVAILABLE)
    assert len(pipeline.aws.requests("SendMessageBatch")) == 1, "its next message is sent when it is due"
    metrics = metrics_in(capsys.readouterr().out)
    assert (metrics["AttemptsStarted"], metrics["LaunchesDeferred"]) == (0, 1)


def test_each_end_of_a_launch_message_has_a_metric_or_none_on_purpose() -> None:
    assert METRICS.keys() == set(End)


def test_a_launch_message_that_makes_no_sense_fails_alone(pipeline: Pipeline) -> None:
    pipeline.submit({"manifest": pipeline.manifest("x")})
    pipeline.ingest()
    for body in ("not JSON", "[]", "null", "{}", '{"copy_id": "run"}'):
        clients.sqs().send_message(QueueUrl=pipeline.references["LaunchQueue"], MessageBody=body)
    event = pipeline.messages("LaunchQueue")
    failed = pipeline.invoke("LaunchFunction", event)["batchItemFailures"]
    senseless = [record["messageId"] for record in event["Records"] if '"job_id"' not in record["body"]]
    assert len(senseless) == 5
    assert sorted(each["itemIdentifier"] for each in failed) == sorted(senseless)
    assert len(pipeline.ica.world.jobs) == 1


def test_a_launch_is_put_off_while_the_token_cannot_be_read(pipeline: Pipeline, table: CopyTable) -> None:
    """Else the jobs stay claimed: the message comes again and changes nothing, until the claims have run out."""
    pipeline.ica_tries = 1
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.ingest()
    pipeline.aws.refuse("GetSecretValue", "AccessDeniedException")
    assert pipeline.launch() == []
    (job,) = table.jobs("run")
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)


def test_a_project_that_may_not_be_read_holds_up_no_job_of_another(pipeline: Pipeline, table: CopyTable) -> None:
    """Its files cannot be compared any more, which is a failure if it lasts; those of the other can."""
    other = pipeline.ica.world.add_project("other").id
    pipeline.ica.file("/run/c.txt", other)
    manifest = pipeline.manifest("x") | {"icav2://other/run/c.txt": ["icav2://destination/to/y/"]}
    pipeline.submit({"copy_id": "run", "manifest": manifest})
    pipeline.ingest()
    pipeline.launch()
    pipeline.ica.clock.forward(10)
    pipeline.ica.fault("status", "GET", other, status=403)
    pipeline.poll()
    ends = [JobStatus.PASSED, JobStatus.RUNNING]
    assert [job.status for job in table.jobs("run")] == ends
    pipeline.ica.clock.forward(PATIENCE.total_seconds())
    pipeline.poll()
    ends = [JobStatus.PASSED, JobStatus.QUEUED]
    assert [job.status for job in table.jobs("run")] == ends
    pipeline.launch()
    (failed,) = [job for job in table.jobs("run") if job.status is JobStatus.FAILED]
    assert "403" in str(failed.reason)
    assert len(failed.attempts) == 2


def settled(pipeline: Pipeline, *folders: str) -> Event:
    """Copies that have settled and are not published; the records of the stream that say so."""
    for folder in folders:
        pipeline.submit({"copy_id": folder, "manifest": pipeline.manifest(folder)})
    pipeline.ingest()
    pipeline.launch()
    pipeline.ica.clock.forward(10)
    pipeline.poll()
    pipeline.events()
    return pipeline.stream()


def dead_letters(pipeline: Pipeline) -> list[dict[str, Any]]:
    received = clients.sqs().receive_message(
        QueueUrl=pipeline.references["PublishDeadLetterQueue"], MaxNumberOfMessages=10
    )
    return [json.loads(message["Body"]) for message in received.get("Messages", [])]


def test_a_copy_that_cannot_be_published_holds_up_no_other_and_leaves_a_dead_letter_that_names_it(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    event = settled(pipeline, "x", "y", "z")
    copies = [record["dynamodb"]["Keys"]["copy_id"]["S"] for record in event["Records"]]
    assert sorted(copies) == ["x", "y", "z"]
    pipeline.aws.refuse("PutObject", "AccessDenied", only=f"results/{copies[1]}.json")
    capsys.readouterr()
    assert pipeline.complete_again(event) == []
    assert metrics_in(capsys.readouterr().out)["CopiesCompleted"] == 2
    assert [detail["copy_id"] for _, detail in pipeline.events()] == [copies[0], copies[2]]
    (letter,) = dead_letters(pipeline)
    assert letter["copy_id"] == copies[1]
    assert "AccessDenied" in letter["error"]
    assert len(pipeline.slept) == publish.TRIES - 1
    pipeline.aws.moto_only()
    pipeline.ica.clock.forward(61)
    assert pipeline.poll()["copies_completed"] == 1
    assert [detail["copy_id"] for _, detail in pipeline.events()] == copies[1:2]


def test_a_trouble_that_passes_at_once_is_not_noticed(pipeline: Pipeline) -> None:
    failures = iter(range(publish.TRIES - 1))

    def take_nothing_at_first(request: AWSPreparedRequest) -> AWSResponse | None:
        if next(failures, None) is None:
            return None
        return json_answer(request, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]})

    event = settled(pipeline, "x")
    pipeline.aws.answer("PutEvents", take_nothing_at_first)
    assert pipeline.complete_again(event) == []
    assert [name for name, _ in pipeline.events()] == ["CopyCompleted"]
    assert dead_letters(pipeline) == []
    assert len(pipeline.slept) == publish.TRIES - 1


def test_the_stream_is_handled_up_to_the_first_record_for_which_not_even_a_dead_letter_can_be_left(
    pipeline: Pipeline,
) -> None:
    """Lambda gives the function the failed record and all behind it again."""
    event = settled(pipeline, "x", "y", "z")
    _, second, third = event["Records"]
    copies = [record["dynamodb"]["Keys"]["copy_id"]["S"] for record in event["Records"]]
    pipeline.aws.refuse("PutObject", "AccessDenied", only=f"results/{copies[1]}.json")
    pipeline.aws.refuse("SendMessage", "AccessDeniedException")
    assert pipeline.complete_again(event) == [second["dynamodb"]["SequenceNumber"]]
    assert [detail["copy_id"] for _, detail in pipeline.events()] == copies[:1]
    pipeline.aws.moto_only()
    assert pipeline.complete_again({"Records": [second, third]}) == []
    assert {detail["copy_id"] for _, detail in pipeline.events()} == set(copies[1:])
    assert pipeline.complete_again(event) == []
    assert pipeline.events() == []


# --- what operators ask ----------------------------------------------------------------------------------------------


def test_a_copy_is_paused_resumed_cancelled_and_redriven(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.references["MaxRunningJobs"] = "1"
    pipeline.submit(
        {"copy_id": "run", "manifest": pipeline.manifest("x", "y", "z"), "tags": {"run": "1"}, "hold": True}
    )
    pipeline.run()
    assert pipeline.ica.arrived() == {}
    (pause,) = pipeline.ask("pauses")["pauses"]
    assert (pause["subject"], pause["reason"]) == ("copy run", "held since it was submitted")
    assert pipeline.ask("resume", copy_id="run") == {"pauses": []}
    pipeline.poll()
    assert pipeline.launch() == []
    answer = pipeline.ask("cancel", copy_id="run", by="me")
    assert (answer["cancelled"], [left["status"] for left in answer["left"]]) == (2, ["RUNNING"])
    pipeline.ica.clock.forward(10)
    pipeline.poll()
    assert pipeline.publish() == []
    events = dict(pipeline.events())
    assert (events["CopyCancelled"]["cancelled_jobs"], events["CopyCancelled"]["tags"]) == (2, {"run": "1"})
    assert table.stops() == Stops()
    redriven = pipeline.ask("redrive", copy_id="run")
    assert redriven == {"copy_id": "run.r1", "jobs": 2}
    pipeline.run(attempts=2)
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    assert pipeline.ica.arrived() == available("x", "y", "z")
    copies = {copy["copy_id"]: copy["status"] for copy in pipeline.ask("list", tags={"run": "1"})["copies"]}
    assert copies == {"run": "CANCELLED", "run.r1": "COMPLETED"}
    shown = pipeline.ask("status", copy_id="run", jobs=True)
    assert (shown["copy"]["redriven_as"], len(shown["jobs"])) == (["run.r1"], 3)
    assert metrics_in(capsys.readouterr().out)["CopiesCancelled"] == 1


@pytest.mark.parametrize("way", ["control", "message", "message, while its jobs run", "message, after a crash"])
def test_each_job_that_is_cancelled_is_counted_once_by_whoever_ends_it(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    held = way != "message, while its jobs run"
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x", "y"), "hold": held})
    pipeline.ingest()
    if way == "control":
        pipeline.ask("cancel", copy_id="run")
    elif way == "message, after a crash":
        table.mark_cancelled("run", pipeline.ica.clock())
        pipeline.submit({"copy_id": "other", "manifest": pipeline.manifest("z")})
        pipeline.ingest()
    else:
        if not held:
            pipeline.ica.script("/to/x/", "FAILED")
            pipeline.ica.script("/to/y/", "FAILED")
            pipeline.launch()
        pipeline.submit({"command": "cancel", "copy_id": "run"})
        pipeline.ingest()
        pipeline.ica.clock.forward(20)
        pipeline.poll()
    assert [job.status for job in table.jobs("run")] == [JobStatus.CANCELLED] * 2
    assert metrics_in(capsys.readouterr().out)["JobsCancelled"] == 2


def test_what_is_redriven_clears_away_what_the_failed_job_has_left(pipeline: Pipeline, table: CopyTable) -> None:
    """SKIP takes a PARTIAL file for one that is there, and the new job has made none of its own."""
    pipeline.references["MaxRedeploys"] = "1"
    pipeline.ica.script("/to/x/", "FAILED", "FAILED")
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.run(attempts=2)
    assert "PARTIAL" in pipeline.ica.arrived().values()
    pipeline.ask("redrive", copy_id="run")
    pipeline.ica.clock.forward(120)  # the folder rests between two copies
    pipeline.run(attempts=2)
    assert pipeline.ica.arrived() == available("x")
    assert [job.status for job in table.jobs("run.r1")] == [JobStatus.PASSED]


# --- where ICA limits calls ------------------------------------------------------------------------------------------


def test_whoever_is_refused_with_429_tells_all_functions_and_the_work_is_done_at_that_pace(
    pipeline: Pipeline, table: CopyTable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.submit({"manifest": pipeline.manifest("x", "y", "z")})
    pipeline.ingest()
    pipeline.launch()
    assert table.pace() is None, "nothing is written before"
    pipeline.ica.fault("status", status=429, count=1)
    pipeline.run()
    pace = table.pace()
    assert pace
    assert pipeline.ica.arrived() == available("x", "y", "z")
    pipeline.submit({"manifest": pipeline.manifest("v", "w")})
    pipeline.run()
    assert pipeline.ica.arrived() == available("x", "y", "z", "v", "w")
    after = table.pace()
    assert after
    assert after.serial > pace.serial + 4, "the functions took moments to call at"
    counted = metrics_in(capsys.readouterr().out)
    assert counted["AttemptsStarted"] == 5
    assert counted["LaunchesDeferred"] + counted["LaunchesHeld"] == 0


# --- not all at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_backlog", [True, False])
def test_jobs_without_a_slot_wait_and_are_launched_each_copy_in_its_turn(
    pipeline: Pipeline, table: CopyTable, capsys: pytest.CaptureFixture[str], in_backlog: bool
) -> None:
    """In their backlog; or, where the last slot was taken while their messages were under way, in the index."""
    two_slots = {"MaxRunningJobs": "2"}
    pipeline.references |= two_slots if in_backlog else {}
    pipeline.submit({"copy_id": "large", "manifest": pipeline.manifest("x", "y", "z", "w")})
    pipeline.ingest()
    pipeline.submit({"copy_id": "small", "manifest": pipeline.manifest("v")})
    pipeline.ingest()
    backlogs = [(each.copy_id, each.next, each.last) for each in table.backlogs()]
    assert backlogs == ([("large", 3, 4), ("small", 1, 1)] if in_backlog else [])
    pipeline.references |= two_slots
    pipeline.run()
    assert len(pipeline.ica.world.jobs) == 2
    counted = metrics_in(capsys.readouterr().out)
    held = (0, 0) if in_backlog else (3, 2)
    assert (counted["LaunchesHeld"], counted["LaunchMessagesSentAgain"]) == held
    pipeline.launch()
    assert [job.status for job in table.jobs("small")] == [JobStatus.RUNNING]
    for _ in range(3):
        pipeline.ica.clock.forward(10)
        pipeline.poll()
        pipeline.launch()
    pipeline.publish()
    assert pipeline.ica.arrived() == available("x", "y", "z", "w", "v")
    assert pipeline.ica.world.most_live_jobs == 2


def test_a_job_that_takes_too_long_is_told_once_with_its_copys_event(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.references |= {"DelayedAfterMinutes": "30"}
    pipeline.ica.set(job_seconds=10_000)
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.run()
    pipeline.events()
    pipeline.ica.clock.forward(29 * 60)
    pipeline.poll()
    assert pipeline.events() == []
    capsys.readouterr()
    for _ in range(2):
        pipeline.ica.clock.forward(61)
        assert pipeline.poll()["delayed"] == 1
    ((name, detail),) = pipeline.events()
    assert name == "CopyDelayed"
    assert schema_faults("copy-delayed", detail) == []
    assert [job["job_status"] for job in detail["delayed_jobs"]] == ["RUNNING"]
    assert metrics_in(capsys.readouterr().out)["JobsDelayed"] == 2


@pytest.mark.parametrize("function", HANDLES)
def test_an_invocation_in_which_nothing_happens_prints_nothing(
    pipeline: Pipeline, capfd: pytest.CaptureFixture[str], function: str
) -> None:
    """Each metric costs something in each hour in which it gets a value; a poller prints 43,200 times a month."""
    pipeline.invoke(function, SCHEDULED if function == "PollFunction" else {"Records": []})
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


# --- the token -------------------------------------------------------------------------------------------------------


class Said(logging.Handler):
    """What is logged, as the handlers' own logger writes it, with every error's text and its causes'."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(wiring.logger.registered_formatter.format(record))
        self.lines += [f"{error!r} {error}" for error in causes(record.exc_info[1] if record.exc_info else None)]


@pytest.fixture
def everything_said(pipeline: Pipeline, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """All that a run has printed, logged, sent, and written into the table and the bucket.

    The logs with those of the libraries that talk to ICA.
    """
    pipeline.ica_tries = 2
    logs = Said()
    loggers: list[Any] = [wiring.logger, *map(logging.getLogger, ("urllib3", "libica", "tenacity"))]
    for logger in loggers:
        logger.addHandler(logs)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)

    def gathered() -> str:
        printed = capfd.readouterr()
        objects = clients.s3().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        contents = [clients.s3().get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in objects]
        queues = [pipeline.messages(name) for name in ("IngestQueue", "LaunchQueue", "PublishDeadLetterQueue")]
        items = clients.dynamodb().scan(TableName=TABLE_NAME)["Items"]
        said = [printed.out, printed.err, logs.lines, contents, queues, items, pipeline.events()]
        return "\n".join(map(str, said))

    yield gathered
    for logger in loggers:
        logger.removeHandler(logs)
    logging.getLogger("urllib3").setLevel(logging.NOTSET)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


AROUND = {
    "a line break": f"{TOKEN}\n",
    "quotes": f'"{TOKEN}"',
    "a JSON object": json.dumps({"token": TOKEN}, indent=1),
    "Bearer": f"Bearer {TOKEN}",
}


@pytest.mark.parametrize("secret", AROUND.values(), ids=AROUND)
def test_a_copy_is_made_with_what_is_plainly_around_the_token_and_nothing_tells_the_token(
    pipeline: Pipeline, everything_said: Callable[[], str], secret: str
) -> None:
    clients.secrets().put_secret_value(SecretId=pipeline.references["IcaTokenSecretArnParameter"], SecretString=secret)
    pipeline.ica.fault("drop_before", "GET", count=1)
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.run()
    said = everything_said()
    assert "CopyCompleted" in said
    assert TOKEN not in said


NO_TOKEN = {
    "two lines": f"{TOKEN}\nrotated on Monday",
    "two tokens": json.dumps({"old": TOKEN, "new": f"{TOKEN}-2"}, indent=1),
    "a sentence": f"the token is {TOKEN}",
    "one that ICA refuses": f"{TOKEN}-of-yesterday",
}


@pytest.mark.parametrize("secret", NO_TOKEN.values(), ids=NO_TOKEN)
def test_a_secret_without_a_token_puts_launches_off_and_nothing_tells_its_text(
    pipeline: Pipeline, everything_said: Callable[[], str], secret: str
) -> None:
    """A copy that runs is looked after as little as it is launched."""
    pipeline.submit({"copy_id": "running", "manifest": pipeline.manifest("x")})
    pipeline.run()
    clients.secrets().put_secret_value(SecretId=pipeline.references["IcaTokenSecretArnParameter"], SecretString=secret)
    pipeline.submit({"copy_id": "waiting", "manifest": pipeline.by_id(pipeline.manifest("y", "z"))})
    pipeline.run()
    pipeline.submit({"copy_id": "by-name", "manifest": pipeline.manifest("y")})
    assert len(pipeline.ingest()) == 1, "names cannot be looked up: it comes again"
    said = everything_said()
    assert TOKEN_REFUSED in said
    assert "LaunchesDeferred" in said
    assert TOKEN not in said


@pytest.mark.parametrize("status", [400, 401, 403, 503])
def test_an_answer_that_quotes_the_token_is_told_without_it(
    pipeline: Pipeline, everything_said: Callable[[], str], status: int
) -> None:
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest("x")})
    pipeline.ingest()
    pipeline.ica.fault("status", status=status, title=f"What is this: {TOKEN}?")
    pipeline.launch()
    said = everything_said()
    assert "What is this: (the token)?" in said
    assert TOKEN not in said


# --- ICA's notifications ---------------------------------------------------------------------------------------------


def notifications(pipeline: Pipeline, *bodies: str) -> Event:
    """What Lambda makes of these messages."""
    record = invocation("sqs-notification-event")["Records"][0]
    return {"Records": [{**record, "messageId": str(number), "body": body} for number, body in enumerate(bodies)]}


def test_a_copy_settles_by_notifications_alone(pipeline: Pipeline) -> None:
    pipeline.submit({"manifest": pipeline.manifest("one", "two"), "copy_id": "run"})
    pipeline.ica.script("/to/one/", "FAILED")
    bodies: list[str] = []
    for _ in range(2):
        pipeline.ingest()
        pipeline.launch()
        pipeline.ica.clock.forward(10)
        pipeline.ica.world.settle()
        bodies += [
            json.dumps({"eventCode": "ICA_JOB_001", "payload": {"id": job.id, "status": job.status}})
            for job in pipeline.ica.world.jobs.values()
        ]
        pipeline.invoke("NotifyFunction", notifications(pipeline, "a test message", *bodies, *bodies))
    pipeline.publish()
    assert [name for name, _ in pipeline.events()] == ["CopyStarted", "CopyCompleted"]
    assert len(pipeline.ica.world.jobs) == 3


def test_a_notification_of_no_job_of_ours_calls_nobody(pipeline: Pipeline) -> None:
    assert pipeline.invoke("NotifyFunction", notifications(pipeline, "a test message", "{}")) == {}
    pipeline.invoke("NotifyFunction", invocation("sqs-notification-event"))
    assert pipeline.ica.sim.calls.total() == 0


def test_the_notification_queue_lets_through_what_says_that_a_job_has_ended() -> None:
    (event,) = template.properties("NotifyFunction")["Events"].values()
    (pattern,) = (json.loads(each["Pattern"])["body"] for each in event["Properties"]["FilterCriteria"]["Filters"])
    statuses = {status for status, verdict in VERDICTS.items() if verdict is not Verdict.STILL_RUNNING}
    assert set(pattern["payload"]["status"]) == statuses
    assert pattern["eventCode"] == [JOB_STATUS_CHANGED]
