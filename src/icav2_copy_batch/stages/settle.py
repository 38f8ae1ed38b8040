"""Settle: decides what happens to a job once ICA has ended its copy batch.

The job's files are compared with their sources (``verify``). Where ICA does not call the batch succeeded, its items are
read as well (``items``). From what is found ``decide`` takes a decision: the job has passed, its attempt failed, or its
files are awaited. What ICA could not be asked about is left to the next poll.

A failed attempt is followed by another for the sources that it did not copy, until the job is given up. While ICA fails
most attempts into a project, further attempts wait (see ``domain/outage.py``).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import PARTIALLY_SUCCEEDED, IcaError, IcaJob, Verdict, verdict_of
from icav2_copy_batch.domain.job import ALL_THERE, NEXT_ATTEMPT, Attempt, Clock, Job, JobKey, OpenJob
from icav2_copy_batch.domain.outage import OUTAGE, wait_in_outage
from icav2_copy_batch.domain.outcomes import NOT_YET, Finding, Fingerprint, SourceOutcome
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import Table
from icav2_copy_batch.stages.items import BatchItems
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.verify import FilesCompared, TreesCompared, Verify, has_shown

AWAITED_SHARE, FIRST_AWAITED_SECONDS, LONGEST_AWAITED_SECONDS = 0.25, 1.5, 15.0
"""Awaited files are compared again after this share of the time for which they have been awaited, within the bounds."""
TREES_SECONDS, TREES_SECONDS_WHEN_NOTIFIED = 20.0, 5.0
"""For so long a poll compares trees, after all else, and leaves the rest to the next poll."""
SECONDS_KEPT = 40.0
"""So much of an invocation's time is kept when trees are compared: the call under way ends within it."""
FIRST_DEFERRAL_SECONDS, LONGEST_DEFERRAL_SECONDS = 5.0, 120.0
"""Jobs in projects that ICA could not be asked about are deferred for so long, twice as long each time. So they do not
keep others waiting."""
TRIES_TO_NOTE = 3
"""How often it is tried to note how attempts have ended, where others note the same at the same moment."""

logger = logging.getLogger(__name__)

Projects = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A running job, whole, and its ICA job, which has ended."""

    job: Job
    ica_job: IcaJob

    @property
    def has_succeeded(self) -> bool:
        return verdict_of(self.ica_job.status) is Verdict.SUCCEEDED

    @property
    def projects(self) -> Projects:
        """The projects of its sources and its destination."""
        return tuple(sorted({parse_uri(uri).project for uri in (self.job.destination, *self.job.sources)}))


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about an ended job."""

    wrong: list[SourceOutcome] | None
    """What is not as it should be at the destination; None where ICA could not be asked."""
    uncopied: list[SourceOutcome] | None = None
    """The sources that its copy batch has not copied, by its items; None where these are not known."""
    up_to: str | None = None
    """How far its trees have been compared."""
    right: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Source → its copy, as far as that is as it should be."""

    def with_trees(self, trees: TreesCompared) -> Findings:
        """These, and what was found in its trees."""
        wrong = None if self.wrong is None else [*self.wrong, *(trees.wrong or ())]
        return replace(self, wrong=wrong, up_to=trees.up_to, right={**self.right, **trees.right})


@dataclass(frozen=True, slots=True)
class Passed:
    """Decision: the files of this attempt are there."""

    outcome: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Decision: this attempt failed."""

    outcome: str
    reason: str
    uncopied: list[SourceOutcome] | None
    """What it has not copied; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Decision: the files are not as they should be, and may not show yet as they are."""

    wrong: list[SourceOutcome]


Decision = Passed | Failed | Awaited | None
"""None: it cannot be decided, since ICA could not be asked."""


@dataclass(frozen=True, slots=True)
class Deferral:
    """For so long projects are not asked about."""

    seconds: float
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Settle:
    """Makes the moves of jobs that ICA has ended."""

    table: Table
    verify: Verify
    items: BatchItems
    clock: Clock
    seconds_left: Callable[[], float]
    max_attempts: int
    spread: Spread = in_threads
    """How the jobs are moved: side by side."""
    deferrals: dict[Projects, Deferral] = field(default_factory=dict, compare=False)
    """Projects that ICA could not be asked about a moment ago."""

    def settle(self, ended: Sequence[tuple[OpenJob, IcaJob]], notified: bool = False) -> Happenings:
        """Move jobs on whose ICA jobs have ended: what is quick first, and no project waits for another.

        ``notified`` leaves to the poller what takes long.
        """
        whole = [each for each in self.spread(self._read, ended) if each]
        outages = self._note_ends(whole)
        quick: list[EndedJob] = []
        with_trees: list[EndedJob] = []
        for each in whole:
            (with_trees if self.verify.has_trees(each.job, each.has_succeeded) else quick).append(each)
        happened = sum(self.spread(lambda group: self._settle_group(group, outages), _grouped(quick)), Happenings())
        if notified:
            with_trees = [each for each in with_trees if not is_noted(each.job)]
        seconds = TREES_SECONDS_WHEN_NOTIFIED if notified else TREES_SECONDS
        return happened + self._settle_trees(with_trees, seconds, outages)

    def _read(self, ended: tuple[OpenJob, IcaJob]) -> EndedJob | None:
        """The whole job, with its sources; None where it has moved on."""
        listed, ica_job = ended
        job = self.table.get_job(listed.copy_id, listed.job_id)
        if not job or job.ica_job_id != listed.ica_job_id:
            return None
        return EndedJob(replace(job, ica_created_at=ica_job.created_at), ica_job)

    # --- what is found ------------------------------------------------------------------------------------------------

    def _settle_group(self, group: Sequence[EndedJob], outages: set[str]) -> Happenings:
        """Move jobs in the same projects, of which ICA says the same; they are compared together."""
        projects = group[0].projects
        if self._is_deferred(projects):
            return Happenings({Happening.UNREADABLE: len(group)})
        try:
            found = self._compare(group)
        except Exception:
            logger.exception("jobs not compared", extra={"projects": projects})
            return Happenings({Happening.NOT_MOVED: len(group)})

        def move(each: EndedJob) -> Happenings:
            return _guarded(each, lambda: self._move(each, found[each.job.key], outages))

        happened = sum(self.spread(move, group), Happenings())
        self._defer(projects, is_askable=not happened[Happening.UNREADABLE])
        return happened

    def _compare(self, group: Sequence[EndedJob]) -> dict[JobKey, Findings]:
        """What is found of the files of such jobs, and of their items where ICA does not call them succeeded."""
        jobs = [each.job for each in group]
        if group[0].has_succeeded:
            compared = self.verify.faults(jobs)
            return {job.key: _findings(compared, job) for job in jobs}
        asks: list[Callable[[Sequence[Job]], Any]] = [self.verify.missing, self.items.read]
        missing, items = self.spread(lambda ask: ask(jobs), asks)
        uncopied = self.items.uncopied(jobs, items, missing.data_ids)
        return {job.key: _findings(missing, job, uncopied.get(job.key)) for job in jobs}

    def _settle_trees(self, ended: Sequence[EndedJob], seconds: float, outages: set[str]) -> Happenings:
        """Move jobs whose folders have to be compared, one after the other, as far as time allows."""
        until = self.clock() + timedelta(seconds=min(seconds, max(self.seconds_left() - SECONDS_KEPT, 0.0)))

        def move(each: EndedJob) -> Happenings:
            return _guarded(each, lambda: self._settle_tree(each, lambda: self.clock() < until, outages))

        # What has only begun comes first, so that nothing small waits for what is large.
        by_size = sorted(ended, key=lambda each: self.verify.pages_listed(each.job))
        return sum(map(move, by_size), Happenings())

    def _settle_tree(self, each: EndedJob, has_time: Callable[[], bool], outages: set[str]) -> Happenings:
        job, projects = each.job, each.projects
        if self._is_deferred(projects):
            return Happenings([Happening.UNREADABLE])
        try:
            trees = self.verify.compare_trees(job, has_time)
        except IcaError as error:
            logger.warning("ICA could not be asked for trees", extra=fields_of(job, reason=str(error)))
            self._defer(projects, is_askable=False)
            return Happenings([Happening.UNREADABLE])
        if trees.wrong is None:
            now = self.clock()
            self.table.note_comparison(job, now, now if trees.has_older else None, trees.up_to)
            return Happenings([Happening.COMPARING])
        found = self._compare([each])[job.key].with_trees(trees)
        self._defer(projects, is_askable=found.wrong is not None)
        return self._move(each, found, outages)

    def _is_deferred(self, projects: Projects) -> bool:
        deferral = self.deferrals.get(projects)
        return deferral is not None and self.clock() < deferral.until

    def _defer(self, projects: Projects, *, is_askable: bool) -> None:
        """Note whether ICA could be asked about these projects: if not, they are deferred for longer each time."""
        before = self.deferrals.pop(projects, None)
        if not is_askable:
            seconds = min(2 * before.seconds, LONGEST_DEFERRAL_SECONDS) if before else FIRST_DEFERRAL_SECONDS
            self.deferrals[projects] = Deferral(seconds, self.clock() + timedelta(seconds=seconds))

    # --- what is changed ----------------------------------------------------------------------------------------------

    def _move(self, each: EndedJob, found: Findings, outages: set[str]) -> Happenings:
        """Make the move that is decided."""
        job = each.job
        match decide(each, found, self.clock(), self.max_attempts):
            case Passed() as passed:
                return self._pass(job, passed, found.right)
            case Failed() as failed:
                return self._fail(job, failed, found.right, job.ica_project_id in outages)
            case Awaited(wrong):
                return self._await(job, wrong[0], found.up_to)
            case None:
                logger.warning("ICA could not be asked for the copied files", extra=fields_of(job))
                return Happenings([Happening.UNREADABLE])

    def _pass(self, job: Job, passed: Passed, right: Mapping[str, Fingerprint]) -> Happenings:
        """The job has passed, or goes on with its next part."""
        now = self.clock()
        if job.later:
            ended = job.ended_attempt(passed.outcome, passed.reason, now)
            return self._launch_again(Happening.PART_PASSED, job, ended, frozenset(job.due_by_now))
        ended = job.ended_attempt(passed.outcome, passed.reason, now, fingerprints=right)
        return _log(Happening.PASSED, job, ended, self.table.mark_passed(job, ended, now))

    def _await(self, job: Job, wrong: SourceOutcome, up_to: str | None) -> Happenings:
        """Compare the files again in a while."""
        now = self.clock()
        since = datetime.fromisoformat(job.mismatch_since) if job.mismatch_since else now
        logger.info("files are not there yet", extra=fields_of(job, reason=wrong.reason))
        pause = min(max((now - since).total_seconds() * AWAITED_SHARE, FIRST_AWAITED_SECONDS), LONGEST_AWAITED_SECONDS)
        self.table.note_comparison(job, now + timedelta(seconds=pause), since, up_to)
        return Happenings([Happening.AWAITED])

    def _fail(self, job: Job, failed: Failed, right: Mapping[str, Fingerprint], in_outage: bool) -> Happenings:
        """Launch another attempt for the sources that this one did not copy, unless it was the last."""
        now, uncopied = self.clock(), failed.uncopied
        left = [*(uncopied or ()), *(SourceOutcome(source, Finding.NOT_TRIED) for source in job.later)]
        ended = job.ended_attempt(failed.outcome, failed.reason, now, left if uncopied else ())
        if _is_last(job, self.max_attempts):
            ended = replace(ended, fingerprints=right)
            return _log(Happening.GIVEN_UP, job, ended, self.table.give_up(job, ended, now))
        copied = job.copied if uncopied is None else frozenset(job.sources) - {each.source for each in left}
        if in_outage and (wait := wait_in_outage(job)):
            requeued = self.table.requeue(job, ended, copied, now, now + wait, OUTAGE)
            return _log(Happening.REQUEUED, job, ended, requeued)
        return self._launch_again(Happening.REQUEUED, job, ended, copied)

    def _launch_again(self, happening: Happening, job: Job, ended: Attempt, copied: frozenset[str]) -> Happenings:
        """Another attempt as soon as there is a slot, for what is not ``copied``."""
        now = self.clock()
        return _log(happening, job, ended, self.table.requeue(job, ended, copied, now, now, NEXT_ATTEMPT))

    # --- outages ------------------------------------------------------------------------------------------------------

    def _note_ends(self, ended: Iterable[EndedJob]) -> set[str]:
        """Note how attempts into each project have ended; the projects in which ICA fails most of them."""
        ends: dict[str, Counter[Verdict]] = defaultdict(Counter)
        for each in ended:
            # Each end is noted once. A job whose files are awaited or compared has been seen before.
            ends[str(each.job.ica_project_id)][verdict_of(each.ica_job.status)] += not is_noted(each.job)
        return {
            project_id
            for project_id, verdicts in sorted(ends.items())
            if self._note(project_id, verdicts[Verdict.SUCCEEDED], verdicts[Verdict.FAILED])
        }

    def _note(self, project_id: str, passed: int, failed: int) -> bool:
        """Add to what is known of a project; whether ICA has, or may have, an outage there."""
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
            return True  # it may be one; where it is none, dispatch sends what waits for it at once
        if outage := outcomes.is_outage(now):
            logger.warning("ICA fails most attempts into a project", extra={"project_id": project_id})
        return outage


def _findings(compared: FilesCompared, job: Job, uncopied: list[SourceOutcome] | None = None) -> Findings:
    """What was found of a job, without its trees."""
    return Findings(compared.wrong.get(job.key), uncopied, right=compared.right.get(job.key, {}))


def decide(ended: EndedJob, found: Findings, now: datetime, max_attempts: int) -> Decision:
    """What it means for a job that its ICA job has ended, given what was found."""
    job, status, wrong = ended.job, ended.ica_job.status, found.wrong
    if ended.has_succeeded:
        if not wrong:
            return None if wrong is None else Passed(status)
        # What was seen while ICA's lists could be behind proves nothing, and NOT_YET was found before that was over.
        if has_shown(job, now) and NOT_YET.isdisjoint(each.outcome for each in wrong):
            return Failed(Finding.MISMATCH, f"verification: {wrong[0].reason}", wrong)
        return Awaited(wrong)
    if job.options.action_on_exist != "SKIP":
        return Failed(status, _reason(ended.ica_job), found.uncopied)
    if wrong is None:
        return None
    missing = _missing(job, wrong, found.uncopied)
    if not missing:
        # While lists may be behind, what shows may have been there before, and is gone with this attempt or another.
        if not has_shown(job, now) and (unlike := _says_otherwise(job, found.uncopied)):
            return Awaited(unlike)
        return Passed(ALL_THERE, _reason(ended.ica_job))
    # No later attempt would find the files there that this one may have skipped.
    if _is_last(job, max_attempts) and not has_shown(job, now) and not _says_why(missing):
        return Awaited(wrong)
    return Failed(status, _reason(ended.ica_job), missing)


def is_noted(job: OpenJob) -> bool:
    """Whether it is noted of a running job when to poll it next: it is awaited or compared."""
    return bool(job.due_at and job.running_at and job.due_at > job.running_at)


def _is_last(job: Job, max_attempts: int) -> bool:
    return job.failed_attempts + 1 >= max_attempts


def _grouped(ended: Iterable[EndedJob]) -> list[list[EndedJob]]:
    """By projects and by what ICA says; those that are to be launched again come first."""
    groups: dict[tuple[bool, Projects], list[EndedJob]] = {}
    for each in ended:
        groups.setdefault((each.has_succeeded, each.projects), []).append(each)
    return [groups[key] for key in sorted(groups)]


def _missing(job: Job, wrong: Sequence[SourceOutcome], uncopied: Sequence[SourceOutcome] | None) -> list[SourceOutcome]:
    """What another attempt has to copy, given what is wrong: with what its items say of it, where they do."""
    if uncopied is None:
        uncopied = [SourceOutcome(source, Finding.NOT_AN_ITEM) for source in job.uncopied]
    by_items = {each.source: each for each in uncopied}
    compared = {each.source: each for each in wrong}
    return [by_items.get(source, compared[source]) for source in job.sources if source in compared]


def _says_otherwise(job: Job, uncopied: Sequence[SourceOutcome] | None) -> list[SourceOutcome]:
    """What ICA says, with a reason, that it has not copied; of a job without items that may be anything."""
    if uncopied is None:
        return [SourceOutcome(job.uncopied[0], Finding.NOT_AN_ITEM, "ICA does not say what it has copied")]
    return [each for each in uncopied if each.reason]


def _says_why(missing: Iterable[SourceOutcome]) -> bool:
    """Whether ICA gives a reason why it has not copied one of these: it gives none for what it has skipped."""
    return any(each.reason for each in missing if each.outcome != Finding.MISMATCH)


def _reason(ica_job: IcaJob) -> str:
    said = f": {ica_job.reason}" if ica_job.reason else ""
    return f"ICA job {ica_job.job_id} ended {ica_job.status}{said}"


def _guarded(each: EndedJob, move: Callable[[], Happenings]) -> Happenings:
    """Make a move; where it breaks, no other job is held up."""
    try:
        return move()
    except Exception:
        logger.exception("job not moved on", extra=fields_of(each.job))
        return Happenings([Happening.NOT_MOVED])


def _log(happening: Happening, job: Job, ended: Attempt, moved: bool) -> Happenings:
    """What has happened: the move and the end of the attempt, unless somebody else was faster."""
    message = f"job {happening.replace('_', ' ')}" if moved else "job had moved on"
    logger.info(message, extra=fields_of(job, outcome=ended.outcome, reason=ended.reason))
    return Happenings([happening, _end_of(ended)] if moved else [Happening.MOVED_ON])


def _end_of(attempt: Attempt) -> Happening:
    """How an attempt is counted."""
    if attempt.has_passed:
        return Happening.ATTEMPT_SUCCEEDED
    is_part = attempt.outcome == PARTIALLY_SUCCEEDED
    return Happening.ATTEMPT_PARTLY_SUCCEEDED if is_part else Happening.ATTEMPT_FAILED
