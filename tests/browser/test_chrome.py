"""Where there is no browser: its tests are skipped, but not where continuous integration requires one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import chrome


@pytest.mark.parametrize(("required", "exit_code", "said"), [("", 0, "skipped"), ("1", 1, "error")])
def test_without_a_browser_its_tests_are_skipped_unless_one_is_required(
    tmp_path: Path, required: str, exit_code: int, said: str
) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "CHROME": "", "REQUIRE_CHROME": required}
    options = ("-q", "-x", "-rs", "-n", "0", "-p", "no:cacheprovider")
    ran = subprocess.run(
        (sys.executable, "-m", "pytest", *options, "tests/browser/test_report_page.py"),
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in environment.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == exit_code, ran.stdout
    assert said in ran.stdout.splitlines()[-1]
    assert chrome.NONE_HERE in ran.stdout


@pytest.mark.parametrize("name", chrome.NAMES)
def test_each_name_of_a_browser_is_found_and_said_to_continuous_integration(tmp_path: Path, name: str) -> None:
    browser = tmp_path / name
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    found = subprocess.run(
        (sys.executable, "-m", "tests.browser.chrome"),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PATH": str(tmp_path), "CHROME": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{browser}\n"
