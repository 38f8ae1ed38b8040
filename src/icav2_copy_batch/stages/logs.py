"""The fields by which a log line names a job, the same in each stage."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.domain.job import OpenJob


def fields_of(job: OpenJob, **more: Any) -> dict[str, Any]:
    """For ``extra=`` of a log call: the job's names, and whatever else is to be said."""
    names = {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, "ica_job_id": job.ica_job_id}
    return {**{name: value for name, value in names.items() if value}, **more}
