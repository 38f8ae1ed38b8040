"""``icav2-copy verify``, and the client's ``verify``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.verify import MOST_SHOWN
from tests.integration.shell import Terminal, without_style


def changed(number: int, change: str = "GONE") -> dict[str, str]:
    return {
        "job_id": "000001",
        "source": f"icav2://run/[{number}]",
        "copy": f"icav2://archive/to/[{number}]",
        "change": change,
        "what": "is not there any more",
    }


def test_a_copy_that_is_as_it_was_is_done(shell: Terminal) -> None:
    shell.control.ok("verify", copied=3, same=3, unknown=0, changed=[])
    result = shell("verify", "run-42")
    assert (result.exit_code, result.stdout) == (Exit.DONE, "")
    assert result.stderr == "3 of 3 copied sources are unchanged.\n"
    assert shell.asked("verify") == {"copy_id": "run-42"}


def test_what_has_changed_or_gone_is_a_line_each(shell: Terminal) -> None:
    shell.control.ok("verify", copied=9, same=1, unknown=6, changed=[changed(1), changed(2, "CHANGED")])
    result = shell("verify", "run-42")
    assert result.exit_code == Exit.PROBLEM
    assert result.stdout.splitlines() == [
        "GONE\t000001\ticav2://archive/to/[1]\tis not there any more\ticav2://run/[1]",
        "CHANGED\t000001\ticav2://archive/to/[2]\tis not there any more\ticav2://run/[2]",
    ]
    said = "1 of 9 copied sources is unchanged, 1 gone, 1 changed, 6 cannot be compared."
    assert result.stderr == f"{said}\n"


def test_all_pages_are_asked_for_and_added_up(shell: Terminal) -> None:
    pages: dict[str | None, dict[str, Any]] = {
        None: {"copied": 5, "same": 4, "unknown": 0, "changed": [changed(1)], "next_after": "000005"},
        "000005": {"copied": 2, "same": 0, "unknown": 2, "changed": []},
    }
    shell.control.answers["verify"] = lambda asked: {"ok": pages[asked.get("after")]}
    result = shell("verify", "run-42", "--json")
    assert result.exit_code == Exit.PROBLEM
    assert json.loads(result.stdout) == {"copied": 7, "same": 4, "unknown": 2, "changed": [changed(1)]}


@pytest.mark.parametrize("count", [2, MOST_SHOWN + 2])
def test_on_a_terminal_the_first_are_a_table(shell: Terminal, count: int) -> None:
    shell.control.ok("verify", copied=count, same=0, unknown=0, changed=[changed(each) for each in range(count)])
    result = shell.pretty("verify", "run-42")
    shown = without_style(result.stdout)
    assert "below icav2://archive/to/" in shown
    assert shown.count("GONE") == min(count, MOST_SHOWN)
    assert ("and 2 more: --json lists all" in without_style(result.stderr)) == (count > MOST_SHOWN)
