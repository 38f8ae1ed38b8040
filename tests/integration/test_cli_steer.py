"""``icav2-copy cancel``, ``pause``, ``resume``, ``redrive``, ``adopt``, ``release``, ``report`` and ``env``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icav2_copy_batch.cli.exits import Exit
from tests.integration import clients
from tests.integration.operators import BUCKET
from tests.integration.shell import (
    COPY,
    FAILED,
    JOBS,
    PAUSE,
    PROJECT,
    SUBMITTED,
    Terminal,
    lines,
)

# --- steering --------------------------------------------------------------------------------------------------------


def test_a_cancel_says_what_it_leaves_at_ica(shell: Terminal) -> None:
    left = [{"job_id": "000002", "status": "RUNNING", "ica_job_id": "ica-2"}]
    shell.control.ok("cancel", copy=COPY, cancelled=2, left=left)
    result = shell("cancel", "run-42")
    assert (result.exit_code, result.stdout) == (Exit.DONE, "left\t000002\tRUNNING\tica-2\n")
    assert "2 jobs cancelled.\n1 job left at ICA, which cannot stop what runs" in result.stderr
    assert json.loads(shell("cancel", "run-42", "--json").stdout)["left"] == left


def test_a_cancel_that_leaves_nothing_says_so_by_silence(shell: Terminal) -> None:
    shell.control.ok("cancel", copy=COPY, cancelled=1, left=[])
    result = shell("cancel", "run-42")
    assert (result.stdout, result.stderr) == ("", "1 job cancelled.\n")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_pause_has_a_subject_and_a_reason(shell: Terminal, command: str) -> None:
    pauses = [{"subject": "all", "since": SUBMITTED, "by": "ann", "reason": "maintenance"}]
    shell.control.ok(command, pauses=pauses)
    result = shell(command, "--project", PROJECT.upper(), "--reason", "maintenance")
    assert (result.exit_code, result.stdout) == (Exit.DONE, f"all\t{SUBMITTED}\tann\tmaintenance\n")
    assert result.stderr == "Paused now: 1 subject.\n"
    assert shell.asked(command) == {"project_id": PROJECT, "reason": "maintenance"}
    shell(command, "--project", "archive")
    named = shell.control.requests.pop()
    assert (named["project"], "project_id" in named) == ("archive", False)
    assert json.loads(shell(command, "--all", "--json").stdout) == pauses
    shell.control.ok(command, pauses=[])
    assert shell(command, "run-42").stderr == "Nothing is paused now.\n"
    assert [each.get("copy_id") or each.get("all") for each in shell.control.requests[1:]] == [True, "run-42"]


def test_a_redrive_prints_the_new_id(shell: Terminal) -> None:
    shell.control.ok("redrive", copy_id="run-42.r1", jobs=3)
    result = shell("redrive", "run-42")
    assert (result.exit_code, result.stdout) == (Exit.DONE, "run-42.r1\n")
    assert result.stderr == "3 jobs of run-42 are copied again by run-42.r1.\n"
    assert shell.asked("redrive") == {"copy_id": "run-42"}
    shell.control.requests.clear()
    assert json.loads(shell("redrive", "run-42", "--job", "3", "--json").stdout) == {"copy_id": "run-42.r1", "jobs": 3}
    assert shell.asked("redrive") == {"copy_id": "run-42", "job_id": "000003"}


def test_pauses_are_listed_and_none_is_changed(shell: Terminal) -> None:
    shell.control.ok("pauses", pauses=[PAUSE, {"subject": "copy run-41", "since": SUBMITTED}])
    result = shell("pauses")
    assert (result.exit_code, result.stderr) == (Exit.DONE, "Paused now: 2 subjects.\n")
    assert lines(result.stdout) == [["all", SUBMITTED, "ann", "Disk is full"], ["copy run-41", SUBMITTED, "-", "-"]]
    assert [each["subject"] for each in json.loads(shell("pauses", "--json").stdout)] == ["all", "copy run-41"]
    assert {each["command"] for each in shell.control.requests} == {"pauses"}
    shell.control.ok("pauses", pauses=[])
    assert shell("pauses").stderr == "Nothing is paused now.\n"


DECISIONS = [
    (("adopt", "run-42", "2", "ica-2"), {"copy_id": "run-42", "job_id": "000002", "ica_job_id": "ica-2"}),
    (("release", "run-42", "2"), {"copy_id": "run-42", "job_id": "000002"}),
]


@pytest.mark.parametrize(("arguments", "request_"), DECISIONS)
def test_a_decision_is_asked_for_unless_it_is_sure(
    shell: Terminal, arguments: tuple[str, ...], request_: dict[str, str]
) -> None:
    shell.control.ok(arguments[0], job=JOBS[1])
    refused = shell(*arguments, answer="n\n")
    assert (refused.exit_code, refused.stdout, shell.control.requests) == (1, "", [])
    assert "job 000002 of run-42" in refused.stderr
    agreed = shell(*arguments, answer="y\n")
    assert (agreed.exit_code, lines(agreed.stdout)[0][:3]) == (Exit.DONE, ["job", "000002", "RUNNING"])
    assert shell.asked(arguments[0]) == request_
    assert json.loads(shell(*arguments, "--yes", "--json").stdout)["status"] == "RUNNING"


# --- report and env --------------------------------------------------------------------------------------------------

CSV = "source,destination,size,outcome,attempts,ica_job,reason,job\r\n" + "".join(
    f'"icav2://run/{name}\u2028","icav2://archive/to/",1,{outcome},1,ica,"two\nlines",000001\r\n'
    for name, outcome in (("a", "COPIED"), ("b", "FAILED"), ("c", "COPIED"), ("d", "MISMATCH"))
)


@pytest.fixture
def reported(shell: Terminal) -> Terminal:
    shell.shows({**FAILED, "result_uri": f"s3://{BUCKET}/results/run-42.json"})
    texts = {"json": json.dumps({"failed_jobs": [{"dest_uri": "é"}]}), "csv": CSV, "html": "<html>"}
    for form, text in texts.items():
        clients.s3().put_object(Bucket=BUCKET, Key=f"results/run-42.{form}", Body=text.encode())
    return shell


def test_a_report_is_printed_as_it_is(reported: Terminal) -> None:
    assert json.loads(reported("report", "run-42").stdout) == {"failed_jobs": [{"dest_uri": "é"}]}
    assert json.loads(reported("report", "run-42", "--json").stdout) == {"failed_jobs": [{"dest_uri": "é"}]}
    assert reported("report", "run-42", "--format", "csv").stdout_bytes.decode() == CSV
    assert reported("report", "run-42", "--format", "html").stdout == "<html>"


def test_only_what_failed_is_printed_if_asked(reported: Terminal) -> None:
    assert json.loads(reported("report", "run-42", "--failed").stdout) == [{"dest_uri": "é"}]
    rows = reported("report", "run-42", "--format", "csv", "--failed").stdout_bytes.decode()
    assert [name for name in "abcd" if f"icav2://run/{name}\u2028" in rows] == ["b", "d"]
    assert rows.startswith("source,destination,size,outcome")
    assert rows.count("two\nlines") == 2


def test_a_report_is_opened(reported: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    result = reported("report", "run-42", "--format", "html", "--open")
    assert (result.exit_code, result.stdout) == (Exit.DONE, "")
    assert result.stderr == f"Opening {opened[0]}\n"
    assert Path(opened[0]).read_text() == "<html>"
    assert Path(opened[0]).name == "run-42.html"


def test_a_page_is_not_poured_onto_a_terminal(reported: Terminal) -> None:
    result = reported.pretty("report", "run-42", "--format", "html")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "--open" in result.stderr


def test_an_open_copy_has_no_report_yet(shell: Terminal) -> None:
    shell.shows(COPY)
    result = shell("report", "run-42")
    assert result.exit_code == Exit.REFUSED
    assert "it is OPEN; wait until it has settled" in result.stderr


def test_the_environment_is_lines_for_a_shell(shell: Terminal) -> None:
    printed = shell("env").stdout.splitlines()
    assert "export MANIFEST_BUCKET_NAME=manifests" in printed
    assert "export CONTROL_FUNCTION_NAME=control-function" in printed
    assert json.loads(shell("env", "--json").stdout)["MANIFEST_BUCKET_NAME"] == "manifests"
