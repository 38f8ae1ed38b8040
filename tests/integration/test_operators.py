"""``icav2-copy`` against the real control function and the whole pipeline, on moto and the simulated ICA."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.program import Program
from tests.integration import clients
from tests.integration.aws_calls import AwsCalls, json_answer, text_of
from tests.integration.operators import BUCKET, FUNCTION, ScriptedControl, client_of, deploy, time_of
from tests.integration.pipeline import Pipeline, available
from tests.integration.shell import Terminal, lines


@pytest.fixture
def shell(pipeline: Pipeline, aws: AwsCalls, tmp_path: Path) -> Terminal:
    """The program on the pipeline, in which everything that is due happens whenever the program sleeps."""

    def control(request: AWSPreparedRequest) -> AWSResponse:
        if f"/functions/{FUNCTION}/" not in request.url:
            return json_answer(request, {}, 202)  # the poller, which is triggered
        with redirect_stdout(StringIO()):  # the functions' logs and metrics are no output of the program's
            answer = pipeline.invoke("ControlFunction", json.loads(text_of(request)))
        return json_answer(request, json.loads(json.dumps(answer)))

    def meanwhile() -> None:
        with redirect_stdout(StringIO()):
            pipeline.run()

    aws.answer("Invoke", control)
    queue = pipeline.references["IngestQueue"]
    deploy({"IngestQueueUrl": queue, "ManifestBucketName": BUCKET, "ControlFunctionName": FUNCTION})
    clock = pipeline.ica.clock
    program = Program(time=time_of(clock, meanwhile), terminal=False, client=client_of)
    return Terminal(ScriptedControl(), clock, program, tmp_path)


@pytest.fixture
def run(pipeline: Pipeline, shell: Terminal) -> Callable[..., str]:
    """Copies these folders, as copy ``run-42``; how its waiting for it ends."""

    def submit(*folders: str, code: Exit = Exit.DONE, options: tuple[str, ...] = ("--wait",)) -> str:
        path = shell.manifest(pipeline.manifest(*folders))
        result = shell("submit", path, "--id", "run-42", *options)
        assert result.exit_code == code, result.output
        return result.stdout

    return submit


def shown(shell: Terminal, *arguments: str) -> Any:
    """What a command prints as JSON."""
    result = shell(*arguments, "--json")
    assert result.exit_code == Exit.DONE, result.output
    return json.loads(result.stdout)


def test_a_copy_is_submitted_watched_and_reported(pipeline: Pipeline, shell: Terminal) -> None:
    pipeline.ica.script("/to/x/", "FAILED")
    path = shell.manifest(pipeline.manifest("x", "y"))
    assert shell("validate", path).exit_code == Exit.DONE
    submitted = shell("submit", path, "--tag", "run=42")
    copy_id = submitted.stdout.strip()
    watched = shell("watch", copy_id, "--json")
    assert watched.exit_code == Exit.DONE
    changes = [json.loads(line) for line in watched.stdout.splitlines()]
    assert changes[-1]["copy"]["status"] == "COMPLETED"
    attempts = {job["job_id"]: job["attempt"] for change in changes for job in change["jobs"]}
    assert attempts == {"000001": 2, "000002": 1}
    assert pipeline.ica.arrived() == available("x", "y")
    (listed,) = shown(shell, "list", "--tag", "run=42", "--since", "1h")
    assert (listed["copy_id"], listed["passed_jobs"], listed["tags"]) == (copy_id, 2, {"run": "42"})
    assert shown(shell, "list", "--tag", "run=43") == []
    assert shown(shell, "list", "--status", "failed") == []
    report = shown(shell, "report", copy_id)
    assert (report["status"], len(report["job_list_with_attempt_counter"])) == ("COMPLETED", 2)
    assert len(shell("report", copy_id, "--format", "csv").stdout.splitlines()) == 1 + 4
    assert len(shell("report", copy_id, "--format", "csv", "--failed").stdout.splitlines()) == 1
    assert shell("report", copy_id, "--format", "html").stdout.lower().startswith("<!doctype html>")
    jobs = shown(shell, "status", copy_id, "--jobs")["jobs"]
    assert [attempt["outcome"] for attempt in jobs[0]["attempts"]] == ["FAILED", "SUCCEEDED"]
    assert f"Copy {copy_id} is COMPLETED: 2 of 2 jobs have ended: 2 passed." in shell("explain", copy_id).stdout


def test_what_failed_is_explained_and_redriven(pipeline: Pipeline, shell: Terminal) -> None:
    path = shell.manifest({**pipeline.manifest("x"), "icav2://source/late.txt": ["icav2://destination/to/y/"]})
    waited = shell("submit", path, "--id", "run-42", "--wait")
    assert (waited.exit_code, lines(waited.stdout)[-1][:2]) == (Exit.COPY_FAILED, ["run-42", "FAILED"])
    (failed,) = shown(shell, "status", "run-42", "--failed")["jobs"]
    _, row = shell("report", "run-42", "--format", "csv", "--failed").stdout.splitlines()
    assert row.startswith("icav2://source/late.txt,icav2://destination/to/y/,")
    assert failed["reason"] in shell("explain", "run-42").stdout
    assert failed["reason"][1:] in shell("explain", "run-42", failed["job_id"]).stdout
    pipeline.ica.file("/late.txt")
    redriven = shell("redrive", "run-42")
    assert (redriven.exit_code, redriven.stdout) == (Exit.DONE, "run-42.r1\n")
    assert shell("wait", "run-42.r1").exit_code == Exit.DONE
    assert pipeline.ica.arrived() == {**available("x"), "/to/y/late.txt": "AVAILABLE"}
    assert shown(shell, "status", "run-42")["redriven_as"] == ["run-42.r1"]
    assert shown(shell, "status", "run-42.r1")["redrive_of"] == "run-42"
    again = shell("redrive", "run-42.r1")
    assert (again.exit_code, again.stdout) == (Exit.REFUSED, "")
    assert "nothing left to copy" in again.stderr


def test_a_copy_on_hold_waits_for_resume(pipeline: Pipeline, shell: Terminal, run: Callable[..., str]) -> None:
    assert run("x", options=("--hold",)) == "run-42\n"
    timed_out = shell("wait", "run-42", "--timeout", "5")
    assert timed_out.exit_code == Exit.TIMED_OUT
    assert pipeline.ica.arrived() == {}
    assert shown(shell, "status", "run-42")["paused_at"]
    assert "Copy run-42 has been paused since" in shell("explain", "run-42").stdout
    assert shell("resume", "run-42").stderr == "Nothing is paused now.\n"
    assert shell("wait", "run-42").exit_code == Exit.DONE
    assert pipeline.ica.arrived() == available("x")


def test_a_project_is_paused_and_resumed(pipeline: Pipeline, shell: Terminal, run: Callable[..., str]) -> None:
    project = pipeline.ica.destination
    paused = shell("pause", "--project", "destination", "--reason", "disk full")
    ((subject, _, by, why),) = lines(paused.stdout)
    assert (subject, why) == (f"project {project}", "disk full")
    assert by.startswith("arn:aws:")
    run("x", code=Exit.TIMED_OUT, options=("--wait", "--timeout", "5"))
    (job,) = shown(shell, "status", "run-42", "--jobs")["jobs"]
    assert (job["status"], job["hold"]["reason"]) == ("QUEUED", "PAUSED")
    assert "disk full" in job["hold"]["detail"]
    held = shown(shell, "status", "run-42")
    assert [(each["reason"], each["jobs"]) for each in held["holds"]] == [("PAUSED", 1)]
    assert [each["reason"] for each in held["pauses"]] == ["disk full"]
    assert shown(shell, "pauses") == held["pauses"]
    assert "disk full" in shell("explain", "run-42").stdout
    assert shell("resume", "--project", project).exit_code == Exit.DONE
    assert shell("wait", "run-42").exit_code == Exit.DONE


def test_a_cancelled_copy_leaves_what_runs_at_ica(pipeline: Pipeline, shell: Terminal, run: Callable[..., str]) -> None:
    pipeline.references["MaxRunningJobs"] = "1"
    pipeline.ica.set(job_seconds=60)
    run("x", "y", "z", code=Exit.TIMED_OUT, options=("--wait", "--timeout", "5"))
    cancelled = shell("cancel", "run-42")
    ((left, _, status, ica_job_id),) = lines(cancelled.stdout)
    assert (left, status) == ("left", "RUNNING")
    assert ica_job_id in {job.id for job in pipeline.ica.world.jobs.values()}
    assert cancelled.stderr.startswith("2 jobs cancelled.\n1 job left at ICA")
    assert "It was cancelled at" in shell("explain", "run-42").stdout
    assert shell("wait", "run-42").exit_code == Exit.CANCELLED
    assert pipeline.ica.arrived() == available("x")
    assert shell("cancel", "run-42").exit_code == Exit.REFUSED


def test_the_problems_that_only_ica_can_find_are_printed(pipeline: Pipeline, shell: Terminal) -> None:
    path = shell.manifest({"icav2://nobody/a.txt": ["icav2://destination/to/"]})
    assert shell("validate", path).exit_code == Exit.DONE
    submitted = shell("submit", path, "--id", "run-42", "--wait")
    assert (submitted.exit_code, submitted.stdout) == (Exit.REFUSED, "run-42\n")
    assert "Error: copy run-42 was rejected: it has 1 problem\n" in submitted.stderr
    assert "  icav2://nobody/a.txt: is in a project that cannot be found" in submitted.stderr
    elsewhere = shell("wait", "run-42")
    assert elsewhere.exit_code == Exit.REFUSED
    assert "is in a project that cannot be found" in elsewhere.stderr


def test_an_id_in_use_is_refused_although_there_is_a_copy_of_it(
    pipeline: Pipeline, shell: Terminal, run: Callable[..., str]
) -> None:
    run("x")
    pipeline.ica.clock.forward(60)
    assert shell("submit", shell.manifest(pipeline.manifest("x")), "--id", "run-42", "--wait").exit_code == Exit.DONE
    result = shell("submit", shell.manifest(pipeline.manifest("y")), "--id", "run-42", "--wait")
    assert result.exit_code == Exit.REFUSED
    assert "run-42: is the copy_id of another manifest" in result.stderr


def test_what_the_queue_cannot_take_is_uploaded_and_found_again(
    pipeline: Pipeline, shell: Terminal, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icav2_copy_batch.client.submission.MESSAGE_BYTES", 100)
    run("x", options=("--tag", "run=42"))
    pipeline.notice("manifests/run-42.json.gz")
    assert shell("wait", "run-42").exit_code == Exit.DONE
    assert shown(shell, "status", "run-42")["tags"] == {"run": "42"}


def test_what_is_decided_cannot_be_decided(shell: Terminal, run: Callable[..., str]) -> None:
    run("x")
    for arguments in (("adopt", "run-42", "1", "ica-1"), ("release", "run-42", "1")):
        result = shell(*arguments, "--yes")
        assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")


def test_projects_are_subscribed_once(pipeline: Pipeline, shell: Terminal) -> None:
    queue_url = pipeline.references["NotificationQueue"]
    for status in ("subscribed", "there"):
        result = shell("subscribe", "source", pipeline.ica.destination)
        assert (result.exit_code, [line[1] for line in lines(result.stdout)]) == (Exit.DONE, [status, status])
    assert [channel.asked.address for channel in pipeline.ica.world.channels.values()] == [queue_url]
    projects = [each.project_id for each in pipeline.ica.world.subscriptions]
    assert projects == [pipeline.ica.source, pipeline.ica.destination]
    pipeline.ica.set(manage_notifications="refused")
    pipeline.ica.world.subscriptions.clear()
    refused = shell("subscribe", "source")
    assert refused.exit_code == Exit.REFUSED
    assert "ICA answered 403" in refused.stdout


def test_a_broken_stack_is_examined(pipeline: Pipeline, shell: Terminal) -> None:
    """By the control function, in the environment that the template gives it. Of some things moto has none."""
    shell("subscribe", "destination")
    clients.sqs().send_message(QueueUrl=pipeline.references["LaunchDeadLetterQueue"], MessageBody="x")
    result = shell("doctor", "--project", "source", "--project", "destination", "--json")
    assert result.exit_code == Exit.PROBLEM
    found = {(each["check"], each["about"]): each for each in json.loads(result.stdout)}
    assert found["version", None]["status"] == "ok"
    assert found["ica", None]["status"] == "ok"
    assert found["project", "source"]["what"] == f"its id is {pipeline.ica.source}"
    assert found["subscription", "source"]["status"] == "warning"
    assert found["subscription", "destination"]["status"] == "ok"
    assert found["rights", "source"]["status"] == "unknown"
    assert found["dead_letters", "launch"]["what"] == "1 dead letter"
    assert found["poller", None]["what"] == "its schedule, the rule poll-rule, is not there"
    assert found["bus", "default"]["status"] == "ok"
    assert found["alarms", None]["status"] == "warning"
    assert not [each for each in found.values() if "could not be looked at" in each["what"]]
    pipeline.ica.sim.replace_token("another")
    seen = {each["check"]: each for each in json.loads(shell("doctor", "--json").stdout)}
    assert (seen["token"]["status"], seen["ica"]["status"]) == ("ok", "problem")
    assert "ICA does not take the token" in seen["ica"]["what"]


MISSING = [
    ("status", "run-41"),
    ("cancel", "run-41"),
    ("pause", "run-41"),
    ("resume", "run-41"),
    ("redrive", "run-41"),
    ("redrive", "run-42", "--job", "9"),
    ("adopt", "run-41", "1", "ica-1", "--yes"),
    ("adopt", "run-42", "9", "ica-1", "--yes"),
    ("release", "run-41", "1", "--yes"),
    ("release", "run-42", "9", "--yes"),
    ("explain", "run-42", "9"),
    ("report", "run-41"),
    ("wait", "run-41"),
    ("watch", "run-41"),
]


def test_what_is_not_there_is_said(shell: Terminal, run: Callable[..., str]) -> None:
    run("x")
    shell.program = replace(shell.program, time=time_of(shell.clock))  # nothing happens meanwhile
    for arguments in MISSING:
        result = shell(*arguments)
        assert (result.exit_code, result.stdout) == (Exit.NO_SUCH_COPY, ""), arguments
        assert "run-4" in result.stderr


def test_a_manifest_is_built_of_what_lies_in_ica(pipeline: Pipeline, shell: Terminal) -> None:
    pipeline.manifest("x", "y/é")
    pipeline.ica.file("/run/x/.iap_probe")
    folders = ("--from", "icav2://source/run/", "--to", f"icav2://{pipeline.ica.destination}/to/")
    built = shell("manifest", "build", *folders, "--keep-tree", "--exclude", "/x/a.txt")
    assert (built.exit_code, built.stderr) == (Exit.DONE, "3 of 4 files, 5.6 MB, into 2 folders.\n")
    submitted = shell("submit", shell.manifest(built.stdout), "--wait")
    assert submitted.exit_code == Exit.DONE, submitted.output
    assert set(pipeline.ica.arrived()) == {"/to/x/b c#1.txt", "/to/y/é/a.txt", "/to/y/é/b c#1.txt"}
    clash = shell("manifest", "build", *folders)
    assert clash.exit_code == Exit.REFUSED
    assert "icav2://source/run/y/é/a.txt: has the same name as icav2://source/run/x/a.txt" in clash.stderr


def test_a_manifest_of_a_folder_that_is_not_there_is_refused(pipeline: Pipeline, shell: Terminal) -> None:
    pipeline.manifest("x")
    for folder, says in (("source/Run", "ICA shows no file below"), ("nobody/run", "no project named 'nobody'")):
        built = shell("manifest", "build", "--from", f"icav2://{folder}/", "--to", "icav2://destination/to/")
        assert (built.exit_code, built.stdout) == (Exit.REFUSED, "")
        assert says in built.stderr


def test_what_failed_can_be_copied_by_a_manifest_of_the_report(
    pipeline: Pipeline, shell: Terminal, run: Callable[..., str]
) -> None:
    path = shell.manifest({**pipeline.manifest("x"), "icav2://source/late.txt": ["icav2://destination/to/y/"]})
    assert shell("submit", path, "--id", "run-42", "--wait").exit_code == Exit.COPY_FAILED
    failed = shell("report", "run-42", "--format", "csv", "--failed").stdout
    built = shell("manifest", "build", "--csv", "-", answer=failed)
    assert json.loads(built.stdout) == {"icav2://source/late.txt": ["icav2://destination/to/y/"]}


def test_an_answer_that_is_too_long_comes_by_the_bucket(
    shell: Terminal, run: Callable[..., str], aws: AwsCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("x", "y")
    monkeypatch.setattr("icav2_copy_batch.operators.long_answers.MAX_BYTES", 1000)
    assert [job["status"] for job in shown(shell, "status", "run-42", "--jobs")["jobs"]] == ["PASSED", "PASSED"]
    (stored,) = [request.url for request in aws.requests("PutObject") if "/answers/" in request.url]
    assert stored in [request.url for request in aws.requests("GetObject")]


def test_a_request_that_the_stack_does_not_understand_is_a_usage_error(shell: Terminal) -> None:
    result = shell("status", "no id")
    assert result.exit_code == Exit.USAGE
    assert "must be the id of a copy" in result.stderr


def test_a_plan_says_what_then_happens(pipeline: Pipeline, shell: Terminal, run: Callable[..., str]) -> None:
    run("x")
    path = shell.manifest({**pipeline.manifest("x", "y"), "icav2://source/late.txt": ["icav2://destination/to/z/"]})
    result = shell("plan", path, "--json")
    assert result.exit_code == Exit.REFUSED
    planned = json.loads(result.stdout)
    assert planned["finding_counts"] == {"SOURCE_MISSING": 1, "EXISTS_SAME": 2}
    assert (planned["jobs"], planned["refused_jobs"], planned["files"]) == (3, 1, 5)
    pipeline.ica.file("/late.txt")
    planned = shown(shell, "plan", path)
    assert planned["finding_counts"] == {"EXISTS_SAME": 2}
    assert shown(shell, "list") == shown(shell, "list", "--status", "completed")
    assert shell("submit", path, "--id", "run-43", "--wait").exit_code == Exit.DONE
    assert shown(shell, "report", "run-43")["files"] == planned["files"] == 5
    unknown = shell("plan", shell.manifest({"icav2://nobody/a": ["icav2://destination/to/"]}))
    assert (unknown.exit_code, lines(unknown.stdout)[-1][:3]) == (
        Exit.REFUSED, ["finding", "UNKNOWN_PROJECT", "icav2://nobody/a"],
    )  # fmt: skip
