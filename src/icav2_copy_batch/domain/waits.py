"""Why a queued job waits, as it can be seen now, where no stored hold says so or the stored one is out of date.

The table keeps a hold where something was tried and did not go on. Nothing was tried for a job in a backlog, and a
pause or a cancel writes nothing to the jobs that it holds. What they wait for follows from what else is in the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from icav2_copy_batch.domain.job import Hold, HoldReason, JobStatus, OpenJob
from icav2_copy_batch.domain.pace import Pace
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.stops import Paused, pause_subjects

CANCELLED = Hold(HoldReason.CANCELLED, "its copy was cancelled: it ends with the next poll")
SENT = Hold(HoldReason.LAUNCH_MESSAGE, "its launch message is on its way")
LOST = Hold(HoldReason.LAUNCH_MESSAGE, "its launch message may be lost: another is sent with the next poll")
NEXT = Hold(HoldReason.LAUNCH_MESSAGE, "nothing holds it: its launch message is sent with the next poll")
NOT_WRITTEN = Hold(HoldReason.LAUNCH_MESSAGE, "the jobs of its copy are still being written")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What decides at a moment whether a queued job may be launched."""

    now: datetime
    pauses: Sequence[Paused] = ()
    cancelled: frozenset[str] = frozenset()
    """Ids of cancelled copies."""
    slots: Slots = field(default_factory=Slots)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    """Jobs that have a slot, or whose launch message may take one, by project."""
    writers: Mapping[str, str] = field(default_factory=dict)
    """Destination folder → the copy that writes into it."""
    deferred: Mapping[tuple[str, str], Sequence[Hold]] = field(default_factory=dict)
    """By copy and project: why jobs are deferred, as long as no more are taken from their backlog."""
    throttled_until: datetime | None = None
    """The moment before which ICA wants no calls, if that is far enough away for launches to wait for it."""

    @classmethod
    def of(
        cls,
        now: datetime,
        slots: Slots,
        pauses: Sequence[Paused],
        cancelled: frozenset[str],
        jobs: Iterable[OpenJob],
        pace: Pace | None,
    ) -> Surroundings:
        """From the open jobs of all copies that are in no backlog."""
        in_flight: Counter[str] = Counter()
        writers: dict[str, str] = {}
        deferred: dict[tuple[str, str], list[Hold]] = {}
        for job in jobs:
            if job.status is not JobStatus.QUEUED:
                writers[job.destination] = job.copy_id
                in_flight[job.project] += 1
            elif _is_due(job, now):
                continue
            elif job.hold is None:  # a message under way may take a slot
                in_flight[job.project] += 1
            elif job.held.holds_backlog:
                deferred.setdefault((job.copy_id, job.project), []).append(job.hold)
        return cls(
            now=now,
            pauses=pauses,
            cancelled=cancelled,
            slots=slots,
            in_flight=in_flight,
            writers=writers,
            deferred=deferred,
            throttled_until=pace.held_until(now) if pace else None,
        )

    def hold_of(self, job: OpenJob) -> Hold | None:
        """What holds a job now: what is stored, unless it is queued and something else holds it by now."""
        if job.status is not JobStatus.QUEUED:
            return job.hold
        if stopped := self.stop(job.copy_id, job.project):
            return stopped
        if job.hold and not job.held.is_queueing:
            return job.hold
        if job.hold is None and job.due_at:
            return LOST if _is_due(job, self.now) else SENT
        held = self._full(job.project) if job.due_at else self.hold_of_backlog(job.copy_id, job.project)
        if held not in (None, NEXT):
            return held
        writer = self.writers.get(job.destination)
        if writer not in (None, job.copy_id):
            return Hold(HoldReason.FOLDER_BUSY, f"copy {writer} writes into {job.destination}")
        if job.hold is None or job.hold.reason is HoldReason.PAUSED:  # a pause that is stored has ended
            return NEXT
        return job.hold

    def hold_of_backlog(self, copy_id: str, project: str) -> Hold:
        """What holds the jobs in a backlog."""
        if stopped := self.stop(copy_id, project):
            return stopped
        deferred = self.deferred.get((copy_id, project), ())
        if len(deferred) >= self.slots.per_project:
            return deferred[0]
        return self._full(project) or NEXT

    def pauses_of(self, copy_id: str, projects: Iterable[str]) -> list[Paused]:
        """The pauses that hold a copy, or its jobs into these projects."""
        subjects = {each for project in ("", *projects) for each in pause_subjects(copy_id, project)}
        return sorted((each for each in self.pauses if each.subject in subjects), key=lambda each: each.subject)

    def stop(self, copy_id: str, project: str = "") -> Hold | None:
        """The cancel or the pauses that hold a copy, or its jobs into a project."""
        if copy_id in self.cancelled:
            return CANCELLED
        if paused := self.pauses_of(copy_id, [project]):
            return Hold.of(HoldReason.PAUSED, "; ".join(each.in_words for each in paused))
        return None

    def _full(self, project: str) -> Hold | None:
        """What holds every job into a project that may be launched otherwise."""
        if self.throttled_until:
            until = self.throttled_until.strftime("%H:%M:%S")
            return Hold(HoldReason.THROTTLED, f"ICA has asked for no calls until {until} UTC (429)")
        if sum(self.in_flight.values()) >= self.slots.total:
            return Hold(HoldReason.NO_SLOT, f"all {self.slots.total:,} slots for ICA jobs are in use")
        if self.in_flight.get(project, 0) >= self.slots.per_project:
            return Hold(HoldReason.NO_SLOT, f"all {self.slots.per_project:,} slots of project {project} are in use")
        return None


def _is_due(job: OpenJob, now: datetime) -> bool:
    return job.due_at is not None and datetime.fromisoformat(job.due_at) <= now
