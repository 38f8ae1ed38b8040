"""The events that the domain's own code makes of fixed copies, as kept in ``events/out``.

``python -m tests.outgoing_events`` writes them anew, for when the code is meant to make others.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from icav2_copy_batch.domain import events as documents
from icav2_copy_batch.domain.events import Detail, Sendable
from icav2_copy_batch.domain.job import Attempt, Copy, CopyStatus, Job, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.problems import Refused
from tests import doubles
from tests.event_files import EVENTS

BUCKET = "s3://icav2-copy-batch-manifests"
SOURCE = "icav2://1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d42/ilmn-analyses/240229_A00130_0288/output"
DESTINATION = "icav2://8a4c7e52-0b1f-4d3a-b6e9-5f2c8d7a6b10/ilmn_primary/240229_A00130_0288"
STARTED_AT = datetime(2024, 5, 28, 3, 11, 58, 500_000, UTC)
DELAYED_AT = datetime(2024, 5, 28, 4, 13, 20, 125_000, UTC)
SETTLED_AT = datetime(2024, 5, 28, 3, 21, 5, 750_000, UTC)

ONLY_IN_A_RESULT = {"first_launched_at", "attempts", "ica_jobs", "files", "folders", "bytes", "outcomes"}
ONLY_OF_A_JOB_IN_A_RESULT = {"job_number", "status", "queued_at", "ended_at", "attempts"}

STARTED = Copy(
    copy_id="sqs-059f36b4-87a3-44ab-83d2-661975830a7d",
    digest="b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
    submitted_at=timestamp(STARTED_AT),
    total_jobs=2,
    open_jobs=2,
    manifest_uri=f"{BUCKET}/submitted/sqs-059f36b4-87a3-44ab-83d2-661975830a7d.json",
)


def settled(status: CopyStatus, passed: int, failed: int) -> Copy:
    return replace(
        STARTED,
        open_jobs=0,
        passed_jobs=passed,
        failed_jobs=failed,
        status=status,
        ingested_at="2024-05-28T03:11:59.010Z",
        settled_at=timestamp(SETTLED_AT),
    )


def ended_job(number: int, status: JobStatus, folder: str, sources: list[str], *attempts: Attempt) -> Job:
    return Job(
        copy_id=STARTED.copy_id,
        job_id=f"{number:06d}",
        status=status,
        attempt=len(attempts),
        destination=f"{DESTINATION}/{folder}",
        sources=tuple([f"{SOURCE}/{source}" for source in sources]),
        attempts=attempts,
        ended_at=attempts[-1].ended_at,
        reason=attempts[-1].reason,
    )


def open_job(number: int, status: JobStatus, folder: str, **known: Any) -> Job:
    """As it is read through the table's index."""
    return Job(STARTED.copy_id, f"{number:06d}", status, attempt=1, destination=f"{DESTINATION}/{folder}", **known)


def attempt(number: int, outcome: str, ica_job_id: str | None, reason: str | None = None) -> Attempt:
    return Attempt(number, outcome, f"2024-05-28T03:1{number + 4}:00.000Z", ica_job_id=ica_job_id, reason=reason)


SAMPLES = ended_job(
    1,
    JobStatus.PASSED,
    "Samples/Lane_1/L2400101/",
    [f"Samples/Lane_1/L2400101/L2400101_S1_L001_R{read}_001.fastq.gz" for read in (1, 2)],
    attempt(1, "SUCCEEDED", "0c5b2f6e-8a7d-4e1c-9b3a-2d4f6a8c0e12"),
)
REPORTS = ended_job(
    2,
    JobStatus.PASSED,
    "Reports/",
    ["Reports/Top Unknown #1 100%.csv", "Reports/Übersicht.pdf"],
    attempt(
        1,
        "PARTIALLY_SUCCEEDED",
        "3e8d1a4c-6b2f-4d9e-8c7a-5f0b2e4d6a18",
        "ICA job 3e8d1a4c-6b2f-4d9e-8c7a-5f0b2e4d6a18 ended PARTIALLY_SUCCEEDED",
    ),
    attempt(2, "SUCCEEDED", "7a9c3e5b-1d4f-4a8b-9e2c-6d8f0a2c4e33"),
)
BCLS = [f"Data/Intensities/BaseCalls/L001/C{cycle}.1/L001_1.cbcl" for cycle in range(1, 4)]
LOST_BCLS = ended_job(
    3,
    JobStatus.FAILED,
    "Data/",
    BCLS,
    replace(
        attempt(
            1,
            "PARTIALLY_SUCCEEDED",
            "b1d7e9f3-5a2c-4b8e-8d6f-0c4a2e8b6d55",
            "ICA job b1d7e9f3-5a2c-4b8e-8d6f-0c4a2e8b6d55 ended PARTIALLY_SUCCEEDED: 2 of 3 files were not copied",
        ),
        outcomes=(
            SourceOutcome(f"{SOURCE}/{BCLS[0]}", "FAILED", "read timed out"),
            SourceOutcome(f"{SOURCE}/{BCLS[2]}", "PARTIALLY_COPIED"),
        ),
    ),
)
RUNNING = open_job(
    1,
    JobStatus.RUNNING,
    "Samples/Lane_1/L2400101/",
    running_at="2024-05-28T03:12:31.402Z",
    ica_job_id="0c5b2f6e-8a7d-4e1c-9b3a-2d4f6a8c0e12",
)
QUEUED = open_job(
    2,
    JobStatus.QUEUED,
    "Reports/",
    queued_at="2024-05-28T03:11:58.700Z",
    hold=doubles.hold("ICA answered 503 (not a Problem document)"),
)
LOST_REPORTS = ended_job(
    2,
    JobStatus.FAILED,
    "Reports/",
    ["Reports/Top Unknown #1 100%.csv", "Reports/Übersicht.pdf"],
    REPORTS.attempts[0],
    attempt(2, "REFUSED", None, f"the source {SOURCE}/Reports/Übersicht.pdf is ARCHIVED, not AVAILABLE"),
)


CANCELLED = replace(
    REPORTS,
    status=JobStatus.CANCELLED,
    attempt=2,
    attempts=REPORTS.attempts[:1],
    reason="its copy was cancelled",
)


def outgoing_events() -> dict[str, dict[str, Any]]:
    """Each event by the name of its file, in the envelope in which EventBridge delivers it."""
    result_uri = f"{BUCKET}/results/{STARTED.copy_id}.json"
    completed, failed = settled(CopyStatus.COMPLETED, 2, 0), settled(CopyStatus.FAILED, 1, 2)
    cancelled = replace(
        settled(CopyStatus.CANCELLED, 1, 0), cancelled_jobs=1, tags={"run": "240229_A00130_0288"}, redrive_of="run-288"
    )
    delayed = replace(STARTED, ingested_at="2024-05-28T03:11:59.010Z")
    return {
        "copy-started": _delivered(documents.COPY_STARTED, documents.started_detail(STARTED), STARTED_AT),
        "copy-delayed": _delivered(
            documents.COPY_DELAYED, documents.delayed_detail(delayed, [RUNNING, QUEUED], DELAYED_AT), DELAYED_AT
        ),
        "copy-completed": _delivered(
            documents.settled_type(completed),
            settled_result(completed, [SAMPLES, REPORTS], result_uri)[1].detail(),
            SETTLED_AT,
        ),
        "copy-failed": _delivered(
            documents.settled_type(failed),
            settled_result(failed, [SAMPLES, LOST_REPORTS, LOST_BCLS], result_uri)[1].detail(),
            SETTLED_AT,
        ),
        "copy-cancelled": _delivered(
            documents.settled_type(cancelled),
            settled_result(cancelled, [SAMPLES, CANCELLED], result_uri)[1].detail(),
            SETTLED_AT,
        ),
        "copy-rejected": _delivered(documents.COPY_REJECTED, _rejected_detail(), STARTED_AT),
    }


def settled_result(copy: Copy, jobs: list[Job], result_uri: str) -> tuple[Detail, Sendable]:
    """The result document of a copy of these jobs, and what is sent of it."""
    sendable = Sendable(copy, result_uri)
    return json.loads("".join(documents.result(copy, lambda: jobs, result_uri, sendable))), sendable


def as_sent(result: Detail) -> Detail:
    """A result document without what it has beyond its event, where that was sent whole."""
    jobs = [
        {key: value for key, value in job.items() if key not in ONLY_OF_A_JOB_IN_A_RESULT}
        for job in result[documents.JOBS_KEY]
    ]
    sent = {key: value for key, value in result.items() if key not in ONLY_IN_A_RESULT}
    return {**sent, documents.JOBS_KEY: jobs}


def _rejected_detail() -> Detail:
    manifest = {
        f"{SOURCE}/Reports/RunInfo.xml": [f"{DESTINATION}/Reports"],
        f"{SOURCE}/Logs/": ["icav2://1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d42/backup/"],
    }
    submission_id = "sqs-7b0c1a3e-5d8f-4c6b-9a21-e4d7f3b2c590"
    try:
        flip(manifest, Limits())
    except Refused as refused:
        stored: dict[str, str | None] = {"upload_uri": None}
        stored |= {
            name: f"{BUCKET}/rejected/{submission_id}/{file}"
            for name, file in (("submission_uri", "submission"), ("problems_uri", "problems.json"))
        }
        return documents.rejected_detail(
            submission_id,
            "run-288",
            refused,
            timestamp(STARTED_AT),
            stored,
            tags={"run": "240229_A00130_0288"},
            redrive_of=None,
        )
    raise AssertionError("the manifest was meant to be refused")


def _delivered(detail_type: str, detail: Detail, at: datetime) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": documents.EVENT_SOURCE,
        "account": "123456789012",
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "ap-southeast-2",
        "resources": [],
        "detail": detail,
    }


if __name__ == "__main__":
    for name, event in outgoing_events().items():
        (EVENTS / "out" / f"{name}.json").write_text(json.dumps(event, indent=2, ensure_ascii=False) + "\n")
