"""Plan: what a submission would do, what stands in its way, what it costs, how long it takes. Nothing is written."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import chain, islice
from typing import Any

from icav2_copy_batch.domain.costs import cost_of
from icav2_copy_batch.domain.findings import (
    CONSEQUENCES,
    FindingKind,
    PlanFinding,
    busy_folders,
    id_in_use,
    names_alike,
    of_copy,
    projects_of,
)
from icav2_copy_batch.domain.forecast import History, Load, forecast
from icav2_copy_batch.domain.ica import IcaData, IcaRefused
from icav2_copy_batch.domain.job import Attempt, Clock, JobStatus, OpenJob
from icav2_copy_batch.domain.json_text import decode_b64gz
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.projects import Projects, as_spelled
from icav2_copy_batch.domain.requests import CannotDo, Failure, PlanCopy
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.domain.stops import ALL, Stops, project_subject
from icav2_copy_batch.domain.submit import Submit
from icav2_copy_batch.domain.uri import SCHEME, parse_uri
from icav2_copy_batch.operators.survey import Survey
from icav2_copy_batch.ports import IcaFiles, Table
from icav2_copy_batch.stages.newest import newest_copies
from icav2_copy_batch.stages.verify import Verification

MAX_MANIFEST_BYTES = 64 * 1024 * 1024
"""Bytes of JSON for about 300,000 files. This function's memory holds them, and what ICA says of each."""
HISTORY = timedelta(days=90)
MOST_COPIES, MOST_ATTEMPTS = 50, 1000
"""The history is that of the newest settled copies, up to so many, or until there are so many attempts."""
MOST_READ, JOBS_OF_A_COPY = 500, 250
"""So many copies are looked at for it, since many may be open, and so many jobs of each: those of a cancelled copy may
have no attempt."""
MOST_WAITING = 10_000
"""So many jobs that wait in backlogs are read, for their folders."""

logger = logging.getLogger(__name__)

Answer = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Answers what a submission would do."""

    table: Table
    ica: IcaFiles
    project_id: Callable[[str], str]
    """ICA's answer to a project's name. Raises ``IcaRefused`` if the name means no project or several."""
    clock: Clock
    seconds_left: Callable[[], float]
    spread: Spread
    limits: Limits
    slots: Slots
    max_attempts: int
    verification: Verification

    def answer(self, request: PlanCopy) -> Answer:
        """The plan of a submission. Raises ``CannotDo`` where ingest would refuse it, and ``IcaUnavailable``."""
        submit = request.submit
        named = _Names(self.project_id)
        projects = Projects(named.look_up)
        jobs = self._jobs(submit, projects)
        stops = self._stops(jobs)
        survey = Survey(self.ica, self.seconds_left, self.spread, unknown=set(named.unknown))
        survey.findings += named.findings(jobs)
        survey.look_at_sources(jobs)
        survey.look_at_copies(jobs, self._of_copy(submit))
        survey.findings += [*self._id_in_use(submit, jobs), *names_alike(jobs)]
        survey.findings += [*busy_folders(jobs, *self._folders_of_others(stops)), *self._pauses(jobs, submit)]
        launched = _not_refused(jobs, survey)
        fails = any(finding.fails for finding in survey.findings)
        return {
            **_counts(jobs, survey.sources),
            "action_on_exist": submit.options.action_on_exist,
            "projects": _by_project(jobs, survey.sources, projects.names),
            "would_fail": fails,
            "refused_jobs": len(jobs) - len(launched),
            "finding_counts": _count(survey.findings),
            "findings": [asdict(_spelled(each, projects.names)) for each in _in_order(survey.findings)],
            "looked_at": {"sources": asdict(survey.at_sources), "copies": asdict(survey.at_copies)},
            "stopped": survey.stopped,
            **self._expected(launched, stops, fails=fails),
        }

    # --- what is asked for -------------------------------------------------------------------------------------------

    def _jobs(self, submit: Submit, projects: Projects) -> list[PlannedJob]:
        """The jobs, as ingest would make them. Raises ``CannotDo`` with what ingest would refuse."""
        text = submit.manifest_b64gz
        try:
            manifest = submit.manifest if text is None else decode_b64gz(text, self.limits.max_manifest_bytes)
            return flip(manifest, self.limits, projects)
        except Refused as refused:
            problems = f"{refused.total} problem{'' if refused.total == 1 else 's'}"
            message = f"the submission would be rejected: it has {problems}"
            raise CannotDo(Failure.REFUSED, message, refused.problems, refused.total) from None

    def _of_copy(self, submit: Submit) -> Callable[[str, IcaData, IcaData], PlanFinding]:
        action, sizes = submit.options.action_on_exist, self.verification is not Verification.NONE
        etags = self.verification is Verification.ETAG
        return lambda uri, there, source: of_copy(uri, there, source, action, sizes=sizes, etags=etags)

    def _id_in_use(self, submit: Submit, jobs: Sequence[PlannedJob]) -> Iterator[PlanFinding]:
        if submit.copy_id and (present := self.table.get_copy(submit.copy_id)):
            is_same = present.digest == digest(jobs, submit.options)
            yield id_in_use(present.copy_id, present.submitted_at, is_same=is_same)

    # --- what else is under way --------------------------------------------------------------------------------------

    def _stops(self, jobs: Sequence[PlannedJob]) -> Stops:
        """What holds others and not ours. When a pause of both ends, others are launched as well."""
        stops = self.table.stops()
        return replace(stops, paused=stops.paused - {ALL, *map(project_subject, projects_of(jobs))})

    def _folders_of_others(self, stops: Stops) -> tuple[dict[str, str], dict[str, str]]:
        """Folders into which open copies write, and into which they will write, each with one of these copies."""
        # In this order a job that moves on meanwhile is seen twice rather than not at all.
        waiting = {job.destination: job.copy_id for job in self._waiting_jobs(stops)}
        claimed = [*self.table.jobs_in(JobStatus.LAUNCHING), *self.table.jobs_in(JobStatus.RUNNING)]
        return {job.destination: job.copy_id for job in claimed}, waiting

    def _waiting_jobs(self, stops: Stops) -> Iterator[OpenJob]:
        backlogs = (each for each in self.table.backlogs() if not stops.holds(each.copy_id, each.project))
        waiting = list(dict.fromkeys(each.copy_id for each in backlogs))
        in_backlogs = (job for copy_id in waiting for job in self.table.unlaunched_jobs(copy_id))
        for job in chain(islice(in_backlogs, MOST_WAITING), self.table.jobs_in(JobStatus.QUEUED)):
            if not stops.holds(job.copy_id, job.project):
                yield job

    def _pauses(self, jobs: Sequence[PlannedJob], submit: Submit) -> Iterator[PlanFinding]:
        paused = {each.subject: each for each in self.table.pauses()}
        subjects = {ALL: "everything"} | {project_subject(each): f"{SCHEME}{each}/" for each in projects_of(jobs)}
        for subject, uri in subjects.items():
            if pause := paused.get(subject):
                by, why = f" by {pause.by}" if pause.by else "", f": {pause.reason}" if pause.reason else ""
                yield PlanFinding.of(FindingKind.PAUSED, uri, f"is paused since {pause.since}{by}{why}")
        if submit.hold:
            yield PlanFinding.of(FindingKind.PAUSED, submit.copy_id or "this copy", "would be held (hold)")

    def _load(self, stops: Stops) -> Load:
        """The slots that are in use, and what waits for slots in the backlogs and after an attempt."""
        waiting: Counter[str] = Counter()
        copies = set()
        for backlog in self.table.backlogs():
            if not stops.holds(backlog.copy_id, backlog.project):
                waiting[backlog.project] += backlog.last - backlog.next + 1
                copies.add(backlog.copy_id)
        for job in self.table.jobs_in(JobStatus.QUEUED):
            if not stops.holds(job.copy_id, job.project):
                waiting[job.project] += 1
                copies.add(job.copy_id)
        return Load(self.table.slots_in_use(), waiting, len(copies))

    # --- what to expect ----------------------------------------------------------------------------------------------

    def _expected(self, jobs: Sequence[PlannedJob], stops: Stops, *, fails: bool) -> Answer:
        """What the jobs that would be launched cost, and how long they take."""
        history, load = self._history(), self._load(stops)
        of_project = Counter(parse_uri(job.destination).project for job in jobs)
        found = forecast(of_project, load, self.slots, self.max_attempts, history)
        cost = cost_of(len(jobs), sum(len(job.sources) for job in jobs), found.retries)
        return {
            "cost": {**asdict(cost), "attempts": round(len(jobs) + found.retries, 1)},
            "forecast": {
                "p50_seconds": round(found.p50_seconds, 1),
                "p95_seconds": round(found.p95_seconds, 1),
                "chance_all_pass": 0.0 if fails else round(found.chance_all_pass, 4),
                "failure_rate": round(history.failure_rate, 4),
                "history_attempts": history.attempts,
                "history_copies": history.copies,
                "is_of_history": history.is_enough,
                "jobs_in_flight": sum(load.in_flight.values()),
                "jobs_waiting": sum(load.waiting.values()),
                "rounds": found.rounds,
            },
        }

    def _history(self) -> History:
        """The attempts of the newest settled copies: of an open one only the quick attempts would have ended."""
        now = self.clock()
        newest = newest_copies(self.table, now - HISTORY, now, MOST_READ)
        settled = (copy for copy in newest if copy.is_settled)
        found: list[Attempt] = []
        copies = 0
        for copy in settled:
            jobs = islice(self.table.jobs(copy.copy_id), JOBS_OF_A_COPY)
            attempts = [attempt.without_sources for job in jobs for attempt in job.attempts]
            found += attempts
            copies += bool(attempts)
            if copies >= MOST_COPIES or len(found) >= MOST_ATTEMPTS:
                break
        return History.of(found[:MOST_ATTEMPTS], copies)


class _Names:
    """Looks projects up by their names, and lets a plan go on where there is none."""

    def __init__(self, project_id: Callable[[str], str]) -> None:
        self._project_id = project_id
        self.unknown: dict[str, str] = {}
        """Names that mean no project, or several, and what ICA says."""

    def look_up(self, name: str) -> str:
        try:
            return self._project_id(name)
        except IcaRefused as error:
            self.unknown[name] = str(error)
            return name

    def findings(self, jobs: Sequence[PlannedJob]) -> Iterator[PlanFinding]:
        """One for each unknown name, at the first URI that has it."""
        first: dict[str, str] = {}
        for uri in (uri for job in jobs for uri in (job.destination, *job.sources)) if self.unknown else ():
            first.setdefault(parse_uri(uri).project, uri)
        for name, said in self.unknown.items():
            yield PlanFinding.of(FindingKind.UNKNOWN_PROJECT, first[name], said)


# --- the answer ------------------------------------------------------------------------------------------------------


def _counts(jobs: Sequence[PlannedJob], found: Mapping[str, IcaData]) -> dict[str, int]:
    """Files and folders are counted as often as they are copied. What is in a folder is not counted."""
    counts = {"jobs": len(jobs), "files": 0, "folders": 0, "bytes": 0}
    for source in (source for job in jobs for source in job.sources):
        if source.endswith("/"):
            counts["folders"] += 1
            continue
        counts["files"] += 1
        data = found.get(source)
        counts["bytes"] += (data.size or 0) if data else 0
    return counts


def _by_project(
    jobs: Sequence[PlannedJob], found: Mapping[str, IcaData], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    into: dict[str, list[PlannedJob]] = defaultdict(list)
    for job in jobs:
        into[parse_uri(job.destination).project].append(job)
    return [
        {"project": names.get(project, project), "project_id": project, **_counts(of_project, found)}
        for project, of_project in into.items()
    ]


def _not_refused(jobs: Sequence[PlannedJob], survey: Survey) -> list[PlannedJob]:
    """The jobs whose launch would not be refused at once."""
    refused = {finding.uri for finding in survey.findings if CONSEQUENCES[finding.kind].is_refused}
    unknown = tuple(f"{SCHEME}{project}/" for project in survey.unknown)

    def is_refused(uri: str) -> bool:
        return uri in refused or uri.startswith(unknown)

    return [job for job in jobs if not any(map(is_refused, (job.destination, *job.sources)))]


def _in_order(findings: Sequence[PlanFinding]) -> list[PlanFinding]:
    order = {kind: number for number, kind in enumerate(FindingKind)}
    return sorted(findings, key=lambda each: order[each.kind])


def _count(findings: Sequence[PlanFinding]) -> dict[str, int]:
    counts = Counter(each.kind for each in findings)
    return {kind.value: counts[kind] for kind in FindingKind if counts[kind]}


def _spelled(finding: PlanFinding, names: Mapping[str, str]) -> PlanFinding:
    if not names or not finding.uri.startswith(SCHEME):
        return finding
    return replace(finding, uri=as_spelled(finding.uri, names))
