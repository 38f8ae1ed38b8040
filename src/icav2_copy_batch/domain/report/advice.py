"""What a person can do about a job that did not pass."""

from __future__ import annotations

from icav2_copy_batch.domain.job import Job, JobStatus
from icav2_copy_batch.domain.outcomes import Finding
from icav2_copy_batch.domain.source_faults import says_not_available, says_not_found

REDRIVE = "icav2-copy redrive"


def advice(job: Job) -> str:
    """A sentence or two for a job that has failed or was cancelled."""
    again = f"{REDRIVE} {job.copy_id} --job {int(job.job_id)}"
    if job.status is JobStatus.CANCELLED:
        return f"Its copy was cancelled before all of this was copied. To copy what is left: {again}"
    last = job.attempts[-1] if job.attempts else None
    reason = job.reason or ""
    if last is None or last.ica_job_id is None:
        if says_not_found(reason):
            return f"ICA knows no such source. Correct the path in a new manifest; or, if it is there by now: {again}"
        if says_not_available(reason):
            return f"Wait until ICA shows the source as AVAILABLE (restore it if it is archived), then: {again}"
        return f"ICA refused to start it, and would refuse it again as it is. Mend what ICA says, then: {again}"
    if last.outcome == Finding.MISMATCH:
        return (
            "ICA says that it has copied all, but some files are not like their sources. "
            f"Look at them in the destination folder; to copy them again: {again}"
        )
    tries = f"{len(job.attempts)} attempts have" if len(job.attempts) > 1 else "its only attempt has"
    return (
        f"ICA's copy engine did not copy everything; {tries} ended so. To try again: {again} — "
        "if it fails again, give ICA's support the id of the last ICA job."
    )
