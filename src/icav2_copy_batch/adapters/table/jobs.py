"""The items of jobs: written, and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from pynamodb.attributes import UnicodeAttribute
from pynamodb.expressions.condition import Condition

from icav2_copy_batch.adapters.table.models import (
    JOB_PREFIX,
    SOURCES_PREFIX,
    AttemptMap,
    IntentMap,
    JobItem,
    Models,
    OptionsMap,
    SourcesItem,
)
from icav2_copy_batch.adapters.table.packing import (
    INLINE_SOURCES_BYTES,
    pack_fingerprints,
    pack_outcomes,
    pack_sources,
    unpack_copied,
    unpack_fingerprints,
    unpack_outcomes,
    unpack_sources,
)
from icav2_copy_batch.adapters.table.writes import PARALLEL_WRITES, accepted
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    Attempt,
    Hold,
    HoldReason,
    Job,
    JobStatus,
    OpenJob,
    job_id_of,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.submit import CopyOptions


class Jobs:
    """Writes and reads jobs."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def create_jobs(
        self,
        copy_id: str,
        planned: Sequence[PlannedJob],
        options: CopyOptions,
        now: datetime,
        first: int = 1,
    ) -> None:
        """Write the items of a copy's jobs, each unless it is there; ``first`` is the number of the first of these.

        They are QUEUED, and due only once they are taken from a backlog.
        """

        def create(numbered: tuple[int, PlannedJob]) -> None:
            number, plan = numbered
            job_id = job_id_of(number)
            packed = pack_sources(plan.sources)
            inline = len(packed) <= INLINE_SOURCES_BYTES
            if not inline:  # before the job, which must not be without
                sources = self._models.sources(copy_id, SOURCES_PREFIX + job_id, packed_sources=packed)
                # The race: a redelivered submission finds a job at work on its sources. It may have been planned
                # otherwise, since the parameters can have changed.
                accepted(lambda: sources.save(SourcesItem.copy_id.does_not_exist()))
            item = self._models.job(
                copy_id,
                JOB_PREFIX + job_id,
                job_id=job_id,
                status=JobStatus.QUEUED,
                attempt=1,
                destination=plan.destination,
                packed_sources=packed if inline else None,
                options=OptionsMap(**asdict(options)),
                former=[attempt_map((), each) for each in plan.former] or None,
                queued_at=timestamp(now),
            )
            # The race: a redelivered submission finds jobs that were written, launched or ended before.
            accepted(lambda: item.save(JobItem.copy_id.does_not_exist()))

        with ThreadPoolExecutor(PARALLEL_WRITES) as pool:
            list(pool.map(create, enumerate(planned, start=first)))

    def jobs_written(self, copy_id: str) -> int:
        """The number of the last of a copy's jobs that is in the table; 0 where none is."""
        last = self._models.job.query(
            copy_id, JobItem.item.startswith(JOB_PREFIX), consistent_read=True, scan_index_forward=False, limit=1
        )
        return next((int(item.job_id) for item in last), 0)

    def count_jobs(self, copy_id: str) -> int:
        """How many of a copy's jobs are in the table. This reads all of them."""
        return self._models.job.count(copy_id, JobItem.item.startswith(JOB_PREFIX), consistent_read=True)

    def get_job(self, copy_id: str, job_id: str) -> Job | None:
        """A job as it is now; None where there is no such job."""
        try:
            item = self._models.job.get(copy_id, JOB_PREFIX + job_id, consistent_read=True)
        except self._models.job.DoesNotExist:
            return None
        if item.packed_sources is not None:
            return _job_of(item, item.packed_sources)
        sources = self._models.sources.get(copy_id, SOURCES_PREFIX + job_id, consistent_read=True)
        return _job_of(item, sources.packed_sources)

    def jobs(self, copy_id: str, after: str | None = None) -> Iterator[Job]:
        """The jobs of a copy, in order: all, or those after the one of this id."""
        in_range, sources_in_range = (
            _keys(JobItem.item, JOB_PREFIX, after),
            _keys(SourcesItem.item, SOURCES_PREFIX, after),
        )
        jobs = self._models.job.query(copy_id, in_range, consistent_read=True)
        sources = self._models.sources.query(copy_id, sources_in_range, consistent_read=True)
        for item in jobs:
            packed = item.packed_sources
            if packed is None:  # both come in the order of the jobs
                own = SOURCES_PREFIX + item.job_id
                packed = next(each.packed_sources for each in sources if each.item == own)
            yield _job_of(item, packed)

    def unlaunched_jobs(self, copy_id: str) -> Iterator[OpenJob]:
        """The jobs of a copy that are queued, or whose launch has not asked ICA for anything yet, as they are now."""
        queued = JobItem.status == JobStatus.QUEUED
        # No race: a launch that has asked meanwhile is not ended. The end is refused then: see ``cancel``.
        is_unasked = (JobItem.status == JobStatus.LAUNCHING) & JobItem.intent.does_not_exist()
        found = self._models.job.query(
            copy_id, JobItem.item.startswith(JOB_PREFIX), queued | is_unasked, consistent_read=True
        )
        return map(open_job_of, found)


def _keys(item: UnicodeAttribute, prefix: str, after: str | None) -> Condition:
    """The condition on the keys of items that begin so, and end in an id after this one."""
    # "!" comes after the end of an id, and "~" after every digit.
    condition: Condition = item.between(f"{prefix}{after}!", f"{prefix}~") if after else item.startswith(prefix)
    return condition


def open_job_of(item: JobItem) -> OpenJob:
    """The job as the index shows it."""
    return OpenJob(**_shown(item))


def _job_of(item: JobItem, packed_sources: bytes) -> Job:
    """The whole job."""
    sources = unpack_sources(packed_sources)
    return Job(
        **_shown(item),
        sources=sources,
        copied=unpack_copied(sources, item.copied or b""),
        batch_limit=None if item.batch_limit is None else int(item.batch_limit),
        options=CopyOptions(**item.options.as_dict()),
        attempts=tuple(_attempt(sources, each) for each in item.attempts or ()),
        total_bytes=None if item.total_bytes is None else int(item.total_bytes),
        held_for=item.held_for,
        former=tuple(_attempt((), each) for each in item.former or ()),
        ended_at=item.ended_at,
        lease_until=item.lease_until,
        intent=_intent(item.intent) if item.intent else None,
        answer_lost_at=item.answer_lost_at,
        mismatch_since=item.mismatch_since,
        verified_up_to=item.verified_up_to,
        deferrals=int(item.deferrals or 0),
        reason=item.reason,
        redriven_as=item.redriven_as,
    )


def _shown(item: JobItem) -> dict[str, Any]:
    """The fields of a job that are in the index too."""
    return {
        "copy_id": item.copy_id,
        "job_id": item.job_id,
        "status": JobStatus(item.status),
        "attempt": int(item.attempt),
        "destination": item.destination,
        "queued_at": item.queued_at,
        "claimed_at": item.claimed_at,
        "running_at": item.running_at,
        "due_at": item.due_at,
        "ica_project_id": item.ica_project_id,
        "ica_job_id": item.ica_job_id,
        "ica_batch_id": item.ica_batch_id,
        "undecided_since": item.undecided_since,
        "hold": Hold(HoldReason(item.hold_reason), item.hold_detail) if item.hold_reason else None,
    }


def _intent(item: IntentMap) -> Intent:
    held = item.as_dict()
    return Intent(**{**held, "folder_id": held.get("folder_id"), "count": int(held["count"])})


def attempt_map(sources: Sequence[str], attempt: Attempt) -> AttemptMap:
    """An attempt as a job's item has it; its outcomes and fingerprints are those of these sources."""
    names = [each.name for each in fields(attempt) if each.name not in ("outcomes", "fingerprints")]
    return AttemptMap(
        **{name: getattr(attempt, name) for name in names},
        packed_outcomes=pack_outcomes(sources, attempt.outcomes) or None,
        packed_fingerprints=pack_fingerprints(sources, attempt.fingerprints) or None,
    )


def _attempt(sources: Sequence[str], item: AttemptMap) -> Attempt:
    kept = {name: value for name, value in item.as_dict().items() if value is not None}
    outcomes = unpack_outcomes(sources, kept.pop("packed_outcomes", b""))
    fingerprints = unpack_fingerprints(sources, kept.pop("packed_fingerprints", b""))
    return Attempt(**{**kept, "number": int(item.number), "outcomes": outcomes, "fingerprints": fingerprints})
