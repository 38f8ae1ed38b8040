"""Copies and jobs as tables for a terminal, and as plain lines for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from icav2_copy_batch.cli.output import Output, tags_of
from icav2_copy_batch.client import CopySummary, JobSummary, Pause
from icav2_copy_batch.client.errors import number

STYLES = {
    "OPEN": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "QUEUED": "cyan",
    "LAUNCHING": "blue",
    "RUNNING": "blue",
    "PASSED": "green",
}
UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")
BAR_WIDTH = 40
COUNTS = (("passed", "green"), ("failed", "red"), ("cancelled", "yellow"), ("open", "cyan"))


# --- words -----------------------------------------------------------------------------------------------------------


def counts_of(copy: CopySummary) -> dict[str, int]:
    """Its jobs by how they stand, in the order in which they are shown."""
    return {
        "passed": copy.passed_jobs,
        "failed": copy.failed_jobs,
        "cancelled": copy.cancelled_jobs,
        "open": copy.open_jobs,
    }


def in_words(copy: CopySummary) -> str:
    """``36 of 44 jobs have ended: 35 passed, 1 failed``."""
    ended = copy.total_jobs - copy.open_jobs
    counts = [f"{count:,} {word}" for word, count in counts_of(copy).items() if count and word != "open"]
    said = f": {', '.join(counts)}" if counts else ""
    return f"{ended:,} of {number(copy.total_jobs, 'job')} {'has' if copy.total_jobs == 1 else 'have'} ended{said}"


def pause_in_words(pause: Pause) -> str:
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.reason}" if pause.reason else ""
    return f"{pause.subject} has been paused since {short_time(pause.since)}{by}{why}"


def short_time(text: str | None) -> str:
    """``2026-11-25 22:10:07``, in UTC."""
    return (text or "").partition(".")[0].replace("T", " ").removesuffix("Z")


def in_bytes(count: float) -> str:
    """``1.2 GB``: in thousands, as ICA counts."""
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# --- plain lines -----------------------------------------------------------------------------------------------------


def list_lines(out: Output, copies: Iterable[CopySummary]) -> None:
    for copy in copies:
        out.line(*copy_cells(copy), tags_of(copy.tags.items()), ",".join(each.subject for each in copy.pauses))


def pause_cells(pause: Pause) -> tuple[object, ...]:
    """What is paused, since when, by whom, why."""
    return pause.subject, pause.since, pause.by, pause.reason


def copy_cells(copy: CopySummary) -> tuple[object, ...]:
    """Id, status, submitted, settled, jobs in all, passed, failed, cancelled, open."""
    times = copy.submitted_at, copy.settled_at
    return copy.copy_id, copy.status, *times, copy.total_jobs, *counts_of(copy).values()


def copy_lines(out: Output, copy: CopySummary) -> None:
    """A line for each thing that is known of a copy."""
    for key, value in _facts(copy):
        out.line(key, value)
    for pause in copy.pauses:
        out.line("paused", *pause_cells(pause))
    for held in copy.holds:
        out.line("held", held.reason, held.jobs, held.detail)


def job_line(out: Output, job: JobSummary) -> None:
    hold = (job.hold.reason, job.hold.detail) if job.hold else ("", "")
    out.line("job", job.job_id, job.status, job.attempt, job.sources, job.ica_job_id, job.dest_uri, *hold, job.reason)


def _facts(copy: CopySummary) -> Iterator[tuple[str, object]]:
    yield "copy_id", copy.copy_id
    yield "status", copy.status
    for word in ("submitted_at", "paused_at", "delayed_at", "cancelled_at", "settled_at"):
        if value := getattr(copy, word):
            yield word, value
    yield "total_jobs", copy.total_jobs
    for word, count in counts_of(copy).items():
        yield f"{word}_jobs", count
    yield "passed_bytes", copy.passed_bytes
    if copy.redriven_as:
        yield "redriven_as", ",".join(copy.redriven_as)
    for word in ("redrive_of", "manifest_uri", "result_uri"):
        if value := getattr(copy, word):
            yield word, value
    if copy.tags:
        yield "tags", tags_of(copy.tags.items())
    for status in ("queued", "launching", "running"):
        if count := getattr(copy, f"{status}_jobs"):
            yield f"{status}_jobs", count


# --- tables ----------------------------------------------------------------------------------------------------------


def list_table(copies: Iterable[CopySummary]) -> RenderableType:
    table = Table("copy", "status", "submitted (UTC)", box=None, header_style="bold", pad_edge=False)
    for word in ("jobs", *(word for word, _ in COUNTS)):
        table.add_column(word, justify="right")
    table.add_column("tags")
    for copy in copies:
        counts = counts_of(copy)
        table.add_row(
            Text(copy.copy_id),
            copy_status(copy),
            short_time(copy.submitted_at),
            f"{copy.total_jobs:,}",
            *(Text(f"{counts[word]:,}" if counts[word] else "", style=style) for word, style in COUNTS),
            Text(tags_of(copy.tags.items())),
        )
    return table


def status_text(status: str, more: str = "") -> Text:
    return Text(f"{status}{more}", style=STYLES.get(status, ""))


def copy_status(copy: CopySummary) -> Text:
    """A copy's status, and that it is paused, as far as that is known."""
    return status_text(copy.status, ", paused" if copy.is_open and (copy.pauses or copy.paused_at) else "")


def copy_view(copy: CopySummary, progress: str = "") -> RenderableType:
    """A copy with its bar and counts, what is paused, how far it has come, and what its jobs wait for."""
    facts = Table.grid(padding=(0, 2))
    for key, value in _facts(copy):
        if key not in ("copy_id", "status") and not key.endswith("_jobs") and value != 0:
            facts.add_row(Text(key.removesuffix("_at").replace("_", " "), style="dim"), Text(_shown(key, value)))
    pauses = [Text(pause_in_words(each), style="yellow") for each in copy.pauses]
    parts: list[RenderableType] = [
        Text.assemble((copy.copy_id, "bold"), "  ", copy_status(copy)),
        *pauses,
        _bar(copy),
        facts,
    ]
    if progress:
        parts.append(Text(progress, style="dim"))
    if copy.holds:
        table = Table("held by", "jobs", "detail of the first", box=None, header_style="bold", pad_edge=False)
        for held in copy.holds:
            table.add_row(Text(held.reason, style="yellow"), f"{held.jobs:,}", Text(held.detail))
        parts.append(table)
    return Group(*parts)


def job_table(jobs: Sequence[JobSummary]) -> RenderableType:
    """Jobs; what their destinations have in common stands above them."""
    above = common_folder([job.dest_uri for job in jobs])
    table = Table("job", "status", "attempt", "sources", box=None, header_style="bold", pad_edge=False)
    table.add_column("into", overflow="fold")
    table.add_column("held by, or ended by", overflow="fold")
    for job in jobs:
        why = job.reason or (f"{job.hold.reason}: {job.hold.detail}" if job.hold else "")
        into, sources = job.dest_uri.removeprefix(above), f"{job.sources:,}"
        table.add_row(Text(job.job_id), status_text(job.status), str(job.attempt), sources, Text(into), Text(why))
    return Group(Text(f"All destinations are below {above}", style="dim"), table) if above else table


def common_folder(uris: Sequence[str]) -> str:
    """The folder in which all of several URIs lie; nothing for one alone, or if they lie in several projects."""
    if len(uris) < 2:
        return ""
    folders = [uri.rstrip("/").split("/")[:-1] for uri in uris]
    common = list(takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False)))
    return "".join(f"{each[0]}/" for each in common) if len(common) > 2 else ""


def _shown(key: str, value: object) -> str:
    if isinstance(value, int):
        return in_bytes(value)
    return short_time(str(value)) if key.endswith("_at") else str(value)


def _bar(copy: CopySummary) -> RenderableType:
    total = copy.total_jobs or 1
    finished = "red" if copy.failed_jobs else "yellow" if copy.cancelled_jobs else "green"
    bar = ProgressBar(
        total, copy.total_jobs - copy.open_jobs, BAR_WIDTH, complete_style="cyan", finished_style=finished
    )
    counts = counts_of(copy)
    words = [(f"{counts[word]:,} {word}  ", style if counts[word] else "dim") for word, style in COUNTS]
    grid = Table.grid(padding=(0, 2))
    grid.add_row(bar, Text.assemble(f"{number(copy.total_jobs, 'job')}: ", *words))
    return grid
