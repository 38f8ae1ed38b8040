"""Launch: queued jobs become ICA copy batches.

Each job is claimed first, so that of any number of messages about one attempt a single one launches it. Then projects,
folders and sources are looked up for all claimed jobs together, and a copy batch is started for each.

What goes wrong before a copy batch is started changes nothing at ICA: when ICA was unavailable the job goes back into
the queue without using up an attempt, and when it refused the job fails with the reason. What goes wrong *while* one is
started leaves the job LAUNCHING: nobody knows whether ICA copies, so that nothing may be started again on a guess.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from icav2_copy_batch.domain.ica import (
    IcaAnswerLost,
    IcaData,
    IcaError,
    IcaRefused,
    IcaUnavailable,
    StartedCopyBatch,
)
from icav2_copy_batch.domain.job import Attempt, Clock, Job, LaunchRequest
from icav2_copy_batch.domain.manifest import CopyOptions
from icav2_copy_batch.domain.uri import IcaUri, parse_uri
from icav2_copy_batch.ingest import LOST_MESSAGE_AGE

LEASE = timedelta(minutes=7)
"""How long a claim is taken to be at work: longer than the launch function can run."""
WAKE_LEASE_NAME = "wake"
WAKES_APART = timedelta(seconds=2)
"""Launches that end at the same moment wake the poller once; it stays awake for longer than this."""
NOT_STARTED = "REFUSED"
"""Outcome of an attempt for which ICA started no copy batch."""
LOST_ANSWER_AGE = timedelta(minutes=2)
"""After this a request whose answer was lost is taken to be carried out, or never to be."""
FIRST_DEFERRAL_SECONDS = 5
MAX_DEFERRAL_SECONDS = 900
"""SQS's longest delay."""
LEAST_SECONDS_TO_START = 45.0
"""With less time left than a call may take, no copy batch is started any more."""

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


class Table(Protocol):
    def claim_for_launch(
        self, copy_id: str, job_id: str, attempt: int, now: datetime, lease_until: datetime
    ) -> Job | None: ...
    def release(self, job: Job, now: datetime, due_at: datetime) -> bool: ...
    def mark_running(
        self, job: Job, ica_project_id: str, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime
    ) -> bool: ...
    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def postpone(self, job: Job, due_at: datetime) -> bool: ...
    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool: ...


class Ica(Protocol):
    def project_id(self, project: str) -> str: ...
    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]: ...
    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | None]: ...
    def delete_partial_files(self, project_id: str, folder: str, names: set[str]) -> int: ...
    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch: ...


class Queue(Protocol):
    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None: ...


class Poller(Protocol):
    def wake(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this launch has claimed, with its URIs taken apart."""

    job: Job
    request: LaunchRequest
    destination: IcaUri
    sources: tuple[IcaUri, ...]


@dataclass(frozen=True, slots=True)
class Launched:
    """How many jobs were started, put off, refused by ICA and left unknown; which messages must come again."""

    started: int = 0
    deferred: int = 0
    refused: int = 0
    unknown: int = 0
    failed: tuple[LaunchRequest, ...] = ()


@dataclass(frozen=True)
class Launch:
    table: Table
    ica: Ica
    queue: Queue
    poller: Poller
    clock: Clock
    seconds_left: Callable[[], float]
    allow_same_project: bool = False
    between: Callable[[float, float], float] = random.uniform
    """Chance: a number between two."""

    def launch(self, requests: Iterable[LaunchRequest]) -> Launched:
        """Launch what of these is due; a message about a job that has moved on changes nothing."""
        outcomes: Counter[str] = Counter()
        failed = []
        claimed = []
        for request in requests:
            try:
                claimed += self._claim(request)
            except Exception:
                logger.exception("job not claimed", extra=_request_fields(request))
                failed.append(request)
        # Looked up for all jobs together; trouble with one project does not touch the jobs of another.
        data = _ask_each(_by_project(claimed, lambda claim: claim.sources), self._find)
        data_ids = _ask_each(dict(enumerate(claimed)), lambda _, claim: _source_ids(claim, data))
        able = [claim for index, claim in enumerate(claimed) if not isinstance(data_ids[index], IcaError)]
        folders = _ask_each(_by_project(able, lambda claim: [claim.destination]), self._ensure_folders)
        for index, claim in enumerate(claimed):
            try:
                outcomes[self._launch_one(claim, data_ids[index], folders)] += 1
            except Exception:
                logger.exception("launch not carried through", extra=_fields(claim.job))
                failed.append(claim.request)
        if outcomes["started"]:
            self._wake_poller()
        return Launched(**outcomes, failed=tuple(failed))

    def _wake_poller(self) -> None:
        now = self.clock()
        if self.table.hold_lease(WAKE_LEASE_NAME, str(uuid4()), now, now + WAKES_APART):
            self.poller.wake()

    def _claim(self, request: LaunchRequest) -> list[Claimed]:
        now = self.clock()
        job = self.table.claim_for_launch(request.copy_id, request.job_id, request.attempt, now, now + LEASE)
        if job is None:
            logger.info("launch message changes nothing", extra=_request_fields(request))
            return []
        return [Claimed(job, request, parse_uri(job.destination), tuple(map(parse_uri, job.sources)))]

    def _find(self, project: str, paths: Iterable[str]) -> dict[str, IcaData]:
        return self.ica.find(self.ica.project_id(project), paths)

    def _ensure_folders(self, project: str, paths: Iterable[str]) -> dict[str, str | None]:
        return self.ica.ensure_folders(self.ica.project_id(project), paths)

    def _launch_one(
        self,
        claim: Claimed,
        data_ids: list[str] | IcaError,
        folders: Mapping[str, dict[str, str | None] | IcaError],
    ) -> str:
        """Start one claimed job's copy batch, or do what its trouble calls for; which of the two, in a word."""
        try:
            source_ids = _known(data_ids)
            folder_id = _known(folders[claim.destination.project])[claim.destination.path]
            return self._start(claim, source_ids, folder_id)
        except IcaUnavailable as error:
            return self._defer(claim, error)
        except IcaRefused as error:
            return self._refuse(claim, error)
        except IcaAnswerLost as error:
            return self._leave_unknown(claim, error)

    def _start(self, claim: Claimed, data_ids: list[str], folder_id: str | None) -> str:
        project_id = self.ica.project_id(claim.destination.project)
        if not self.allow_same_project and project_id in {self.ica.project_id(uri.project) for uri in claim.sources}:
            raise IcaRefused(
                f"a source is in the project of its destination {claim.destination}; ICA copies between two"
            )
        if claim.job.attempt > 1:
            self.ica.delete_partial_files(project_id, claim.destination.path, {uri.name for uri in claim.sources})
        if self.seconds_left() < LEAST_SECONDS_TO_START:
            raise IcaUnavailable("too little time was left to start a copy batch")
        batch = self.ica.start_copy_batch(project_id, folder_id, data_ids, claim.job.options)
        fields = {**_fields(claim.job), "ica_job_id": batch.job_id, "ica_batch_id": batch.batch_id}
        logger.info("copy batch started", extra=fields)
        now = self.clock()
        if not self.table.mark_running(claim.job, project_id, batch.job_id, batch.batch_id, now, due_at=now):
            logger.error("a copy batch was started for a job that has moved on", extra=fields)
        return "started"

    def _defer(self, claim: Claimed, error: IcaUnavailable) -> str:
        """Back into the queue, the same attempt, after a while."""
        now = self.clock()
        longest = min(FIRST_DEFERRAL_SECONDS * 2.0 ** min(claim.request.deferrals, 10), MAX_DEFERRAL_SECONDS)
        delay = round(self.between(longest / 2, longest))
        logger.warning("launch put off", extra={**_fields(claim.job), "reason": str(error), "delay_seconds": delay})
        if self.table.release(claim.job, now, due_at=now + timedelta(seconds=delay) + LOST_MESSAGE_AGE):
            self.queue.send([replace(claim.request, deferrals=claim.request.deferrals + 1)], delay_seconds=delay)
        return "deferred"

    def _leave_unknown(self, claim: Claimed, error: IcaAnswerLost) -> str:
        """The job stays LAUNCHING until the poller has looked in ICA whether the copy batch was started."""
        logger.error("unknown whether a copy batch was started", extra={**_fields(claim.job), "reason": str(error)})
        self.table.postpone(claim.job, self.clock() + LOST_ANSWER_AGE)
        return "unknown"

    def _refuse(self, claim: Claimed, error: IcaRefused) -> str:
        """The job fails at once: the next attempt would be refused like this one."""
        now = self.clock()
        logger.warning("launch refused", extra={**_fields(claim.job), "reason": str(error)})
        self.table.give_up(claim.job, claim.job.ended_attempt(NOT_STARTED, str(error), now), now)
        return "refused"


def _ask_each(questions: Mapping[K, V], ask: Callable[[K, V], R]) -> dict[K, R | IcaError]:
    """Each question's answer, or the trouble there was with it."""
    answers: dict[K, R | IcaError] = {}
    for key, value in questions.items():
        try:
            answers[key] = ask(key, value)
        except IcaError as error:
            answers[key] = error
    return answers


def _known(answer: R | IcaError) -> R:
    if isinstance(answer, IcaError):
        raise answer
    return answer


def _by_project(claimed: Iterable[Claimed], uris: Callable[[Claimed], Iterable[IcaUri]]) -> dict[str, dict[str, None]]:
    """Project → its paths, each once and in order."""
    paths: dict[str, dict[str, None]] = defaultdict(dict)
    for claim in claimed:
        for uri in uris(claim):
            paths[uri.project][uri.path] = None
    return paths


def _source_ids(claim: Claimed, data: Mapping[str, dict[str, IcaData] | IcaError]) -> list[str]:
    """The ids of a job's sources, in order; or ``IcaRefused`` with the sources that cannot be copied."""
    found = [(uri, _known(data[uri.project]).get(uri.path)) for uri in claim.sources]
    faults = [fault for uri, source in found if (fault := _source_fault(uri, source))]
    if faults:
        more = f" (and {len(faults) - 1} more sources)" if len(faults) > 1 else ""
        raise IcaRefused(faults[0] + more)
    return [source.data_id for _, source in found if source]


def _source_fault(uri: IcaUri, source: IcaData | None) -> str | None:
    if source is None:
        return f"the source {uri} was not found; check the path and its upper and lower case"
    if source.status != "AVAILABLE":
        return f"the source {uri} is {source.status}, not AVAILABLE; submit again when it is"
    return None


def _fields(job: Job) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt}


def _request_fields(request: LaunchRequest) -> dict[str, Any]:
    return {"copy_id": request.copy_id, "job_id": request.job_id, "attempt": request.attempt}
