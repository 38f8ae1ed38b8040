"""A shell in which ``icav2-copy`` is called, and the copies that a scripted control function shows there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from icav2_copy_batch.cli.main import app
from icav2_copy_batch.cli.program import Program
from icav2_copy_batch.domain.submission import rejection_key
from tests.doubles.clock import Clock
from tests.integration import clients
from tests.integration.operators import BUCKET, ScriptedControl

PROJECT = "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
SUBMITTED = "2024-05-28T03:12:05.000Z"
COPY = {
    "copy_id": "run-42",
    "status": "OPEN",
    "submitted_at": SUBMITTED,
    "total_jobs": 4,
    "open_jobs": 3,
    "passed_jobs": 1,
    "tags": {"run": "42", "lab": "a"},
}
DONE = {**COPY, "status": "COMPLETED", "open_jobs": 0, "passed_jobs": 4, "settled_at": "2024-05-28T03:20:00.000Z"}
FAILED = {**DONE, "status": "FAILED", "passed_jobs": 3, "failed_jobs": 1}
CANCELLED = {**DONE, "status": "CANCELLED", "passed_jobs": 1, "cancelled_jobs": 3}
HELD = {"reason": "NO_SLOT", "jobs": 2, "detail": "200 ICA jobs are in flight"}
PAUSE = {"subject": "all", "since": SUBMITTED, "by": "ann", "reason": "Disk is full"}
HOLD = {"reason": "NO_SLOT", "detail": "200 ICA jobs are in flight"}


def job(number: int, status: str, folder: str, sources: int, attempt: int = 1, **more: Any) -> dict[str, Any]:
    to = f"icav2://{PROJECT}/to/{folder}/"
    known = {"job_id": f"{number:06d}", "status": status, "attempt": attempt, "sources": sources, "folders": 0}
    return {**known, "dest_uri": to, "project_id": PROJECT, **more}


JOBS = [
    job(
        1,
        "PASSED",
        "a",
        2,
        attempts=[{"number": 1, "outcome": "SUCCEEDED", "claimed_at": SUBMITTED}],
        total_bytes=1_500_000_000,
    ),
    job(2, "RUNNING", "[b]", 3, attempt=2),
    job(3, "QUEUED", "c", 1, hold=HOLD),
    job(4, "QUEUED", "d", 1, hold=HOLD),
]
ONLY = {"failed": ("FAILED", "CANCELLED"), "open": ("QUEUED", "LAUNCHING", "RUNNING")}
NO_SUCH_COPY = {"error": {"kind": "no_such_copy", "message": "there is no copy run-42"}}


@dataclass
class Terminal:
    """A shell in which the program is called."""

    control: ScriptedControl
    clock: Clock
    program: Program
    folder: Path

    def __call__(self, *arguments: str, answer: str | None = None, **environment: str | None) -> Result:
        runner = CliRunner(env={"COLUMNS": "160", "NO_COLOR": None, **environment})
        return runner.invoke(app, arguments, input=answer, obj=self.program, catch_exceptions=False)

    def pretty(self, *arguments: str, **environment: str | None) -> Result:
        """Called where both streams are terminals."""
        before = self.program
        self.program = replace(before, terminal=True)
        try:
            return self(*arguments, **environment)
        finally:
            self.program = before

    def manifest(self, content: object) -> str:
        path = self.folder / "manifest.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def good_manifest(self) -> str:
        return self.manifest({"icav2://run/a.txt": ["icav2://archive/to/"]})

    def shows(self, *copies: dict[str, Any], jobs: list[dict[str, Any]] | None = None) -> None:
        """Have the control function show a copy like this, look after look; the last for ever."""
        looks = list(copies)

        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            if asked.get("jobs"):
                wanted = tuple(each["status"] for each in jobs or [])
                for only, statuses in ONLY.items():
                    wanted = statuses if asked.get(only) else wanted
                after = [each for each in jobs or [] if each["job_id"] > asked.get("after", "")]
                return {"ok": {"copy": looks[0], "jobs": [each for each in after if each["status"] in wanted]}}
            look = looks.pop(0) if len(looks) > 1 else looks[0]
            return look if "error" in look else {"ok": {"copy": look}}

        self.control.answers["status"] = answer

    def asked(self, command: str) -> dict[str, Any]:
        """The one request of that command, without who asks."""
        (request,) = [each for each in self.control.requests if each["command"] == command]
        return {key: value for key, value in request.items() if key not in ("by", "command")}


def lines(text: str) -> list[list[str]]:
    """Plain output: its lines, each by its cells."""
    return [line.split("\t") for line in text.splitlines()]


def queued() -> list[dict[str, Any]]:
    url = clients.sqs().get_queue_url(QueueName="ingest")["QueueUrl"]
    received = clients.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(each["Body"]) for each in received]


def reject(copy_id: str, submission_id: str) -> None:
    problems = [{"about": "icav2://run/[a]", "problem": "is wrong"}]
    rejected = {"submission_id": submission_id, "problem_count": 3, "problems": problems}
    clients.s3().put_object(Bucket=BUCKET, Key=rejection_key(copy_id), Body=json.dumps(rejected).encode())


def without_style(printed: str) -> str:
    """What a terminal shows, without its colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", printed)
