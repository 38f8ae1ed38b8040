"""``icav2-copy plan``, and the client's ``plan``."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from typing import Any

import pytest

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.plan import MOST_SHOWN
from icav2_copy_batch.client import Manifest, Refused
from icav2_copy_batch.client.submission import PLAIN_BYTES
from tests.integration.shell import PROJECT, Terminal, lines, queued, without_style

COST = {"ica_calls": 21, "write_units": 141, "read_units": 14, "dollars": 0.0002, "attempts": 5.0}
FORECAST = {
    "p50_seconds": 30.0, "p95_seconds": 150.0, "chance_all_pass": 0.997, "failure_rate": 0.2, "history_attempts": 120,
    "history_copies": 3, "is_of_history": True, "jobs_in_flight": 0, "jobs_waiting": 0, "rounds": 1000,
}  # fmt: skip
INTO = {"project": "archive", "project_id": PROJECT, "jobs": 4, "files": 6, "folders": 1, "bytes": 1_500_000_000}
LOOKED = {"sources": {"done": 7, "of": 7}, "copies": {"done": 7, "of": 7}}
PLAN = {
    **{key: INTO[key] for key in ("jobs", "files", "folders", "bytes")},
    "action_on_exist": "SKIP", "projects": [INTO], "would_fail": False, "refused_jobs": 0, "finding_counts": {},
    "findings": [], "looked_at": LOOKED, "stopped": None, "cost": COST, "forecast": FORECAST,
}  # fmt: skip


def finding(number: int, kind: str = "EXISTS_SAME", *, fails: bool = False) -> dict[str, Any]:
    uri = f"icav2://archive/to/[{number}].txt"
    return {"kind": kind, "uri": uri, "what": "is there already", "follows": f"follows {kind}", "fails": fails}


def with_findings(*findings: dict[str, Any], **more: Any) -> dict[str, Any]:
    fails = any(each["fails"] for each in findings)
    return {**PLAN, "findings": list(findings), "would_fail": fails, **more}


# --- the client ------------------------------------------------------------------------------------------------------


def test_a_plan_is_asked_for_as_a_submission_is_sent(shell: Terminal) -> None:
    shell.control.ok("plan", **with_findings(finding(1)), colour="blue")
    found = shell.program.stack(None).plan(
        Manifest().add("icav2://run/a", "icav2://archive/to/"), action_on_exist="RENAME"
    )
    assert (found.jobs, found.projects[0].project, found.findings[0].what) == (4, "archive", "is there already")
    assert (found.looked_at.sources.of, found.cost.ica_calls, found.forecast.p95_seconds) == (7, 21, 150)
    assert shell.control.requests == [
        {"command": "plan", "manifest": {"icav2://run/a": ["icav2://archive/to/"]}, "action_on_exist": "RENAME"}
    ]
    assert queued() == []


def test_a_large_manifest_is_planned_zipped(shell: Terminal) -> None:
    shell.control.ok("plan", **PLAN)
    manifest = {f"icav2://run/{number:05d}": ["icav2://archive/to/"] for number in range(9000)}
    assert len(json.dumps(manifest)) > PLAIN_BYTES
    shell.program.stack(None).plan(manifest, action_on_exist="RENAME")
    (request,) = shell.control.requests
    assert json.loads(gzip.decompress(b64decode(request.pop("manifest_b64gz")))) == manifest
    assert request == {"command": "plan", "action_on_exist": "RENAME"}


def test_what_can_be_seen_from_here_is_not_asked(shell: Terminal) -> None:
    with pytest.raises(Refused, match="1 problem"):
        shell.program.stack(None).plan({"nonsense": ["icav2://archive/to/"]})
    assert shell.control.requests == []


# --- the program -----------------------------------------------------------------------------------------------------


def test_a_plan_is_lines_of_data(shell: Terminal) -> None:
    shell.control.ok("plan", **with_findings(finding(1)))
    result = shell("plan", shell.good_manifest())
    assert (result.exit_code, result.stderr) == (Exit.DONE, "Nothing that was found would make it fail.\n")
    printed = lines(result.stdout)
    assert printed[:6] == [
        ["jobs", "4"], ["files", "6"], ["folders", "1"], ["bytes", "1500000000"], ["would_fail", "no"],
        ["refused_jobs", "0"],
    ]  # fmt: skip
    assert ["p95_seconds", "150.0"] in printed
    assert ["dollars", "0.0002"] in printed
    assert printed[-2:] == [
        ["project", "archive", PROJECT, "4", "6", "1", "1500000000"],
        ["finding", "EXISTS_SAME", "icav2://archive/to/[1].txt", "is there already", "follows EXISTS_SAME"],
    ]


def test_a_plan_is_json_with_all_that_is_known(shell: Terminal) -> None:
    shell.control.ok("plan", **with_findings(*map(finding, range(200))))
    result = shell("plan", shell.good_manifest(), "--json")
    assert json.loads(result.stdout) == with_findings(*map(finding, range(200)))


def test_what_would_fail_ends_with_code_3(shell: Terminal) -> None:
    shell.control.ok("plan", **with_findings(finding(1, "SOURCE_MISSING", fails=True)))
    for options in ((), ("--json",)):
        result = shell("plan", shell.good_manifest(), *options)
        assert (result.exit_code, result.stderr) == (Exit.REFUSED, "It would fail as it stands.\n")
    assert "would fail as it stands" in without_style(shell.pretty("plan", shell.good_manifest()).stdout)


def test_all_problems_that_the_stack_finds_are_counted(shell: Terminal) -> None:
    listed = [{"about": "icav2://run/a", "problem": "is in a project that cannot be found"}]
    refused = {"kind": "refused", "message": "it would be rejected", "problems": listed, "problem_count": 250}
    shell.control.answers["plan"] = {"error": refused}
    result = shell("plan", shell.good_manifest(), "--json")
    assert result.exit_code == Exit.REFUSED
    assert json.loads(result.stdout) == {"problem_count": 250, "problems": listed}


def test_a_terminal_shows_the_summary_first_and_then_the_first_findings(shell: Terminal) -> None:
    grave = [finding(number, "SOURCE_MISSING", fails=True) for number in range(3)]
    shell.control.ok("plan", **with_findings(*grave, *map(finding, range(3, 150)), refused_jobs=1))
    shown = without_style(shell.pretty("plan", shell.good_manifest()).stdout)
    assert shown.startswith("would fail as it stands\n")
    assert "6 files of 1.5 GB, 1 folder (what is in them is not counted), in 4 jobs; 1 of them would fail" in shown
    assert "after 30 s (p50), 2 min (p95)" in shown
    assert "99.7% that all jobs pass" in shown
    assert "120 attempts of 3 copies of this stack, 20% of the attempts failing" in shown
    assert "about $0.0002: 21 calls to ICA, 141 write and 14 read units" in shown
    assert shown.index("SOURCE_MISSING  3: follows SOURCE_MISSING") < shown.index("EXISTS_SAME  147: follows EXISTS")
    assert shown.count("icav2://archive/to/[") == MOST_SHOWN
    assert "… and 50 more: --json" in shown


def test_findings_of_a_kind_from_which_different_things_follow_are_shown_apart(shell: Terminal) -> None:
    busy = [{**finding(number, "FOLDER_BUSY"), "follows": f"follows {number > 1}"} for number in range(5)]
    shell.control.ok("plan", **with_findings(*busy))
    shown = without_style(shell.pretty("plan", shell.good_manifest()).stdout)
    assert "FOLDER_BUSY  2: follows False" in shown
    assert "FOLDER_BUSY  3: follows True" in shown


def test_a_plan_says_what_it_rests_on(shell: Terminal) -> None:
    little = {**FORECAST, "is_of_history": False, "history_attempts": 3, "jobs_in_flight": 200, "jobs_waiting": 1000}
    other = {**INTO, "project": "elsewhere"}
    counts = {"finding_counts": {"PAUSED": 1}}
    shell.control.ok("plan", **{**PLAN, **counts, "forecast": little, "projects": [INTO, other]})
    result = shell.pretty("plan", shell.good_manifest())
    shown = without_style(result.stdout)
    assert "defaults, since this stack's history has only 3 attempts" in shown
    assert "others have 200 in flight, 1,000 waiting" in shown
    assert "(p95), once it is resumed" in shown
    assert "archive" in shown
    assert "elsewhere" in shown
    assert without_style(result.stderr) == "Nothing blocks it.\n"


def test_a_plan_that_was_not_finished_says_how_far_it_came(shell: Terminal) -> None:
    looked = {"sources": {"done": 7, "of": 7}, "copies": {"done": 3000, "of": 9000}}
    shell.control.ok("plan", **{**PLAN, "looked_at": looked, "stopped": "the time was up"})
    result = shell("plan", shell.good_manifest())
    assert result.exit_code == Exit.DONE
    assert result.stderr.startswith(
        "The plan is incomplete, because the time was up: 7 of 7 sources, 3,000 of 9,000 destinations.\n"
    )
    assert result.stderr.endswith("Nothing blocks it, as far as was checked.\n")


def test_what_ingest_would_reject_is_data(shell: Terminal) -> None:
    result = shell("plan", shell.manifest({"nonsense": ["icav2://archive/to/"]}))
    assert (result.exit_code, lines(result.stdout)) == (
        Exit.REFUSED, [["nonsense", "does not start with icav2://"]],
    )  # fmt: skip
    assert shell.control.requests == []
