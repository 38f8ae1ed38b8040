"""Poll: asks ICA about running jobs, until none runs or the time is up.

EventBridge calls the poller every minute, and a launch calls it at once. Within its time it asks ICA again and again:
soon after a job was launched, then less and less often. So a copy waits for ICA and not for the schedule. A lease keeps
this to one poller at a time. Where ICA sends notifications that jobs have ended, ``poll_notified`` asks at once, and
the poller asks only for what no notification came for.

Every open job that is not in a backlog has a moment at which it is due, and something that acts then: a queued job gets
another launch message, a launch whose end nobody saw is settled, a job that ICA has ended is settled. A settled copy
that the stream did not publish is published, and a copy that takes too long is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import VERDICTS, IcaError, IcaJob, Verdict, verdict_of
from icav2_copy_batch.domain.job import Clock, CopyStatus, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.schedule import Dispatched
from icav2_copy_batch.ports import Dispatcher, IcaJobs, Publisher, Table
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH
from icav2_copy_batch.stages.settle import Settle, is_noted

LEASE_NAME = "poller"
LEASE = timedelta(seconds=60)
"""The lease is renewed at every poll; a poller that died holds up the next for no longer than this."""
UNPUBLISHED_AGE = timedelta(minutes=1)
"""The stream should have published a copy that settled so long ago."""
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 1.5, 20.0
POLL_SHARE_OF_AGE = 0.15
"""ICA is asked again about a job after this share of the time for which it has been running, within the two bounds."""
NOTIFIED_LEASE_NAME = "notified"
NOTIFIED = timedelta(minutes=5)
"""For so long after a notification for a project the poller trusts that more will come, and asks less often."""
GATHER_LEASE_NAME = "gather"
GATHER_SECONDS_PER_JOB, LONGEST_GATHER_SECONDS = 0.025, 0.5
"""Notifications are gathered for so long before ICA is asked: the longer, the more jobs run that may end as well."""
AT_LEAST = timedelta(seconds=1)
"""ICA is not asked again about a job before this."""
WAITED_FOR = timedelta(seconds=60)
"""The poller stays at work for queued jobs that will be due within this time."""
LEAST_SECONDS_TO_POLL = 45.0
"""With less time left the poller leaves the rest to the next."""
SHORTEST_NAP_SECONDS, LONGEST_NAP_SECONDS = 1.0, 4.0
"""How often the table is asked what runs and what is due; ICA is asked less often."""
QUEUED_AGAIN = (Happening.REQUEUED, Happening.PART_PASSED, Happening.RELEASED)
"""After these a job is due at once, and gets its launch message in the same poll."""
INDEX_LAG_SECONDS = 0.2
"""After this the table's index, which is eventually consistent, shows what was written just before it was read."""
PUBLISHED_AS = {
    CopyStatus.COMPLETED: Happening.COPIES_COMPLETED,
    CopyStatus.FAILED: Happening.COPIES_FAILED,
    CopyStatus.CANCELLED: Happening.COPIES_CANCELLED,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Open:
    """What is open at a moment and may be due."""

    at: datetime
    running: list[OpenJob]
    launching: list[OpenJob]
    """Launches of which something will be due within ``WAITED_FOR``."""

    @property
    def has_overdue_launches(self) -> bool:
        return any(str(job.due_at) < timestamp(self.at) for job in self.launching)


@dataclass(frozen=True, kw_only=True)
class Poll:
    """Asks ICA about running jobs, and has what is due done by the stage whose part it is."""

    table: Table
    ica: IcaJobs
    settle: Settle
    settle_launches: Callable[[], Happenings]
    """Settles launches whose end nobody saw: see ``reconcile``."""
    dispatch: Dispatcher
    publish: Publisher
    note_oldest: Callable[[float], None]
    """Told how many seconds ago the oldest copy that has open jobs was submitted, if there is one."""
    report_delays: Callable[[], int]
    """Reports what takes too long, and says how much that is: see ``delay``."""
    end_unwritten: Callable[[], None]
    """Ends cancelled copies whose jobs were never all written: see ``unwritten``."""
    clock: Clock
    seconds_left: Callable[[], float]
    sleep: Callable[[float], None]

    def poll(self, owner: str, triggered: bool = False) -> Happenings:
        """See to everything that is open; how often each thing happened.

        ``owner`` names this invocation. ``triggered`` says that a launch has called it, and not the schedule: what that
        launch has started may show in the index, which is eventually consistent, only after a moment.
        """
        happened = Happenings() if triggered else self._see_to_overdue_copies()
        asked_at: dict[str, datetime] = {}
        may_lag, has_lease = triggered, False
        try:
            while found := self._take(owner, may_lag):
                has_lease = may_lag = True
                notified = self._notified_projects(found)
                seen = Happenings()
                if any(self._due_in(job, asked_at, notified) <= 0 for job in found.running):
                    seen += self._ask(found.running)
                    asked_at = {str(job.ica_job_id): found.at for job in found.running}
                if found.has_overdue_launches:
                    seen += self.settle_launches()
                sent = self._dispatch(seen)
                happened += seen + sent.happened
                due_in = [self._due_in(job, asked_at, notified) for job in found.running]
                if sent.next_due:
                    due_in.append((sent.next_due - self.clock()).total_seconds())
                nap = min(max(min(due_in, default=LONGEST_NAP_SECONDS), SHORTEST_NAP_SECONDS), LONGEST_NAP_SECONDS)
                if self.seconds_left() < nap + LEAST_SECONDS_TO_POLL:
                    break
                self.sleep(nap)
        finally:
            if has_lease:
                self.table.drop_lease(LEASE_NAME, owner)
        return happened

    def poll_notified(self, owner: str, ica_job_ids: Collection[str]) -> Happenings:
        """Ask about all that runs, if any of the ICA jobs that notifications name may be ours.

        Jobs end in swarms: one of the invocations waits a moment and asks for all of them, in one call.
        """
        now = self.clock()
        running = self.table.jobs_in(JobStatus.RUNNING)
        named = [job for job in running if job.ica_job_id in ica_job_ids]
        for project_id in _projects(named):
            self.table.hold_lease(f"{NOTIFIED_LEASE_NAME} {project_id}", NOTIFIED_LEASE_NAME, now, now + NOTIFIED)
        # A launch may not have noted its ICA job yet.
        ours = named or self.table.jobs_in(JobStatus.LAUNCHING)
        gather = min(GATHER_SECONDS_PER_JOB * len(running), LONGEST_GATHER_SECONDS)
        if not ours or not self.table.hold_lease(GATHER_LEASE_NAME, owner, now, now + timedelta(seconds=gather)):
            return Happenings()
        self.sleep(gather + 0.05)  # whoever comes now asks later than we
        happened = self._ask(self.table.jobs_in(JobStatus.RUNNING), notified=True)
        return happened + self._dispatch(happened).happened

    def _dispatch(self, seen: Happenings) -> Dispatched:
        """Have launch messages sent to what is due; twice where the index may not show yet what was just queued."""
        sent = self.dispatch.send()
        if sent.again < sum(seen[each] for each in QUEUED_AGAIN):
            self.sleep(INDEX_LAG_SECONDS)
            sent += self.dispatch.send()
        return sent

    # --- copies -------------------------------------------------------------------------------------------------------

    def _see_to_overdue_copies(self) -> Happenings:
        """What has waited for a minute may wait for another: done once for each call by the schedule."""
        self.end_unwritten()
        copies = self.table.open_copies()
        if oldest := min((copy.submitted_at for copy in copies if copy.open_jobs), default=None):
            self.note_oldest((self.clock() - datetime.fromisoformat(oldest)).total_seconds())
        before = self.clock() - UNPUBLISHED_AGE
        happened = self._publish_forgotten([copy.copy_id for copy in copies if copy.is_unpublished(before)])
        self.publish.keep_tasks()
        happened[Happening.DELAYED] += self.report_delays()
        return happened

    def _publish_forgotten(self, copy_ids: Iterable[str]) -> Happenings:
        happened = Happenings()
        for number, copy_id in enumerate(copy_ids):
            if number and self.seconds_left() < SECONDS_TO_PUBLISH:
                break  # the next call has all of its time
            logger.warning("the stream did not publish a copy", extra={"copy_id": copy_id})
            try:
                if status := self.publish.publish(copy_id):
                    happened[PUBLISHED_AS[status]] += 1
            except Exception:
                logger.exception("copy not published", extra={"copy_id": copy_id})
                happened[Happening.UNPUBLISHED] += 1
        return happened

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _take(self, owner: str, may_lag: bool) -> Open | None:
        """What is open, with the lease; None where there is nothing to do, or another poller does it.

        ``may_lag`` looks twice: the index may be behind, and the poller that has the lease may just be leaving.
        """
        if (found := self._take_now(owner)) or not may_lag:
            return found
        self.sleep(FIRST_POLL_SECONDS)
        return self._take_now(owner)

    def _take_now(self, owner: str) -> Open | None:
        running = self.table.jobs_in(JobStatus.RUNNING)
        now = self.clock()
        launching = self.table.jobs_in(JobStatus.LAUNCHING, due_before=now + WAITED_FOR)
        if not (running or launching or self.dispatch.anything_waits(WAITED_FOR)):
            return None
        return Open(now, running, launching) if self.table.hold_lease(LEASE_NAME, owner, now, now + LEASE) else None

    def _ask(self, running: Sequence[OpenJob], notified: bool = False) -> Happenings:
        """Ask ICA about running jobs, and settle those that it has ended."""
        if not running:
            return Happenings()
        try:
            ica_jobs = self.ica.jobs([str(job.ica_job_id) for job in running])
        except IcaError as error:
            logger.warning("ICA's jobs could not be read", extra={"reason": str(error), "running": len(running)})
            return Happenings({Happening.UNREADABLE: len(running)})
        answered = [(job, ica_jobs.get(str(job.ica_job_id))) for job in running]
        ended = [(job, ica_job) for job, ica_job in answered if ica_job and _has_ended(ica_job)]
        happened = Happenings(_left(job, ica_job) for job, ica_job in answered if not (ica_job and _has_ended(ica_job)))
        return happened + self.settle.settle(ended, notified)

    def _due_in(self, job: OpenJob, asked_at: Mapping[str, datetime], notified: Collection[str]) -> float:
        """In how many seconds ICA is to be asked about a running job: soon after its launch, then less and less often.

        Where ICA sends notifications, it is asked every 20 s, and first 20 s after the launch.
        """
        now, asked = self.clock(), asked_at.get(str(job.ica_job_id))
        if is_noted(job):
            again = asked + AT_LEAST if asked else now
            return (max(datetime.fromisoformat(str(job.due_at)), again) - now).total_seconds()
        started = datetime.fromisoformat(job.running_at) if job.running_at else now
        if str(job.ica_project_id) in notified:
            asked, pause = asked or started, LONGEST_POLL_SECONDS
        elif asked:
            share_of_age = (asked - started).total_seconds() * POLL_SHARE_OF_AGE
            pause = min(max(share_of_age, FIRST_POLL_SECONDS), LONGEST_POLL_SECONDS)
        else:
            return 0
        return pause - (now - asked).total_seconds()

    def _notified_projects(self, found: Open) -> set[str]:
        """The projects for which ICA sends notifications."""
        until = {
            project_id: self.table.lease_until(f"{NOTIFIED_LEASE_NAME} {project_id}")
            for project_id in _projects(found.running)
        }
        return {project_id for project_id, moment in until.items() if moment and moment > timestamp(found.at)}


def _projects(jobs: Iterable[OpenJob]) -> list[str]:
    return sorted({str(job.ica_project_id) for job in jobs})


def _has_ended(ica_job: IcaJob) -> bool:
    return verdict_of(ica_job.status) is not Verdict.STILL_RUNNING


def _left(job: OpenJob, ica_job: IcaJob | None) -> Happening:
    """What is counted of a job that ICA has not ended, as far as anybody knows."""
    if ica_job is None:
        logger.warning("ICA has no such job", extra=fields_of(job))
        return Happening.UNREADABLE
    if ica_job.status not in VERDICTS:
        logger.error("ICA job has a status we do not know", extra=fields_of(job, ica_status=ica_job.status))
        return Happening.UNKNOWN_STATUS
    return Happening.RUNNING
