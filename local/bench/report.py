"""The results: docs/benchmarks.json, which keeps each part's last run, and docs/benchmarks.md, made from it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.bench.tables import Table
from local.stack import REPOSITORY

DOCS = REPOSITORY / "docs"
JSON, MARKDOWN, TIMELINE = DOCS / "benchmarks.json", DOCS / "benchmarks.md", DOCS / "timeline.svg"
INTRODUCTION = """# Benchmarks

Written by `make bench`; `make bench ONLY=makespan,ingest` measures some parts anew and leaves the others as they were.
Everything runs on one machine: a local AWS, the simulated ICA and the functions share its processors, so that ratios
and counts are what is claimed, and times are not. The simulated ICA answers and deletes at once, unless it is said
otherwise. The rows as JSON: [benchmarks.json](benchmarks.json).
"""
PICTURE = """One of the runs above, by its ICA jobs: a line for each destination folder.

![Timeline of one run](timeline.svg)
"""


def save(part: str, tables: list[Table], settings: Mapping[str, Any]) -> None:
    """Replace one part's results, and write the document anew."""
    DOCS.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(JSON.read_text()) if JSON.exists() else {}
    results[part] = {**_circumstances(), "settings": dict(settings), "tables": [asdict(table) for table in tables]}
    JSON.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    MARKDOWN.write_text("\n".join([INTRODUCTION, *(_part(name, results[name]) for name in results)]))


def _circumstances() -> dict[str, str]:
    commit = _git("rev-parse", "--short=10", "HEAD") or "unknown"
    changed = "-dirty" if _git("status", "--porcelain", "--", ".", ":!docs") else ""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit + changed,
        "machine": f"{_processor()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
    }


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "processor unknown")


def _part(name: str, result: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    about = f"*{name}: {result['date']}, commit {result['commit']}; {result['machine']}; {settings}*\n"
    picture = [PICTURE] if name == "makespan" and TIMELINE.exists() else []
    return "\n".join([*(_table(Table(**table)) for table in result["tables"]), *picture, about])


def _table(table: Table) -> str:
    lines = [f"## {table.title}", ""]
    if table.about:
        lines += [table.about, ""]
    names = list(table.rows[0]) if table.rows else []
    marks = ["---:" if isinstance(table.rows[0][name], int | float) else "---" for name in names]
    for cells in [[name.replace("_", " ") for name in names], marks]:
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in table.rows]
    for note in table.notes:
        lines += ["", note]
    return "\n".join([*lines, ""])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
