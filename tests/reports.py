"""Settled copies for the tests of reports, and their reports."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from icav2_copy_batch.domain.job import Attempt, Copy, Job, JobStatus, timestamp
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome
from icav2_copy_batch.domain.report import table
from icav2_copy_batch.domain.report.files import Totals, ends_of
from icav2_copy_batch.domain.report.page import Page
from local.manifests import bclconvert_manifest

SUBMITTED = datetime(2026, 11, 25, 3, 11, 58, 500_000, UTC)
RESULT_URI, TABLE_URI = (
    "s3://icav2-copy-batch-manifests/results/run-288.json",
    "s3://icav2-copy-batch-manifests/results/run-288.csv",
)
HOSTILE = (
    "</script><img src=x onerror=\"window.hacked='a path'\">.txt",
    "<!--<script>.txt",
    'it\'s "quoted" & 100% $data ${style} {{x}}.txt',
    "invoice\u202excod.exe",
    "line\u2028separator\u2029and\ufeffmark\u200b.txt",
    '=HYPERLINK("http://evil.example").txt',
    "日本語 é ü 🧬.fastq.gz",
    "'; alert(1); '.txt",
)
"""Names of files that mean something in HTML, in a script, in a spreadsheet, or to who reads them."""


def at(seconds: float) -> str:
    """A moment so long after the submission."""
    return timestamp(SUBMITTED + timedelta(seconds=seconds))


def copy_of(jobs: Sequence[Job], **known: object) -> Copy:
    """The settled copy of these jobs."""
    passed = sum(job.status is JobStatus.PASSED for job in jobs)
    failed = sum(job.status is JobStatus.FAILED for job in jobs)
    settled_at = max((job.ended_at or at(1) for job in jobs), default=at(1))
    return replace(settled(passed, failed, settled_at, len(jobs) - passed - failed), **known)  # type: ignore[arg-type]


def settled(passed: int, failed: int, settled_at: str, cancelled: int = 0, copy_id: str = "run-288") -> Copy:
    return Copy(
        copy_id=copy_id,
        digest="digest",
        submitted_at=at(0),
        total_jobs=passed + failed + cancelled,
        open_jobs=0,
        passed_jobs=passed,
        failed_jobs=failed,
        cancelled_jobs=cancelled,
        manifest_uri=f"s3://icav2-copy-batch-manifests/submitted/{copy_id}.json",
        settled_at=settled_at,
    )


def attempt(number: int, outcome: str, began: float, ended: float, **known: object) -> Attempt:
    """One that waited and was launched in the two seconds before it began to run."""
    moments = {"queued_at": at(began - 2), "claimed_at": at(began - 1), "running_at": at(began), "ended_at": at(ended)}
    return Attempt(**{"number": number, "outcome": outcome, "ica_job_id": f"ica-{number}", **moments, **known})  # type: ignore[arg-type]


def ended_job(number: int, destination: str, sources: Sequence[str], *attempts: Attempt, **known: object) -> Job:
    """A job that has ended as its last attempt has."""
    passed = bool(attempts) and attempts[-1].has_passed
    fields = {
        "copy_id": "run-288",
        "job_id": f"{number:06d}",
        "status": JobStatus.PASSED if passed else JobStatus.FAILED,
        "attempt": max(len(attempts), 1),
        "destination": destination,
        "sources": tuple(sources),
        "attempts": attempts,
        "queued_at": at(0),
        "ended_at": attempts[-1].ended_at if attempts else at(1),
        "reason": attempts[-1].reason if attempts else None,
    }
    return Job(**{**fields, **known})  # type: ignore[arg-type]


def with_fingerprints(job: Job, fingerprints: Mapping[str, Fingerprint]) -> Job:
    """The job, with what its last attempt has found right."""
    *before, last = job.attempts
    return replace(job, attempts=(*before, replace(last, fingerprints=fingerprints)))


def run_of_44_jobs() -> list[Job]:
    """A sequencing run in which one ICA job in five fails, and a job in the end."""
    rng = random.Random(4)
    folders: dict[str, list[str]] = {}
    for source, destinations in bclconvert_manifest().items():
        for destination in destinations:
            folders.setdefault(destination, []).append(source)
    return [_run_of(rng, number, *folder) for number, folder in enumerate(sorted(folders.items()), start=1)]


def _run_of(rng: random.Random, number: int, destination: str, sources: list[str]) -> Job:
    attempts: list[Attempt] = []
    pending, clock = sources, 3 + 0.08 * number
    fails = 5 if number == 17 else rng.choice([0, 0, 0, 0, 1, 1, 2])
    held_for = {5: "FOLDER_BUSY", 11: "PAUSED", 23: "THROTTLED"}.get(number, "NO_SLOT")
    for tried in range(1, 6):
        ended = clock + rng.uniform(5, 15)
        ica_job_id = f"{rng.getrandbits(64):016x}"
        if tried > fails:
            attempts.append(attempt(tried, "SUCCEEDED", clock, ended, ica_job_id=ica_job_id, held_for=held_for))
            break
        pending = pending[len(pending) // 3 :]
        attempts.append(
            attempt(
                tried,
                "PARTIALLY_SUCCEEDED",
                clock,
                ended,
                ica_job_id=ica_job_id,
                held_for=held_for,
                reason=f"ICA job {ica_job_id} ended PARTIALLY_SUCCEEDED: {len(pending)} files were not copied",
                outcomes=tuple(SourceOutcome(source, "FAILED", "read timed out") for source in pending),
            )
        )
        clock = ended + 2.5
    job = ended_job(number, destination, sources, *attempts)
    sizes = {source: Fingerprint(rng.randrange(10**5, 10**10), f"{rng.getrandbits(128):032x}") for source in sources}
    return with_fingerprints(job, sizes)


def many_files(files: int, a_job: int = 1000) -> Iterator[Job]:
    """Jobs of so many files in all, of which each hundredth job has failed."""
    for number in range(1, files // a_job + 1):
        folder = (
            f"icav2://source-project/primary/241101_A01052_0230_BH7WVWDSXC/output/Lane_{number % 8 + 1}/{number:05d}/"
        )
        sources = [
            f"{folder}LPRJ{number:05d}{index:04d}_S{index}_L00{number % 8 + 1}_R1_001.fastq.gz"
            for index in range(a_job)
        ]
        began = 2 + number * 0.5
        failed = number % 100 == 50
        outcomes = (SourceOutcome(sources[7], "FAILED", "read timed out"),) if failed else ()
        outcome, reason = ("FAILED", f"ICA job ica-{number} ended FAILED") if failed else ("SUCCEEDED", None)
        ended = attempt(1, outcome, began, began + 20, ica_job_id=f"ica-{number}", reason=reason, outcomes=outcomes)
        job = ended_job(number, f"icav2://archive-project/2026/run/{number:05d}/", sources, ended)
        found = {
            each: Fingerprint(1_000_000 + index, f"{number:016x}{index:016x}") for index, each in enumerate(sources)
        }
        yield job if failed else with_fingerprints(job, found)


def hostile_job(number: int = 1) -> Job:
    """A failed job of which nothing can be trusted: neither names nor what ICA says."""
    sources = [f"icav2://from/{name}" for name in HOSTILE]
    said = "</script><script>window.hacked='a reason'</script>"
    outcomes = (SourceOutcome(sources[0], "<b>FAILED</b>", said), SourceOutcome(sources[5], "=1+1", "@SUM(1)"))
    ended = attempt(
        1, "FAILED", 3, 9, ica_job_id='"><img src=x onerror="window.hacked=1">', reason=said, outcomes=outcomes
    )
    return ended_job(number, "icav2://to/<b>bold</b> & \u202eblod/", sources, ended)


def report(copy: Copy, jobs: Iterable[Job]) -> tuple[str, str]:
    """The table and the page."""
    page, totals = Page(copy, RESULT_URI, TABLE_URI), Totals()
    rows, pieces = [table.header()], [page.begin()]
    for job in jobs:
        ends = ends_of(job)
        totals.add(job, ends)
        rows.append(table.rows(copy, job, ends))
        pieces.append(page.add(job, ends))
    return "".join(rows), "".join([*pieces, page.end(totals)])


def page_of(jobs: Sequence[Job]) -> str:
    """The page of the copy of these jobs."""
    return report(copy_of(jobs), jobs)[1]
