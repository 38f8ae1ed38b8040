"""``icav2-copy subscribe``: what it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest

from icav2_copy_batch.cli.exits import Exit
from tests.integration.shell import PROJECT, Terminal, lines

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
