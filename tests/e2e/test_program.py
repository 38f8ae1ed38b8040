"""``icav2-copy`` as an operator calls it, on the deployed template: it finds the stack, and what it asks is done."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.main import app
from icav2_copy_batch.cli.program import Program
from icav2_copy_batch.cli.view import common_folder
from icav2_copy_batch.client.stack import variable_name
from icav2_copy_batch.client.waiting import Time
from local.manifests import Manifest, bclconvert_manifest
from local.stack import CREDENTIALS, STACK_NAME, TOKEN, LocalStack
from tests.e2e.conftest import Subscriber
from tests.e2e.steps import (
    destinations,
    first_folders,
    folder_of,
    place,
    poll,
    script,
    simulator,
    stocked,
    until,
)

BAD = ("warning", "problem")


class Shell:
    """A shell on an operator's machine, in which AWS's variables are set."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack, self.folder, self.looks = stack, folder, count()
        self.program = Program(time=Time(sleep=self.poll_and_sleep), terminal=False)
        self.runner = CliRunner(env={**CREDENTIALS, "AWS_ENDPOINT_URL": stack.endpoint, "AWS_PROFILE": None})

    def poll_and_sleep(self, seconds: float) -> None:
        """Wait for the next look; now and then do what the schedule does once a minute."""
        if next(self.looks) % 4 == 3:
            poll(self.stack)
        sleep(min(seconds, 2.0))

    def __call__(self, *arguments: str, code: Exit = Exit.DONE) -> Result:
        result = self.runner.invoke(app, arguments, obj=self.program)
        assert result.exit_code == code, result.output
        return result

    def code(self, *arguments: str) -> int:
        return self.runner.invoke(app, arguments, obj=self.program).exit_code

    def logs(self, copy_id: str) -> list[Any]:
        return [json.loads(line) for line in self("logs", copy_id, "--json").stdout.splitlines()]

    def shown(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def file(self, manifest: Manifest) -> str:
        path = self.folder / "manifest.json"
        path.write_text(json.dumps(manifest))
        return str(path)


@pytest.fixture
def shell(stack: LocalStack, tmp_path: Path) -> Shell:
    return Shell(stack, tmp_path)


def manifest_of(stack: LocalStack, seed: int, folders: int = 3) -> Manifest:
    return stocked(stack, first_folders(bclconvert_manifest(seed=seed), folders))


def test_it_finds_the_stack_by_its_name_and_by_its_parameters(shell: Shell, stack: LocalStack) -> None:
    variables = {variable_name(name): value for name, value in stack.outputs.items()}
    assert shell.shown("env", "--stack", STACK_NAME) == variables
    by_parameters = shell.shown("env")
    assert by_parameters["CONTROL_FUNCTION_NAME"] == variables["CONTROL_FUNCTION_NAME"]
    shell("env", "--stack", "another", code=Exit.USAGE)


def test_a_copy_is_submitted_and_reported(shell: Shell, stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = manifest_of(stack, 901)
    path = shell.file(manifest)
    shell("validate", path)
    planned = shell.shown("plan", path)
    assert (planned["files"], planned["findings"], planned["stopped"]) == (len(manifest), [], None)
    shell("submit", path, "--id", "program-1", "--tag", "run=901", "--wait", "--timeout", "6m")
    assert simulator(stack).copied(manifest) == (len(manifest), len(manifest))
    assert [copy["copy_id"] for copy in shell.shown("list", "--tag", "run=901")] == ["program-1"]
    assert shell("watch", "program-1").stdout.startswith("copy\tprogram-1\tCOMPLETED\t")
    assert "Copy program-1: COMPLETED" in shell("report", "program-1", "--format", "html").stdout
    assert subscriber.settled("program-1")["detail"]["tags"] == {"run": "901"}
    rows = list(csv.DictReader(StringIO(shell("report", "program-1", "--format", "csv").stdout)))
    assert len(rows) == len(manifest)
    assert sum(int(row["size"]) for row in rows) == shell.shown("report", "program-1")["bytes"]
    assert shell.shown("status", "program-1")["passed_bytes"] == sum(int(row["size"]) for row in rows)
    assert planned["bytes"] == sum(int(row["size"]) for row in rows)
    assert shell.shown("plan", path)["finding_counts"] == {"EXISTS_SAME": len(manifest)}


def test_what_was_deleted_or_replaced_in_ica_since_is_told(shell: Shell, stack: LocalStack) -> None:
    manifest = manifest_of(stack, 903, folders=1)
    shell("submit", shell.file(manifest), "--id", "program-5", "--wait", "--timeout", "6m")
    shell("verify", "program-5")
    project, folder = place(destinations(manifest)[0])
    gone, replaced, *_ = simulator(stack).files(project, folder)
    simulator(stack).post("/files:delete", {"project": project, "path": gone})
    simulator(stack).post("/files", {"project": project, "path": replaced, "size": 1})
    found = json.loads(shell("verify", "program-5", "--json", code=Exit.PROBLEM).stdout)
    changes = {(each["copy"], each["change"]) for each in found["changed"]}
    assert changes == {(f"icav2://{project}{gone}", "GONE"), (f"icav2://{project}{replaced}", "CHANGED")}


def test_a_copy_is_paused_cancelled_and_redriven(shell: Shell, stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = manifest_of(stack, 902)
    project, _ = place(destinations(manifest)[0])
    shell("submit", shell.file(manifest), "--id", "program-2", "--hold")
    shell("wait", "program-2", "--timeout", "5", code=Exit.TIMED_OUT)
    assert "held since it was submitted" in shell("explain", "program-2").stdout
    assert simulator(stack).copied(manifest) == (len(manifest), 0)
    shell("pause", "--project", project, "--reason", "disk full")
    shell("resume", "program-2")
    assert "disk full" in shell("explain", "program-2").stdout
    shell("cancel", "program-2")
    shell("resume", "--project", project)
    shell("wait", "program-2", "--timeout", "6m", code=Exit.CANCELLED)
    assert subscriber.settled("program-2")["detail-type"] == "CopyCancelled"
    redriven = shell("redrive", "program-2").stdout.strip()
    shell("wait", redriven, "--timeout", "6m")
    assert simulator(stack).copied(manifest) == (len(manifest), len(manifest))


def test_a_copy_is_cancelled_half_way(shell: Shell, stack: LocalStack) -> None:
    """One job has passed, one runs at ICA and will fail there, and one waits since its project is paused."""
    manifest = manifest_of(stack, 905)
    *_, moved = destinations(manifest)
    waiting = moved.replace(place(moved)[0], "half-way-archive")
    manifest = {source: [waiting] if to == [moved] else to for source, to in manifest.items()}
    simulator(stack).post("/projects", {"name": "half-way-archive"})
    passing, running, _ = destinations(manifest)
    script(stack, passing, "SUCCEEDED")
    script(stack, running, {"status": "FAILED", "seconds": 12}, for_ever=True)
    shell("pause", "--project", "half-way-archive", "--reason", "its owner is asked")
    shell("submit", shell.file(manifest), "--id", "program-6")
    until(lambda: shell.code("status", "program-6") == Exit.DONE, "the copy is there")
    until(lambda: shell.shown("status", "program-6")["passed_jobs"] == 1, "a job has passed")

    cancelled = shell.shown("cancel", "program-6")
    left_at_ica = [each["ica_job_id"] for each in cancelled["left"]]
    shell("resume", "--project", "half-way-archive")
    shell("wait", "program-6", "--timeout", "6m", code=Exit.CANCELLED)

    assert (cancelled["cancelled"], len(left_at_ica)) == (1, 1)
    launched = [(folder_of(job), job["job_id"]) for job in simulator(stack).get("/jobs")]
    assert [job_id for folder, job_id in launched if folder == running][-1:] == left_at_ica
    assert waiting not in dict(launched)
    jobs = {job["dest_uri"]: job["job_id"] for job in shell.shown("status", "program-6", "--jobs")["jobs"]}
    redriven = shell("redrive", "program-6", "--job", jobs[waiting]).stdout.strip()
    shell("wait", redriven, "--timeout", "6m")
    assert [job["dest_uri"] for job in shell.shown("status", redriven, "--jobs")["jobs"]] == [waiting]


def test_what_failed_is_redriven_once_its_source_is_there(shell: Shell, stack: LocalStack) -> None:
    manifest = manifest_of(stack, 906, folders=1)
    project, _ = place(next(iter(manifest)))
    late = f"icav2://{project}/run/late.txt"
    path = shell.file(manifest | {late: [f"icav2://{place(destinations(manifest)[0])[0]}/late/"]})
    planned = json.loads(shell("plan", path, "--json", code=Exit.REFUSED).stdout)
    assert planned["finding_counts"] == {"SOURCE_MISSING": 1}
    shell("submit", path, "--id", "program-7", "--wait", "--timeout", "6m", code=Exit.COPY_FAILED)
    failed = csv.DictReader(StringIO(shell("report", "program-7", "--format", "csv", "--failed").stdout))
    assert [row["source"] for row in failed] == [late]
    assert late in shell("status", "program-7", "--failed").stdout
    simulator(stack).post("/files", {"project": project, "path": "/run/late.txt", "size": 5})
    redriven = shell("redrive", "program-7").stdout.strip()
    until(lambda: shell.code("status", redriven) == Exit.DONE, "the redrive is there")
    shell("watch", redriven, "--timeout", "2", code=Exit.TIMED_OUT)  # its folder rests for a minute
    assert [(job["sources"], job["attempts"]) for job in shell.shown("status", redriven, "--jobs")["jobs"]] == [(1, [])]


def test_a_manifest_is_built_of_a_folder_and_the_logs_of_its_copy_are_read(shell: Shell, stack: LocalStack) -> None:
    manifest = manifest_of(stack, 904)
    project, folder = place(common_folder(list(manifest)))
    to = f"icav2://{place(destinations(manifest)[0])[0]}/built/"
    built = shell("manifest", "build", "--from", f"icav2://{project}{folder}", "--to", to, "--keep-tree")
    there = {f"icav2://{project}{path}" for path in simulator(stack).files(project, folder)}
    assert json.loads(built.stdout).keys() == there >= manifest.keys()
    path = shell.file(json.loads(built.stdout))
    shell("validate", path)
    shell("submit", path, "--id", "program-4", "--hold")
    until(lambda: shell.code("cancel", "program-4") == Exit.DONE, "the copy is there, and cancelled")
    wanted = {("ingest", "copy accepted"), ("control", "copy cancelled")}
    until(lambda: wanted <= {(each["function"], each["message"]) for each in shell.logs("program-4")}, "it is logged")


def test_what_ingest_rejects_is_told_with_its_problems(shell: Shell) -> None:
    path = shell.file({"icav2://nobody/a.txt": ["icav2://7595e8f2-32d3-4c76-a324-c6a85dae87b5/to/"]})
    rejected = shell("submit", path, "--id", "program-3", "--wait", "--timeout", "6m", code=Exit.REFUSED)
    assert "is in a project that cannot be found" in rejected.stderr
    shell("wait", "program-3", code=Exit.REFUSED)
    shell("status", "program-3", code=Exit.NO_SUCH_COPY)


def test_projects_are_subscribed_once_and_a_broken_stack_is_examined(shell: Shell, stack: LocalStack) -> None:
    first, second, third = (simulator(stack).post("/projects", {"name": f"new-{each}"})["id"] for each in range(3))
    for status in ("subscribed", "there"):
        assert [each["status"] for each in shell.shown("subscribe", first, second)] == [status, status]
    examine = ("doctor", "--project", first, "--project", third)
    assert told(shell, *examine) == {("subscription", third): "warning", ("alarm_listeners", None): "warning"}

    dead_letters = stack.outputs["LaunchDeadLetterQueueUrl"]
    stack.client("sqs").send_message(QueueUrl=dead_letters, MessageBody="{}")
    with token(stack, "the wrong one"):
        broken = told(shell, *examine, code=Exit.PROBLEM)
    stack.client("sqs").purge_queue(QueueUrl=dead_letters)
    assert broken == {
        ("ica", None): "problem",
        ("dead_letters", "launch"): "problem",
        ("alarm_listeners", None): "warning",
    }
    assert told(shell, *examine) == {("subscription", third): "warning", ("alarm_listeners", None): "warning"}


def told(shell: Shell, *arguments: str, code: Exit = Exit.DONE) -> dict[tuple[str, str | None], str]:
    """The warnings and problems that a doctor finds. Of some things it cannot be told how they are on the local AWS."""
    findings = json.loads(shell(*arguments, "--json", code=code).stdout)
    return {(each["check"], each["about"]): each["status"] for each in findings if each["status"] in BAD}


@contextmanager
def token(stack: LocalStack, text: str) -> Iterator[None]:
    """Store another token meanwhile."""
    secrets = stack.client("secretsmanager")
    secrets.put_secret_value(SecretId="ICAv2JWTKey-local", SecretString=json.dumps({"token": text.replace(" ", "-")}))
    yield
    secrets.put_secret_value(SecretId="ICAv2JWTKey-local", SecretString=TOKEN)
