"""``icav2-copy``: what all commands have in common, and those with which one looks at copies."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

import pytest

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.main import COMMANDS as COMMANDS_OF_PROGRAM
from icav2_copy_batch.domain.version import VERSION
from tests.integration.aws_calls import AwsCalls
from tests.integration.operators import describe_stacks
from tests.integration.shell import (
    CANCELLED,
    COPY,
    DONE,
    FAILED,
    HELD,
    JOBS,
    NO_SUCH_COPY,
    PAUSE,
    PROJECT,
    SUBMITTED,
    Terminal,
    lines,
    without_style,
)
from tests.integration.template import TEMPLATE

# --- what all have in common -----------------------------------------------------------------------------------------


MANIFEST = "a manifest's path"
COMMANDS = (
    "validate", "plan", "submit", "list", "status", "watch", "wait", "explain", "cancel", "pause", "resume", "pauses",
    "redrive", "adopt", "release", "verify", "report", "subscribe", "doctor", "env", "manifest", "logs",
)  # fmt: skip


def test_help_names_every_command_and_exit_code(shell: Terminal) -> None:
    assert set(COMMANDS) == {*COMMANDS_OF_PROGRAM, "manifest"}
    printed = shell("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in printed
    assert "0 done · 1 the copy failed, or a problem was found · 2 usage · 3" in printed
    assert "--install-completion" in printed


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("icav2-copy sta", {"status"}),
        ("icav2-copy pau", {"pause", "pauses"}),
        ("icav2-copy manifest ", {"build"}),
        ("icav2-copy status run-42 --o", {"--open"}),
        ("icav2-copy list --status F", {"FAILED"}),
    ],
)
def test_a_shell_is_told_how_what_was_typed_goes_on(shell: Terminal, typed: str, completed: set[str]) -> None:
    words = str(len(typed.split(" ")) - 1)
    result = shell(_ICAV2_COPY_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=words)
    assert (result.exit_code, set(result.stdout.split())) == (0, completed)
    assert shell.control.requests == [], "and the stack is not asked for that"


def test_without_a_command_its_help_is_shown(shell: Terminal) -> None:
    assert "Usage: icav2-copy" in shell().output


def test_the_version_is_printed(shell: Terminal) -> None:
    result = shell("--version")
    assert (result.exit_code, result.stdout) == (Exit.DONE, f"{VERSION}\n")
    assert tomllib.loads((TEMPLATE.parent / "pyproject.toml").read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize(
    "arguments",
    [
        ("paint",),
        ("status",),
        ("status", "run-42", "--colour"),
        ("validate", "no-such-file.json"),
        ("submit", "no-such-file.json"),
        ("list", "--status", "PAINTED"),
        ("list", "--since", "yesterday"),
        ("list", "--tag", "run"),
        ("list", "--limit", "0"),
        ("wait", "run-42", "--timeout", "soon"),
        ("pause",),
        ("pause", "run-42", "--all"),
        ("subscribe",),
        ("resume", "--project", "archive", "--all"),
        ("report", "run-42", "--format", "pdf"),
        ("report", "run-42", "--format", "html", "--failed"),
        ("report", "run-42", "--format", "csv", "--json"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(shell: Terminal, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "Error" in result.stderr
    assert shell.control.requests == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("invalid", Exit.USAGE),
        ("refused", Exit.REFUSED),
        ("no_such_copy", Exit.NO_SUCH_COPY),
        ("no_such_job", Exit.NO_SUCH_COPY),
        ("unavailable", Exit.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "run-42"),
        ("cancel", "run-42"),
        ("pause", "run-42"),
        ("resume", "--all"),
        ("subscribe", "archive"),
        ("redrive", "run-42"),
        ("adopt", "run-42", "1", "ica-1", "--yes"),
        ("release", "run-42", "1", "--yes"),
        ("list",),
        ("explain", "run-42"),
        ("report", "run-42"),
        ("plan", MANIFEST),
        ("logs", "run-42"),
        ("watch", "run-42"),
        ("watch",),
        ("wait", "run-42"),
        ("verify", "run-42"),
        ("pauses",),
        ("manifest", "build", "--from", "icav2://run/a/", "--to", "icav2://archive/b/"),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    shell: Terminal, arguments: tuple[str, ...], kind: str, code: Exit
) -> None:
    asked = {"explain": "status", "report": "status", "logs": "status", "wait": "status", "manifest": "files"}
    asked["watch"] = "status" if len(arguments) > 1 else "list"
    shell.control.fail(asked.get(arguments[0], arguments[0]), kind, "because of that")
    result = shell(*(shell.good_manifest() if each == MANIFEST else each for each in arguments))
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Error: because of that\n")


@pytest.mark.parametrize("kind", ["refused", "no_such_copy", "unavailable", "invalid"])
def test_whatever_keeps_the_doctor_from_answering_is_a_problem_that_it_finds(shell: Terminal, kind: str) -> None:
    shell.control.fail("doctor", kind, "because of that")
    result = shell("doctor")
    assert (result.exit_code, lines(result.stdout)[0][0]) == (Exit.PROBLEM, "problem")
    assert "because of that" in result.stdout


@pytest.mark.parametrize("arguments", [("list",), ("watch",), ("env",), ("wait", "run-42")])
def test_a_stack_that_is_not_there_is_a_usage_error(shell: Terminal, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments, "--stack", "/other")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "Error: there are no SSM parameters below /other in us-east-1; name the stack" in result.stderr


def test_a_stack_is_named_by_option_or_environment(shell: Terminal, aws: AwsCalls) -> None:
    describe_stacks(aws, "mine", {"IngestQueueUrl": "the url"})
    for result in (shell("env", "--stack", "mine"), shell("env", ICAV2_COPY_STACK="mine")):
        assert result.stdout == "export INGEST_QUEUE_URL='the url'\n"


def test_aws_that_does_not_let_one_in_is_unavailable(shell: Terminal, aws: AwsCalls) -> None:
    aws.refuse("GetParametersByPath", "ExpiredTokenException")
    result = shell("list")
    assert result.exit_code == Exit.UNAVAILABLE
    assert "aws sso login" in result.stderr


# --- wait and watch --------------------------------------------------------------------------------------------------


def test_a_wait_times_out_with_its_own_code(shell: Terminal) -> None:
    shell.shows(COPY)
    result = shell("wait", "run-42", "--timeout", "1m")
    assert (result.exit_code, result.stdout) == (Exit.TIMED_OUT, "")
    assert "Error: copy run-42 has not settled after 60 s" in result.stderr


def test_a_wait_for_a_copy_that_never_was_ends(shell: Terminal) -> None:
    shell.shows(NO_SUCH_COPY)
    result = shell("wait", "run-42")
    assert (result.exit_code, result.stderr) == (Exit.NO_SUCH_COPY, "Error: there is no copy run-42\n")


def test_a_wait_for_several_ends_as_the_first_that_has_not_completed(shell: Terminal) -> None:
    copies = {"a": DONE, "b": CANCELLED, "c": FAILED}
    shell.control.answers["status"] = lambda asked: {
        "ok": {"copy": {**copies[asked["copy_id"]], "copy_id": asked["copy_id"]}}
    }
    result = shell("wait", "a", "b", "c", "--json")
    assert result.exit_code == Exit.CANCELLED
    assert [json.loads(line)["copy_id"] for line in result.stdout.splitlines()] == ["a", "b", "c"]


def test_the_time_to_wait_is_that_of_all_copies_together(shell: Terminal) -> None:
    shell.shows(COPY)
    began = shell.clock.now
    assert shell("wait", "a", "b", "--timeout", "90").exit_code == Exit.TIMED_OUT
    assert (shell.clock.now - began).total_seconds() == 90


def test_a_watch_prints_a_line_for_each_change(shell: Terminal) -> None:
    shell.shows(COPY, FAILED, jobs=JOBS[:2])
    result = shell("watch", "run-42")
    assert result.exit_code == Exit.COPY_FAILED
    kinds = [line[:3] for line in lines(result.stdout)]
    assert kinds == [
        ["copy", "run-42", "OPEN"],
        ["job", "000001", "PASSED"], ["job", "000002", "RUNNING"],
        ["copy", "run-42", "FAILED"],
    ]  # fmt: skip


def test_a_watch_prints_json_lines(shell: Terminal) -> None:
    shell.shows(COPY, DONE, jobs=JOBS[:1])
    changes = [json.loads(line) for line in shell("watch", "run-42", "--json").stdout.splitlines()]
    assert [(change["copy"]["status"], len(change["jobs"])) for change in changes] == [("OPEN", 1), ("COMPLETED", 0)]
    assert changes[0]["jobs"][0]["attempts"] == [
        {
            "number": 1,
            "outcome": "SUCCEEDED",
            "claimed_at": SUBMITTED,
            "ended_at": None,
            "ica_job_id": None,
            "reason": None,
        }
    ]


def test_a_watch_on_a_terminal_draws_the_copy(shell: Terminal) -> None:
    pause = {**PAUSE, "since": "2024-05-28T03:12:35.000Z"}
    shell.shows({**COPY, "pauses": [pause], "holds": [HELD]}, COPY, DONE, jobs=JOBS)
    shell.clock.forward(65)
    result = shell.pretty("watch", "run-42")
    assert result.exit_code == Exit.DONE
    first, second, *_, last = without_style(result.stdout).split("run-42  ")[1:]
    assert first.startswith("OPEN, paused")
    assert "all has been paused since 2024-05-28 03:12:35 by ann: Disk is full" in first
    assert "2 of 7 files copied, 1.5 GB, 3 attempts, about 90 s left once it is resumed" in first
    assert "2 of 7 files copied, 1.5 GB, 3 attempts, about 90 s left" in second, "the pause is no part of its pace"
    assert "resumed" not in second
    assert "NO_SLOT  2" in " ".join(first.split()).replace(" 2 ", "  2 ")
    assert "4 passed" in last


@pytest.mark.parametrize("is_pretty", [True, False])
def test_a_watch_that_is_stopped_has_its_own_code(shell: Terminal, is_pretty: bool) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    shell.shows(COPY, jobs=JOBS)
    shell.program = replace(shell.program, time=replace(shell.program.time, sleep=stop))
    result = shell.pretty("watch", "run-42") if is_pretty else shell("watch", "run-42")
    assert result.exit_code == Exit.STOPPED
    assert "Traceback" not in result.output


def test_all_copies_are_watched_until_the_time_is_over(shell: Terminal) -> None:
    shell.control.ok("list", copies=[COPY])
    for result in (shell("watch", "--timeout", "30"), shell.pretty("watch", "--timeout", "30")):
        assert result.exit_code == Exit.TIMED_OUT
        assert "run-42" in result.stdout


# --- list and status -------------------------------------------------------------------------------------------------


def test_copies_are_listed_in_plain_lines(shell: Terminal) -> None:
    shell.control.ok("list", copies=[{**COPY, "pauses": [PAUSE]}, DONE])
    result = shell("list", "--status", "open", "--since", "24h", "--tag", "run=42", "--limit", "7")
    assert (result.exit_code, lines(result.stdout)[0]) == (
        Exit.DONE, ["run-42", "OPEN", SUBMITTED, "-", "4", "1", "0", "0", "3", "lab=a,run=42", "all"],
    )  # fmt: skip
    assert shell.asked("list") == {
        "since": "2024-05-27T03:12:00.000Z", "status": "OPEN", "tags": {"run": "42"}, "limit": 7,
    }  # fmt: skip


def test_copies_are_listed_in_json_and_as_a_table(shell: Terminal) -> None:
    shell.control.ok("list", copies=[{**COPY, "pauses": [PAUSE]}, {**DONE, "copy_id": "run-[41]"}])
    assert [each["status"] for each in json.loads(shell("list", "--json").stdout)] == ["OPEN", "COMPLETED"]
    table = without_style(shell.pretty("list").stdout)
    assert "submitted (UTC)" in table
    assert "OPEN, paused" in table
    assert "run-[41]" in table
    assert "2024-05-28 03:12:05" in table


def test_a_list_of_nothing_is_said(shell: Terminal) -> None:
    shell.control.ok("list", copies=[])
    result = shell("list")
    assert (result.exit_code, result.stdout, result.stderr) == (Exit.DONE, "", "No copies.\n")


def test_a_status_is_lines_of_what_is_known(shell: Terminal) -> None:
    shell.shows(
        {**COPY, "redriven_as": ["run-42.r1", "run-42.r2"], "pauses": [PAUSE], "holds": [HELD], "queued_jobs": 2}
    )
    found = lines(shell("status", "run-42").stdout)
    known = {line[0]: line[1:] for line in found}
    assert known["status"] == ["OPEN"]
    assert known["open_jobs"] == ["3"]
    assert known["tags"] == ["lab=a,run=42"]
    assert known["redriven_as"] == ["run-42.r1,run-42.r2"]
    assert known["held"] == ["NO_SLOT", "2", "200 ICA jobs are in flight"]
    assert known["paused"] == ["all", SUBMITTED, "ann", "Disk is full"]
    assert known["queued_jobs"] == ["2"]
    assert shell.asked("status") == {"copy_id": "run-42", "holds": True}


def test_a_settled_copy_costs_one_question(shell: Terminal) -> None:
    shell.shows(DONE)
    shell("status", "run-42")
    assert len(shell.control.requests) == 1


def test_a_status_has_its_jobs_if_asked(shell: Terminal) -> None:
    shell.shows(COPY, jobs=[*JOBS, {"job_id": "000005", "status": "FAILED", "reason": "gone"}])
    jobs = [line for line in lines(shell("status", "run-42", "--jobs").stdout) if line[0] == "job"]
    assert jobs[2] == [
        "job", "000003", "QUEUED", "1", "1", "-", f"icav2://{PROJECT}/to/c/",
        "NO_SLOT", "200 ICA jobs are in flight", "-",
    ]  # fmt: skip
    assert len(jobs) == 5
    failed = [line for line in lines(shell("status", "run-42", "--failed").stdout) if line[0] == "job"]
    assert [line[1] for line in failed] == ["000005"]
    still_open = [line for line in lines(shell("status", "run-42", "--open").stdout) if line[0] == "job"]
    assert [line[1] for line in still_open] == ["000002", "000003", "000004"]
    document = json.loads(shell("status", "run-42", "--failed", "--json").stdout)
    assert (document["copy_id"], [job["reason"] for job in document["jobs"]]) == ("run-42", ["gone"])
    assert "jobs" not in json.loads(shell("status", "run-42", "--json").stdout)


def test_a_status_on_a_terminal_has_a_bar_counts_and_what_holds_the_jobs(shell: Terminal) -> None:
    shell.shows({**COPY, "holds": [HELD], "pauses": [PAUSE]}, jobs=JOBS)
    shell.clock.forward(65)
    printed = without_style(shell.pretty("status", "run-42", "--jobs").stdout)
    assert "━━━━━━━━━━" in printed
    assert "4 jobs: 1 passed  0 failed  0 cancelled  3 open" in printed
    assert "2 of 7 files copied, 1.5 GB, 3 attempts" in printed
    assert "run-42  OPEN, paused" in printed
    assert "all has been paused since 2024-05-28 03:12:05 by ann: Disk is full" in printed
    assert "NO_SLOT" in printed
    assert f"All destinations are below icav2://{PROJECT}/to/" in printed
    assert " [b]/ " in printed


def test_colours_are_for_terminals_that_want_them(shell: Terminal) -> None:
    shell.control.ok("list", copies=[COPY])
    assert "\x1b[36m" in shell.pretty("list", TERM="xterm-256color").stdout
    assert "\x1b[36m" not in shell.pretty("list", TERM="xterm-256color", NO_COLOR="1").stdout
    assert "\x1b" not in shell("list").stdout


def test_colours_of_errors_are_for_terminals_that_want_them_too(shell: Terminal) -> None:
    shell.control.fail("status", "no_such_copy", "there is none")
    assert "\x1b[31mError" in shell.pretty("status", "run-42", TERM="xterm-256color").stderr
    assert shell.pretty("status", "run-42", TERM="xterm-256color", NO_COLOR="1").stderr == "Error: there is none\n"


def test_a_watch_is_drawn_without_colours_where_they_are_not_wanted(shell: Terminal) -> None:
    shell.shows({**COPY, "pauses": [PAUSE]}, DONE, jobs=JOBS)
    colour = re.compile("\x1b\\[[0-9;]*3[0-9][0-9;]*m")
    assert colour.search(shell.pretty("watch", "run-42", TERM="xterm-256color").stdout)
    shell.shows({**COPY, "pauses": [PAUSE]}, DONE, jobs=JOBS)
    plain = shell.pretty("watch", "run-42", TERM="xterm-256color", NO_COLOR="1").stdout
    assert not colour.search(plain)
    assert "OPEN, paused" in plain


# --- explain ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_explained(shell: Terminal) -> None:
    pause = {"subject": f"project {PROJECT}", "since": SUBMITTED, "reason": "Disk is full"}
    shell.shows({**COPY, "holds": [HELD], "pauses": [pause]})
    result = shell("explain", "run-42")
    assert result.exit_code == Exit.DONE
    assert f"Project {PROJECT} has been paused since 2024-05-28 03:12:05: Disk is full." in result.stdout
    assert "2 jobs are held (NO_SLOT): 200 ICA jobs are in flight." in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert len(shell.pretty("explain", "run-42").stdout.splitlines()) > 1


def test_a_job_is_explained_by_its_number(shell: Terminal) -> None:
    shell.shows(COPY, jobs=JOBS)
    document = json.loads(shell("explain", "run-42", "3", "--json").stdout)
    assert (document["copy_id"], document["job_id"]) == ("run-42", "000003")
    assert "is QUEUED. It is held (NO_SLOT)" in document["text"]
    missing = shell("explain", "run-42", "9")
    assert (missing.exit_code, missing.stderr) == (
        Exit.NO_SUCH_COPY, "Error: copy run-42 has no job 000009; icav2-copy status run-42 --jobs lists them\n",
    )  # fmt: skip


def test_a_failed_copy_is_explained_by_its_first_failure(shell: Terminal) -> None:
    shell.shows(FAILED, jobs=[{"job_id": "000002", "status": "FAILED", "dest_uri": "icav2://x/to/", "reason": "gone"}])
    assert "The first job that failed, 000002 into icav2://x/to/: gone." in shell("explain", "run-42").stdout
