"""``icav2-copy validate`` and ``submit``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from icav2_copy_batch.cli.exits import Exit
from tests.integration import clients
from tests.integration.operators import time_of
from tests.integration.shell import (
    CANCELLED,
    COPY,
    DONE,
    FAILED,
    NO_SUCH_COPY,
    Terminal,
    lines,
    queued,
    reject,
)

# --- validate --------------------------------------------------------------------------------------------------------


def test_a_good_manifest_is_in_order(shell: Terminal) -> None:
    result = shell("validate", shell.good_manifest())
    assert (result.exit_code, result.stdout) == (Exit.DONE, "")
    assert result.stderr.startswith("Valid: 1 source in 1 job.\nProject names are looked up in ICA")
    assert json.loads(shell("validate", shell.good_manifest(), "--json").stdout) == {
        "jobs": 1, "sources": 1, "problem_count": 0, "problems": [],
    }  # fmt: skip


def test_the_problems_of_a_manifest_are_data(shell: Terminal) -> None:
    path = shell.manifest({f"nonsense {number}": ["icav2://archive/to/"] for number in range(120)})
    plain, as_json = shell("validate", path), shell("validate", path, "--json")
    assert plain.exit_code == as_json.exit_code == Exit.REFUSED
    assert lines(plain.stdout)[0] == ["nonsense 0", "does not start with icav2://"]
    assert len(plain.stdout.splitlines()) == 100
    assert plain.stderr == f"Error: {path} has 120 problems\n"
    document = json.loads(as_json.stdout)
    assert (document["problem_count"], len(document["problems"])) == (120, 100)
    assert "… and 20 more problems" in shell.pretty("validate", path).stderr


def test_a_manifest_may_come_by_a_pipe(shell: Terminal) -> None:
    result = shell("validate", "-", answer='{"icav2://run/a": ["icav2://run/to/"]}')
    assert result.exit_code == Exit.REFUSED
    assert "is in the same project" in result.stdout
    assert (
        shell("validate", "-", "--allow-same-project", answer='{"icav2://run/a": ["icav2://run/to/"]}').exit_code
        == Exit.DONE
    )


def test_a_message_whose_manifest_lies_in_s3_is_checked_as_far_as_it_goes(shell: Terminal) -> None:
    path = shell.manifest({"manifest_uri": "s3://bucket/manifest.json"})
    result = shell("validate", path)
    assert (result.exit_code, result.stderr) == (
        Exit.DONE, "The message is valid. Its manifest is in S3, and was not checked.\n",
    )  # fmt: skip
    assert json.loads(shell("validate", path, "--json").stdout) == {"problem_count": 0, "problems": []}


# --- submit ----------------------------------------------------------------------------------------------------------


def test_a_submission_prints_its_id_and_nothing_else(shell: Terminal) -> None:
    result = shell("submit", shell.good_manifest())
    (message,) = queued()
    assert (result.exit_code, result.stdout) == (Exit.DONE, f"{message['copy_id']}\n")
    assert message["manifest"] == {"icav2://run/a.txt": ["icav2://archive/to/"]}


def test_options_are_sent_and_those_of_the_file_are_kept(shell: Terminal) -> None:
    path = shell.manifest({
        "manifest": {"icav2://run/a.txt": ["icav2://archive/to/"]}, "action_on_exist": "RENAME", "tags": {"a": "1"},
    })  # fmt: skip
    result = shell("submit", path, "--id", "run-42", "--tag", "b=2", "--tag", "c=3", "--hold", "--json")
    assert json.loads(result.stdout) == {"copy_id": "run-42"}
    assert "icav2-copy resume run-42" in result.stderr
    (message,) = queued()
    del message["manifest"]
    assert message == {
        "action_on_exist": "RENAME", "copy_id": "run-42", "hold": True, "tags": {"a": "1", "b": "2", "c": "3"},
    }  # fmt: skip


def test_a_bad_manifest_is_not_sent(shell: Terminal) -> None:
    path = shell.manifest({"nonsense": []})
    result = shell("submit", path)
    assert (result.exit_code, result.stdout, queued()) == (Exit.REFUSED, "", [])
    assert result.stderr.startswith(f"Error: {path} has 2 problems\n  nonsense: does not start with icav2://\n")


def test_a_timeout_without_a_wait_is_a_usage_error(shell: Terminal) -> None:
    result = shell("submit", shell.good_manifest(), "--timeout", "5m")
    assert (result.exit_code, queued()) == (Exit.USAGE, [])
    assert "--timeout needs --wait" in result.stderr


@pytest.mark.parametrize(
    ("settled", "code"), [(DONE, Exit.DONE), (FAILED, Exit.COPY_FAILED), (CANCELLED, Exit.CANCELLED)]
)
def test_a_submission_may_wait_and_exits_as_the_copy_ends(shell: Terminal, settled: dict[str, Any], code: Exit) -> None:
    shell.shows(NO_SUCH_COPY, COPY, settled)
    result = shell("submit", shell.good_manifest(), "--id", "run-42", "--wait")
    assert result.exit_code == code
    first, last = lines(result.stdout)
    assert (first, last[:2]) == (["run-42"], ["run-42", settled["status"]])
    assert "run-42: 1 of 4 jobs have ended: 1 passed\n" in result.stderr


def test_a_rejected_submission_names_the_problems(shell: Terminal) -> None:
    shell.shows(NO_SUCH_COPY)
    url = clients.sqs().get_queue_url(QueueName="ingest")["QueueUrl"]

    def ingest() -> None:
        for message in clients.sqs().receive_message(QueueUrl=url).get("Messages", []):
            reject("run-42", f"sqs-{message['MessageId']}")

    shell.program = replace(shell.program, time=time_of(shell.clock, ingest))
    result = shell("submit", shell.good_manifest(), "--id", "run-42", "--wait", "--json")
    assert result.exit_code == Exit.REFUSED
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"copy_id": "run-42"},
        {
            "copy_id": "run-42",
            "error": "copy run-42 was rejected: it has 3 problems",
            "problems": [{"about": "icav2://run/[a]", "problem": "is wrong"}],
        },
    ]
    assert "  icav2://run/[a]: is wrong\n  … and 2 more problems\n" in result.stderr
