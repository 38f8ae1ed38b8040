"""``icav2-copy subscribe`` and ``doctor``: what they ask, what they print, and their exit codes."""

from __future__ import annotations

import json

import pytest

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.domain.version import VERSION
from tests.integration.aws_calls import AwsCalls
from tests.integration.shell import PROJECT, Terminal, lines, without_style

# --- subscribe -------------------------------------------------------------------------------------------------------


def subscribed(status: str, project: str = "archive") -> dict[str, str]:
    return {"project": project, "project_id": PROJECT, "status": status, "detail": f"because of {status}"}


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["subscribed"], Exit.DONE),
        (["there", "enabled"], Exit.DONE),
        (["subscribed", "unavailable", "refused"], Exit.REFUSED),
        (["subscribed", "unavailable"], Exit.UNAVAILABLE),
    ],
)
def test_what_became_of_each_project_is_a_line(shell: Terminal, statuses: list[str], code: Exit) -> None:
    shell.control.ok("subscribe", address="https://queue", projects=[subscribed(each) for each in statuses])
    result = shell("subscribe", "archive", PROJECT)
    assert result.exit_code == code
    assert lines(result.stdout) == [["archive", each, PROJECT, f"because of {each}"] for each in statuses]
    assert shell.asked("subscribe") == {"projects": ["archive", PROJECT]}
    as_json = shell("subscribe", "archive", "--json")
    assert (as_json.exit_code, [each["status"] for each in json.loads(as_json.stdout)]) == (code, statuses)


# --- doctor ----------------------------------------------------------------------------------------------------------


def finding(status: str, check: str = "bus", **more: str) -> dict[str, str]:
    return {"check": check, "status": status, "what": f"[{status}] was seen", **more}


def test_findings_are_lines(shell: Terminal) -> None:
    bad = finding("problem", "dead_letters", about="ingest", fix="move them back")
    shell.control.ok("doctor", version=VERSION, findings=[bad, finding("ok")])
    result = shell("doctor", "--project", "archive", "--project", PROJECT)
    assert result.exit_code == Exit.PROBLEM
    control, version, *found = lines(result.stdout)
    assert (control[:3], version[:3]) == (["ok", "control", "-"], ["ok", "version", "-"])
    assert found == [
        ["problem", "dead_letters", "ingest", "[problem] was seen", "move them back"],
        ["ok", "bus", "-", "[ok] was seen", "-"],
    ]
    assert result.stderr == "1 problem, 3 ok.\n"
    assert shell.asked("doctor") == {"projects": ["archive", PROJECT]}


@pytest.mark.parametrize(
    ("statuses", "code", "said"),
    [
        (["ok"], 0, "3 ok.\n"),
        (["warning", "unknown"], 0, "1 warning, 1 unknown, 2 ok.\n"),
        (["warning", "problem", "problem"], 1, "2 problems, 1 warning, 2 ok.\n"),
    ],
)
def test_only_a_problem_is_an_exit_code(shell: Terminal, statuses: list[str], code: int, said: str) -> None:
    shell.control.ok("doctor", version=VERSION, findings=[finding(each) for each in statuses])
    result = shell("doctor", "--json")
    assert (result.exit_code, result.stderr) == (code, said)
    assert [each["status"] for each in json.loads(result.stdout)] == ["ok", "ok", *statuses]


def test_on_a_terminal_what_to_do_stands_below(shell: Terminal) -> None:
    shell.control.ok("doctor", version=VERSION, findings=[finding("warning", about="[mine]", fix="do [that]")])
    printed = without_style(shell.pretty("doctor").stdout).splitlines()
    assert [line.rstrip() for line in printed[-2:]] == ["warning bus [mine]: [warning] was seen", "        do [that]"]


def test_a_stack_that_does_not_answer_is_a_finding_and_a_problem(shell: Terminal, aws: AwsCalls) -> None:
    aws.refuse("Invoke", "AccessDeniedException")
    result = shell("doctor")
    assert (result.exit_code, lines(result.stdout)[0][:2]) == (Exit.PROBLEM, ["problem", "control"])
    assert "the template's policies for submitters and operators name it" in result.stdout
