"""Operate: cancels, pauses and resumes existing copies, for a person or a system."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from icav2_copy_batch.domain.job import Clock, Copy, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.requests import Cancel, CannotDo, Failure, Pause, Redrive, Resume, redrive_id
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.stops import TOO_MANY_PAUSED, Paused
from icav2_copy_batch.domain.submit import is_copy_id
from icav2_copy_batch.ports import Table
from icav2_copy_batch.stages.cancel import MOST_AT_ONCE, end_jobs

SECONDS_TO_CANCEL_MORE = 20.0
"""With less time left the poller cancels the jobs that are left."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Operate:
    """Carries out what is asked for copies that are there. Each may be asked again and changes nothing more then."""

    table: Table
    clock: Clock
    seconds_left: Callable[[], float]
    count_cancelled: Callable[[int], None]
    """Told how many jobs have ended by a cancel, as they do."""
    spread: Spread = field(default=in_threads)

    def cancel(self, request: Cancel) -> int:
        """Cancel a copy: how many of its jobs have ended by it so far. Raises ``CannotDo``.

        No job of it is claimed any more when this returns. The poller ends the jobs that are still queued then.
        """
        copy_id = request.copy_id
        if not self.table.mark_cancelled(copy_id, self.clock()):
            raise self._settled(copy_id, "cancelled")
        logger.warning("copy cancelled", extra={"copy_id": copy_id, "by": request.by})
        # Read before the jobs: where a backlog is there, all of its jobs are written and will be seen.
        backlogs = [backlog for backlog in self.table.backlogs() if backlog.copy_id == copy_id]
        jobs = list(self.table.unlaunched_jobs(copy_id))
        # First the launches that may be about to ask ICA. What is queued cannot be claimed any more.
        jobs.sort(key=lambda job: job.status is JobStatus.QUEUED)
        ended = 0
        for start in range(0, len(jobs), MOST_AT_ONCE):
            portion = jobs[start : start + MOST_AT_ONCE]
            ended += end_jobs(self.table, portion, self.clock(), self.spread, self.count_cancelled)
            if self.seconds_left() < SECONDS_TO_CANCEL_MORE:
                return ended
        for backlog in backlogs:
            self.table.shorten_backlog(backlog, backlog.last + 1)
        return ended

    def left(self, copy_id: str) -> list[OpenJob]:
        """The jobs of a cancelled copy that ICA was asked for: they end when ICA ends them."""
        statuses = (JobStatus.LAUNCHING, JobStatus.RUNNING)
        return [job for status in statuses for job in self.table.jobs_in(status) if job.copy_id == copy_id]

    def pause(self, request: Pause) -> None:
        """Launch nothing new of a subject: no job of it is claimed any more when this returns. Raises ``CannotDo``."""
        if not self.table.stops().has_room_for(request.subject):
            raise CannotDo(Failure.REFUSED, TOO_MANY_PAUSED)
        pause = Paused(request.subject, timestamp(self.clock()), request.by, request.reason)
        if not self.table.pause(pause, request.copy_id):
            raise self._settled(str(request.copy_id), "paused")
        said = {"subject": pause.subject, "by": pause.by, "reason": pause.reason, "copy_id": request.copy_id}
        logger.warning("paused", extra=said)

    def resume(self, request: Resume) -> None:
        """End a pause of a subject, if there is one. Raises ``CannotDo``."""
        if not self.table.resume(request.subject, self.clock(), request.copy_id) and request.copy_id:
            self.copy(request.copy_id)
        said = {"subject": request.subject, "by": request.by, "copy_id": request.copy_id}
        logger.warning("resumed", extra=said)

    def id_of_redrive(self, request: Redrive) -> str:
        """The id of the copy that a redrive makes or has made: the first that no other submission has.

        Raises ``CannotDo`` where it would be longer than an id may be.
        """
        copy_id = redrive_id(request.copy_id, request.job_id)
        while (present := self.table.get_copy(copy_id)) and present.redrive_of != request.copy_id:
            copy_id = redrive_id(copy_id)
        if not is_copy_id(copy_id):
            raise CannotDo(Failure.REFUSED, f"{copy_id} would be too long for an id: submit what is missing anew")
        return copy_id

    def copy(self, copy_id: str) -> Copy:
        """A copy. Raises ``CannotDo`` where there is none."""
        if copy := self.table.get_copy(copy_id):
            return copy
        raise CannotDo(Failure.NO_SUCH_COPY, f"there is no copy {copy_id}: check the id")

    def _settled(self, copy_id: str, what: str) -> CannotDo:
        """Why a copy cannot be cancelled or paused: it is not there, or has settled."""
        status = self.copy(copy_id).settled_status
        return CannotDo(Failure.REFUSED, f"copy {copy_id} has settled ({status}): it cannot be {what} any more")
