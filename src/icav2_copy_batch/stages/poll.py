"""Poll: running jobs are looked at and moved on, until none runs or the time is up.

EventBridge calls it every minute, and a launch at once. It then looks again and again *within* its time, soon after
a job was launched and less and less often later, so that a copy waits for ICA and not for the schedule. A lease keeps
this to one at a time. Where ICA tells by notifications that a job has ended, ``look_now`` looks at once, by the same
code, and the poller looks only for what ICA forgets to tell.

Whatever is open and not in a backlog has a moment at which it is due, and something that acts on it then: a queued job
gets another launch message, a launch whose end nobody saw is settled, a settled copy is published, and what takes too
long is told. Jobs of the backlogs get their first message as slots get free.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.domain.ica import VERDICTS, CopyBatchItem, IcaError, IcaJob, Verdict, verdict_of
from icav2_copy_batch.domain.job import (
    ALL_THERE,
    Attempt,
    Clock,
    Job,
    JobStatus,
    LaunchRequest,
    timestamp,
)
from icav2_copy_batch.domain.outage import OUTAGE, wait_in_outage
from icav2_copy_batch.domain.outcomes import SourceOutcome, copied_bits
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import Dispatcher, IcaJobs, LaunchQueue, Publisher, Table
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE
from icav2_copy_batch.stages.items import NOT_AN_ITEM
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH
from icav2_copy_batch.stages.verify import MISMATCH, NOT_YET, Compared, TreesCompared, has_shown

LEASE_NAME = "poller"
LEASE = timedelta(seconds=60)
"""Renewed at every look; a poller that died holds up the next for no longer than this."""
UNPUBLISHED_AGE = timedelta(minutes=1)
"""A copy that settled so long ago should have been published by the stream."""
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 1.5, 20.0
LOOK_SHARE_OF_AGE = 0.15
"""A job is looked at again after this share of the time it has been running, between the two bounds."""
NOTIFIED_LEASE_NAME = "notified"
NOTIFIED = timedelta(minutes=5)
"""For so long after a notification of a project's the poller trusts that more will come, and looks less often."""
GATHER_LEASE_NAME = "gather"
GATHER_SECONDS_PER_JOB, LONGEST_GATHER_SECONDS = 0.025, 0.5
"""For so long notifications are gathered for one look: the longer, the more jobs run that may end as well."""
AT_LEAST = timedelta(seconds=1)
"""Between two looks at one job."""
WAITED_FOR = timedelta(seconds=60)
"""The poller stays at work for queued jobs that will be due within this time."""
TRIES_TO_NOTE = 3
"""To add how attempts have ended, where others do so at the same moment."""
LEAST_SECONDS_TO_LOOK = 45.0
SHORTEST_NAP_SECONDS, LONGEST_NAP_SECONDS = 1.0, 4.0
"""How often the table is asked what runs and what is due; ICA is asked less often."""

AWAITED_SHARE, FIRST_AWAITED_SECONDS, LONGEST_AWAITED_SECONDS = 0.25, 1.5, 15.0
"""Such files are looked at again after this share of the time since when they are not as they should be."""
TREES_SECONDS, TREES_SECONDS_WHEN_NOTIFIED = 20.0, 5.0
"""For so long a look compares trees, after all else, and leaves the rest to the next look."""
SECONDS_KEPT = 40.0
"""Of an invocation's time, when trees are compared: the call under way ends within it."""
FIRST_PUT_OFF_SECONDS, LONGEST_PUT_OFF_SECONDS = 5.0, 120.0
"""For so long jobs in projects that ICA could not be asked about are not compared, so that others are not kept waiting;
twice as long each time."""
NOT_TRIED = "NOT_TRIED"
"""Outcome of a source that was left to a later attempt, which there is not."""

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]
ByJob = Mapping[JobKey, list[SourceOutcome]]
ItemsByJob = Mapping[JobKey, Sequence[CopyBatchItem]]
Look = tuple[Job, IcaJob]
"""A running job with its sources, and its ICA job, which has ended."""
Projects = tuple[str, ...]


class Reconciler(Protocol):
    def settle_unknown_launches(self) -> Counter[str]: ...


class Verifier(Protocol):
    def faults(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]: ...
    def missing(self, jobs: Sequence[Job]) -> Compared: ...
    def has_trees(self, job: Job, succeeded: bool) -> bool: ...
    def pages_listed(self, job: Job) -> int: ...
    def compare_trees(self, job: Job, has_time: Callable[[], bool]) -> TreesCompared: ...


class ItemReader(Protocol):
    def read(self, jobs: Sequence[Job]) -> ItemsByJob: ...
    def uncopied(
        self, jobs: Sequence[Job], items: ItemsByJob, data_ids: Mapping[str, str]
    ) -> dict[JobKey, list[SourceOutcome]]: ...


class DelayReporter(Protocol):
    def report(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Poll:
    table: Table
    ica: IcaJobs
    queue: LaunchQueue
    dispatch: Dispatcher
    publish: Publisher
    reconciler: Reconciler
    verifier: Verifier
    items: ItemReader
    delay: DelayReporter
    clock: Clock
    seconds_left: Callable[[], float]
    sleep: Callable[[float], None]
    max_attempts: int
    spread: Spread = in_threads
    """How the jobs' moves are made: side by side."""
    put_off: dict[Projects, tuple[datetime, float]] = field(default_factory=dict, compare=False)
    """Projects that ICA could not be asked about: until when they are let be, and for how many seconds that was."""

    def poll(self, owner: str, triggered: bool = False) -> Counter[str]:
        """Look after everything that is open; how often each thing happened.

        ``owner`` names this invocation. ``triggered`` says that a launch has called it, and not the schedule: what that
        launch has started may show in the index, which is eventually consistent, only after a moment.
        """
        happened = Counter[str]() if triggered else self._look_after_what_is_overdue()
        patient, held = triggered, False
        looked: dict[str, datetime] = {}
        try:
            while True:
                running = self.table.jobs_in(JobStatus.RUNNING)
                now = self.clock()
                launching = self.table.jobs_in(JobStatus.LAUNCHING, due_before=now + WAITED_FOR)
                is_needed = bool(running or launching) or self.dispatch.anything_waits(WAITED_FOR)
                if is_needed:
                    held = self.table.hold_lease(LEASE_NAME, owner, now, now + LEASE)
                if not is_needed or not held:
                    # Once more after a moment: the index may lag, and the poller at work may just be leaving.
                    if not patient:
                        break
                    patient = False
                    self.sleep(FIRST_LOOK_SECONDS)
                    continue
                notified = self._notified_projects(running, now)
                if any(self._due_in(job, looked, notified) <= 0 for job in running):
                    happened += self._look_at(running)
                    looked = {str(job.ica_job_id): now for job in running}
                if any(str(job.due_at) < timestamp(now) for job in launching):
                    happened += self.reconciler.settle_unknown_launches()
                happened += self.dispatch.send()
                nap = min((self._due_in(job, looked, notified) for job in running), default=LONGEST_NAP_SECONDS)
                nap = min(max(nap, SHORTEST_NAP_SECONDS), LONGEST_NAP_SECONDS)
                if self.seconds_left() < nap + LEAST_SECONDS_TO_LOOK:
                    break
                self.sleep(nap)
                patient = True
        finally:
            if held:
                self.table.drop_lease(LEASE_NAME, owner)
        return happened

    def look_now(self, owner: str, ica_job_ids: Collection[str]) -> Counter[str]:
        """What a notification asks for: look at what runs, if any of these ICA jobs may be ours.

        Jobs end in swarms: one of the invocations waits a moment and looks for all of them, which is one call.
        """
        now = self.clock()
        running = self.table.jobs_in(JobStatus.RUNNING)
        meant = [job for job in running if job.ica_job_id in ica_job_ids]
        for project_id in sorted({str(job.ica_project_id) for job in meant}):
            self.table.hold_lease(f"{NOTIFIED_LEASE_NAME} {project_id}", NOTIFIED_LEASE_NAME, now, now + NOTIFIED)
        # A launch may not have noted its ICA job yet, of which we hear here.
        ours = meant or self.table.jobs_in(JobStatus.LAUNCHING)
        gather = min(GATHER_SECONDS_PER_JOB * len(running), LONGEST_GATHER_SECONDS)
        if not ours or not self.table.hold_lease(GATHER_LEASE_NAME, owner, now, now + timedelta(seconds=gather)):
            return Counter()
        self.sleep(gather + 0.05)  # whoever comes now looks later than we
        happened = self._look_at(self.table.jobs_in(JobStatus.RUNNING), notified=True)
        return happened + self.dispatch.send()

    def _look_after_what_is_overdue(self) -> Counter[str]:
        """What has waited for a minute may wait for another: seen to once for each time that the schedule calls."""
        happened = self._publish_forgotten()
        self.publish.look_after_waiting()
        happened["delayed"] += self.delay.report()
        return happened

    def _publish_forgotten(self) -> Counter[str]:
        happened: Counter[str] = Counter()
        for number, copy_id in enumerate(self.table.unpublished_copies(self.clock() - UNPUBLISHED_AGE)):
            if number and self.seconds_left() < SECONDS_TO_PUBLISH:
                break  # the next call has all of its time
            logger.warning("the stream did not publish a copy", extra={"copy_id": copy_id})
            try:
                if status := self.publish.publish(copy_id):
                    happened[f"copies_{status.lower()}"] += 1
            except Exception:
                logger.exception("copy not published", extra={"copy_id": copy_id})
                happened["unpublished"] += 1
        return happened

    def _look_at(self, running: list[Job], notified: bool = False) -> Counter[str]:
        """Make the moves that ICA's answers call for: what is quick first, and nothing waits for another project."""
        if not running:
            return Counter()
        try:
            ica_jobs = self.ica.jobs([str(job.ica_job_id) for job in running])
        except IcaError as error:
            logger.warning("ICA's jobs could not be read", extra={"reason": str(error), "running": len(running)})
            return Counter(unreadable=len(running))
        happened: Counter[str] = Counter()
        ended: list[Look] = []
        for job in running:
            ica_job = ica_jobs.get(str(job.ica_job_id))
            if ica_job and verdict_of(ica_job.status) is not Verdict.STILL_RUNNING:
                ended.append((job, ica_job))
            else:
                happened[_let_be(job, ica_job)] += 1
        looks = [look for look in self.spread(self._whole, ended) if look]
        outages = self._note_outcomes(looks)
        quick: list[Look] = []
        with_trees: list[Look] = []
        for look in looks:
            (with_trees if self.verifier.has_trees(look[0], _has_succeeded(look)) else quick).append(look)
        for counted in self.spread(lambda group: self._settle(group, outages), _grouped(quick)):
            happened += counted
        if notified:  # what takes long is left to the poller
            with_trees = [look for look in with_trees if not _is_noted(look[0])]
        seconds = TREES_SECONDS_WHEN_NOTIFIED if notified else TREES_SECONDS
        return happened + self._settle_trees(with_trees, seconds, outages)

    def _whole(self, look: Look) -> Look | None:
        """With the job's sources, which the index does not hold; None if it has moved on."""
        job, ica_job = look
        whole = self.table.get_job(job.copy_id, job.job_id)
        if not whole or whole.ica_job_id != job.ica_job_id:
            return None
        return replace(whole, ica_created_at=ica_job.created_at), ica_job

    def _settle(self, looks: Sequence[Look], outages: set[str]) -> Counter[str]:
        """Make the moves of jobs in the same projects, of which ICA says the same."""
        jobs = [job for job, _ in looks]
        projects = _projects(jobs[0])
        if self._is_put_off(projects):
            return Counter(unreadable=len(looks))
        wrong: ByJob
        uncopied: ByJob = {}
        try:
            if _has_succeeded(looks[0]):
                wrong = self.verifier.faults(jobs)
            else:
                wrong, uncopied = self._missing_and_uncopied(jobs)
        except Exception:
            logger.exception("jobs not compared", extra={"projects": projects})
            return Counter(not_moved=len(looks))

        def move_on(look: Look) -> str:
            return self._guarded(look, lambda: self._move_on(*look, wrong.get(_key(look[0])), uncopied, outages))

        happened = Counter(self.spread(move_on, looks))
        self._note_askable(projects, not happened["unreadable"])
        return happened

    def _settle_trees(self, looks: Sequence[Look], seconds: float, outages: set[str]) -> Counter[str]:
        """Make the moves of jobs whose folders have to be compared, one after the other, as far as time allows."""
        until = self.clock() + timedelta(seconds=min(seconds, max(self.seconds_left() - SECONDS_KEPT, 0.0)))

        def has_time() -> bool:
            return self.clock() < until

        def move_on(look: Look) -> str:
            return self._guarded(look, lambda: self._settle_tree(look, has_time, outages))

        # What has only begun comes first, so that nothing small waits for what is large.
        return Counter(move_on(look) for look in sorted(looks, key=lambda look: self.verifier.pages_listed(look[0])))

    def _settle_tree(self, look: Look, has_time: Callable[[], bool], outages: set[str]) -> str:
        job, projects = look[0], _projects(look[0])
        if self._is_put_off(projects):
            return "unreadable"
        try:
            trees = self.verifier.compare_trees(job, has_time)
        except IcaError as error:
            logger.warning("ICA could not be asked for trees", extra={**_fields(job), "reason": str(error)})
            self._note_askable(projects, askable=False)
            return "unreadable"
        if trees.faults is None:
            now = self.clock()
            self.table.note_comparison(job, now, now if trees.has_older else None, trees.up_to)
            return "comparing"
        uncopied: ByJob = {}
        if _has_succeeded(look):
            files = self.verifier.faults([job]).get(_key(job))
        else:
            missing, uncopied = self._missing_and_uncopied([job])
            files = missing.get(_key(job))
        self._note_askable(projects, files is not None)
        wrong = None if files is None else [*files, *trees.faults]
        return self._move_on(*look, wrong, uncopied, outages, trees.up_to)

    def _missing_and_uncopied(self, jobs: Sequence[Job]) -> tuple[ByJob, ByJob]:
        """What of jobs that ICA does not call succeeded is not there, and what it has not copied by their items."""
        asks: list[Callable[[Sequence[Job]], Any]] = [self.verifier.missing, self.items.read]
        missing, items = self.spread(lambda ask: ask(jobs), asks)
        return missing.wrong, self.items.uncopied(jobs, items, missing.data_ids)

    def _guarded(self, look: Look, act: Callable[[], str]) -> str:
        try:
            return act()
        except Exception:
            logger.exception("job not moved on", extra=_fields(look[0]))
            return "not_moved"

    def _is_put_off(self, projects: Projects) -> bool:
        until, _ = self.put_off.get(projects, (None, 0))
        return until is not None and self.clock() < until

    def _note_askable(self, projects: Projects, askable: bool) -> None:
        if askable:
            self.put_off.pop(projects, None)
            return
        _, before = self.put_off.get(projects, (None, FIRST_PUT_OFF_SECONDS / 2))
        seconds = min(2 * before, LONGEST_PUT_OFF_SECONDS)
        self.put_off[projects] = (self.clock() + timedelta(seconds=seconds), seconds)

    def _move_on(
        self,
        job: Job,
        ica_job: IcaJob,
        wrong: list[SourceOutcome] | None,
        uncopied: ByJob,
        outages: set[str],
        up_to: str | None = None,
    ) -> str:
        """Make the move that an ended ICA job calls for, given what is wrong with its files, if that could be asked."""
        said, in_outage = uncopied.get(_key(job)), job.ica_project_id in outages
        now = self.clock()
        if verdict_of(ica_job.status) is Verdict.SUCCEEDED:
            if wrong is None:
                logger.warning("ICA could not be asked for the copied files", extra=_fields(job))
                return "unreadable"
            # What was looked at while lists could be behind proves nothing, as is the case where NOT_YET is told.
            if wrong and has_shown(job, now) and NOT_YET.isdisjoint(each.outcome for each in wrong):
                return self._fail(job, MISMATCH, f"verification: {wrong[0].reason}", wrong, in_outage)
            if wrong:
                return self._await(job, wrong, up_to)
            return self._pass(job, ica_job.status, None)
        reason = _reason(ica_job)
        if job.options.action_on_exist != "SKIP":
            return self._fail(job, ica_job.status, reason, said, in_outage)
        if wrong is None:
            logger.warning("ICA could not be asked for what is there already", extra=_fields(job))
            return "unreadable"
        if missing := _missing(job, wrong, said):
            # There is no later attempt that would find the files there.
            is_last = job.failed_attempts + 1 >= self.max_attempts
            if is_last and not has_shown(job, now) and not _says_why(missing):
                return self._await(job, wrong, up_to)
            return self._fail(job, ica_job.status, reason, missing, in_outage)
        return self._pass(job, ALL_THERE, reason)

    def _pass(self, job: Job, outcome: str, reason: str | None) -> str:
        """The files of this attempt are there: the job has passed, or goes on with its next part."""
        now = self.clock()
        ended = job.ended_attempt(outcome, reason, now)
        if job.later:
            return self._launch_again("part_passed", job, ended, copied_bits(job.sources, job.later))
        return self._log("passed", job, ended, self.table.mark_passed(job, ended, now))

    def _await(self, job: Job, wrong: Sequence[SourceOutcome], up_to: str | None) -> str:
        """Look again at files that are not as they should be, which may not show yet."""
        now = self.clock()
        since = datetime.fromisoformat(job.mismatch_since) if job.mismatch_since else now
        logger.info("files are not there yet", extra={**_fields(job), "reason": wrong[0].reason})
        pause = min(max((now - since).total_seconds() * AWAITED_SHARE, FIRST_AWAITED_SECONDS), LONGEST_AWAITED_SECONDS)
        self.table.note_comparison(job, now + timedelta(seconds=pause), since, up_to)
        return "awaited"

    def _fail(
        self, job: Job, outcome: str, reason: str, uncopied: Sequence[SourceOutcome] | None, in_outage: bool
    ) -> str:
        """This attempt failed: another for the sources that it did not copy, unless it was the last."""
        now = self.clock()
        left = [*(uncopied or ()), *(SourceOutcome(source, NOT_TRIED) for source in job.later)]
        ended = job.ended_attempt(outcome, reason, now, left if uncopied else ())
        if job.failed_attempts + 1 >= self.max_attempts:
            return self._log("given_up", job, ended, self.table.give_up(job, ended, now))
        copied = job.copied if uncopied is None else copied_bits(job.sources, {each.source for each in left})
        if in_outage and (wait := wait_in_outage(job)):
            return self._log("requeued", job, ended, self.table.requeue(job, ended, copied, now, now + wait, OUTAGE))
        return self._launch_again("requeued", job, ended, copied)

    def _launch_again(self, word: str, job: Job, ended: Attempt, copied: bytes) -> str:
        """Another attempt at once, for what is not ``copied``."""
        now = self.clock()
        if requeued := self.table.requeue(job, ended, copied, now, due_at=now + LOST_MESSAGE_AGE):
            self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt + 1)])
        return self._log(word, job, ended, requeued)

    def _note_outcomes(self, looks: Iterable[Look]) -> set[str]:
        """Note how ICA says that attempts into each project have ended; the projects in which it fails most of them."""
        ended: dict[str, Counter[Verdict]] = defaultdict(Counter)
        for job, ica_job in looks:
            # Each end is noted once; one whose files are awaited or compared has been seen before.
            ended[str(job.ica_project_id)][verdict_of(ica_job.status)] += not _is_noted(job)
        return {
            project_id
            for project_id, of_project in sorted(ended.items())
            if self._note(project_id, of_project[Verdict.SUCCEEDED], of_project[Verdict.FAILED])
        }

    def _note(self, project_id: str, passed: int, failed: int) -> bool:
        """Add to what is known of a project; whether it is, or may be, an outage of ICA's."""
        now = self.clock()
        try:
            for _ in range(TRIES_TO_NOTE):
                seen = self.table.outcomes(project_id)
                if not passed + failed:
                    return seen.is_outage(now)
                outcomes = seen.plus(passed, failed, now)
                # Where all goes well there is nothing to note.
                if not (failed or seen.has_failures) or self.table.replace_outcomes(project_id, seen, outcomes):
                    break
        except Exception:
            logger.exception("outcomes not noted", extra={"project_id": project_id})
            return True  # for all we know; where it is none, whoever reads them next lets what waits go at once
        if outage := outcomes.is_outage(now):
            logger.warning("ICA fails most attempts into a project", extra={"project_id": project_id})
        return outage

    def _log(self, word: str, job: Job, ended: Attempt, moved: bool) -> str:
        message = f"job {word.replace('_', ' ')}" if moved else "job had moved on"
        logger.info(message, extra={**_fields(job), "outcome": ended.outcome, "reason": ended.reason})
        return word if moved else "moved_on"

    def _due_in(self, job: Job, looked: Mapping[str, datetime], notified: set[str]) -> float:
        """In how many seconds to look at a running job: soon after it was launched, then less and less often.

        One of whose end ICA will tell is looked at seldom, and first after it has run for a while.
        """
        now = self.clock()
        if _is_noted(job) and job.due_at:
            again = looked[str(job.ica_job_id)] + AT_LEAST if str(job.ica_job_id) in looked else now
            return (max(datetime.fromisoformat(job.due_at), again) - now).total_seconds()
        started = datetime.fromisoformat(job.running_at) if job.running_at else now
        told = str(job.ica_project_id) in notified
        looked_at = looked.get(str(job.ica_job_id), started if told else None)
        if looked_at is None:
            return 0
        share_of_age = (looked_at - started).total_seconds() * LOOK_SHARE_OF_AGE
        pause = LONGEST_LOOK_SECONDS if told else min(max(share_of_age, FIRST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)
        return pause - (now - looked_at).total_seconds()

    def _notified_projects(self, running: Iterable[Job], now: datetime) -> set[str]:
        """The projects of whose jobs ICA tells us, so that a look is there only for what it forgets to tell."""
        projects = sorted({str(job.ica_project_id) for job in running})
        until = {project_id: self.table.lease_until(f"{NOTIFIED_LEASE_NAME} {project_id}") for project_id in projects}
        return {project_id for project_id, moment in until.items() if moment and moment > timestamp(now)}


def _let_be(job: Job, ica_job: IcaJob | None) -> str:
    """What is told of a job that ICA has not ended, as far as anybody knows."""
    if ica_job is None:
        logger.warning("ICA has no such job", extra=_fields(job))
        return "unreadable"
    if ica_job.status not in VERDICTS:
        logger.error("ICA job has a status we do not know", extra={**_fields(job), "ica_status": ica_job.status})
        return "unknown_status"
    return "running"


def _has_succeeded(look: Look) -> bool:
    return verdict_of(look[1].status) is Verdict.SUCCEEDED


def _grouped(looks: Iterable[Look]) -> list[list[Look]]:
    """By projects, and those first that are to be launched again."""
    groups: dict[tuple[bool, Projects], list[Look]] = {}
    for look in looks:
        groups.setdefault((_has_succeeded(look), _projects(look[0])), []).append(look)
    return [groups[key] for key in sorted(groups)]


def _projects(job: Job) -> Projects:
    return tuple(sorted({parse_uri(uri).project for uri in (job.destination, *job.sources)}))


def _is_noted(job: Job) -> bool:
    """Whether the moment when to look at a running job has been set since it was launched."""
    return bool(job.due_at and job.running_at and job.due_at > job.running_at)


def _missing(job: Job, wrong: Sequence[SourceOutcome], said: Sequence[SourceOutcome] | None) -> list[SourceOutcome]:
    """What another attempt has to copy, given what is wrong: with what ICA said of it, where it said anything."""
    if said is None:
        said = [SourceOutcome(source, NOT_AN_ITEM) for source in job.uncopied]
    by_items = {each.source: each for each in said}
    compared = {each.source: each for each in wrong}
    return [by_items.get(source, compared[source]) for source in job.sources if source in compared]


def _says_why(missing: Iterable[SourceOutcome]) -> bool:
    """Whether ICA gives a reason for which it has not copied one of these: of what it has skipped it gives none."""
    return any(each.reason for each in missing if each.outcome != MISMATCH)


def _key(job: Job) -> JobKey:
    return job.copy_id, job.job_id


def _reason(ica_job: IcaJob) -> str:
    said = f": {ica_job.reason}" if ica_job.reason else ""
    return f"ICA job {ica_job.job_id} ended {ica_job.status}{said}"


def _fields(job: Job) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, "ica_job_id": job.ica_job_id}
