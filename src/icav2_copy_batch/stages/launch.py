"""Launch: queued jobs become ICA copy batches.

Each job is claimed first, so that of any number of messages about one attempt a single one launches it. A claim takes a
slot, since only so many ICA jobs may be in flight, and the destination folder, in which no other copy may write
meanwhile; where one of them is not to be had, the job waits in the table for the poller to send another message. Then
folders and sources are looked up for all claimed jobs together, and a copy batch is started for each.

What goes wrong before a copy batch is started changes nothing at ICA: when ICA was unavailable the job goes back into
the queue without using up an attempt, and when it refused the job fails with the reason. What goes wrong *while* one is
started leaves the job LAUNCHING: nobody knows whether ICA copies, so that nothing may be started again on a guess.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar
from uuid import uuid4

from icav2_copy_batch.domain.ica import (
    SECONDS_TO_START,
    IcaAnswerLost,
    IcaData,
    IcaError,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
)
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    Claim,
    Clock,
    Hold,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    timestamp,
)
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import IcaUri, parse_uri
from icav2_copy_batch.ports import Ica, LaunchQueue, Pacing, PollFunction, Table
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE
from icav2_copy_batch.stages.leftovers import Leftovers
from icav2_copy_batch.stages.reconcile import LOST_ANSWER_AGE

FOLDER_BUSY_SECONDS = 15
"""After about this a folder that another copy writes into is looked at again."""
FEWER_CALLS_SECONDS = 15
"""After about this a job is looked at again for which a launch could not make calls enough in its time."""
CALLS_A_LAUNCH = 5
"""Calls to ICA that a launch makes for each of its jobs, or some less."""
TRIGGER_LEASE_NAME = "trigger"
TRIGGERS_APART = timedelta(seconds=2)
"""Launches that end at the same moment trigger the poller once; it stays awake for longer than this."""
NOT_STARTED = "REFUSED"
"""Outcome of an attempt for which ICA started no copy batch."""
MOST_PARTS = 16
"""A copy batch that ICA finds too large is halved for as long as its job does not fall into more parts than this."""
GONE = 404
MOST_LOOKED_UP_ANEW = 6
"""So often a start that ICA refuses with 404 is tried anew: a person may have replaced a source or a folder since.

The pauses together are longer than ICA's lists may lag."""
FIRST_DEFERRAL_SECONDS = 5
MAX_DEFERRAL_SECONDS = 900
"""SQS's longest delay."""
ANSWER_AGE = timedelta(minutes=1)
"""A launch that has asked so long ago has had its answer, or has died: what it asked for is searched for in ICA."""
LOOK_FOR_LOST = timedelta(seconds=1)
"""The search for a copy batch whose answer was lost begins after this."""
CLEARING_PAUSES = (0.2, 0.3, 0.5, 1.1, 1.0, 2.0)
"""Seconds between looks whether leftovers are gone; the first look is at once, the last pause is repeated."""
LONGEST_CLEARING_SECONDS = 60.0
"""After this the job gives back its slot and is put off."""
SECONDS_TO_LAUNCH = SECONDS_TO_START + 30
"""With less time left than this no job is claimed any more: it could not be looked up and started."""
NO_SLOT = Hold(HoldReason.NO_SLOT, "as many ICA jobs as may be are in flight")
THROTTLED = Hold(HoldReason.THROTTLED, "ICA has asked for fewer calls (429)")
TOO_LATE = Hold(HoldReason.TOO_LATE, "too little time was left to launch it")
LEASE_MARGIN = LOST_ANSWER_AGE - timedelta(seconds=SECONDS_TO_START)
"""A claim is taken to be at work for so long after its invocation must have ended: what it started shows by then."""

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


class TooLarge(Exception):
    """ICA may take fewer sources at once: nothing was started."""

    def __init__(self, refusal: IcaRefusedBatch, batch_limit: int) -> None:
        super().__init__(str(refusal))
        self.batch_limit = batch_limit


class MovedOn(Exception):
    """Somebody else has taken this job out of the launch's hands: ICA must not be asked for it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this launch has claimed, with its URIs taken apart."""

    job: Job
    request: LaunchRequest
    destination: IcaUri
    sources: tuple[IcaUri, ...]
    """Those that this attempt has to copy."""

    @property
    def project_id(self) -> str:
        """The destination's."""
        return self.destination.project

    @property
    def projects(self) -> frozenset[str]:
        """All projects that ICA has to be asked about for it."""
        return frozenset([self.project_id, *(uri.project for uri in self.sources)])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed job with what is needed to start it, or the trouble there was with that."""

    claim: Claimed
    source_ids: list[str] | IcaError
    folders: Mapping[str, str | IcaError | None] | IcaError | None
    """Of the destination's project, each with the trouble there was with it alone; None where nothing was asked."""
    incomplete: list[IcaData] | IcaError | None = None
    """What an earlier attempt may have left, as it was looked for beside the sources; None where it was not."""

    @property
    def trouble(self) -> IcaError | None:
        folder = None if isinstance(self.folders, IcaError) else (self.folders or {}).get(self.claim.destination.path)
        return _trouble(self.source_ids, self.folders, folder)

    @property
    def is_to_be_cleared(self) -> bool:
        """Whether an earlier attempt may have left something that this one must not find."""
        return self.claim.job.failed_attempts > 0 and not self.trouble

    @property
    def folder_id(self) -> str | None:
        return _known(_known(self.folders or {})[self.claim.destination.path])


@dataclass(frozen=True, slots=True)
class Launched:
    """How many jobs were started, put off, held back, refused and left unknown; which messages must come again."""

    started: int = 0
    deferred: int = 0
    held: int = 0
    """Because no slot or no folder was free, or ICA takes too few calls."""
    refused: int = 0
    unknown: int = 0
    failed: tuple[LaunchRequest, ...] = ()

    @classmethod
    def of(cls, word: str) -> Launched:
        """What became of one job; nothing is counted where it was claimed, or had moved on."""
        started, deferred, held, refused, unknown = (
            int(word == each) for each in ("started", "deferred", "held", "refused", "unknown")
        )
        return cls(started, deferred, held, refused, unknown)

    def __add__(self, other: Launched) -> Launched:
        return Launched(
            self.started + other.started,
            self.deferred + other.deferred,
            self.held + other.held,
            self.refused + other.refused,
            self.unknown + other.unknown,
            self.failed + other.failed,
        )


@dataclass(frozen=True, kw_only=True)
class Launch:
    table: Table
    ica: Ica
    queue: LaunchQueue
    poller: PollFunction
    pacing: Pacing
    clock: Clock
    seconds_left: Callable[[], float]
    slots: Slots = field(default_factory=Slots)
    jitter: Callable[[float, float], float] = random.uniform
    """Chance: a number between two."""
    spread: Spread = in_threads
    """How the copy batches are started."""
    sleep: Callable[[float], None] = time.sleep

    def launch(self, requests: Iterable[LaunchRequest]) -> Launched:
        """Launch what of these is due; a message about a job that has moved on changes nothing.

        Jobs of the same projects are launched together, and beside those of others: a project for which ICA hangs slows
        no other.
        """
        requests = list(requests)
        claimed: list[Claimed] = []
        happened = self._claim_all(requests, claimed)
        groups: dict[frozenset[str], list[Claimed]] = defaultdict(list)
        for claim in claimed:
            groups[claim.projects].append(claim)
        for each in self.spread(self._launch_group, list(groups.values())):
            happened += each
        return happened

    def _launch_group(self, claimed: Sequence[Claimed]) -> Launched:
        try:
            return self._launch_together(claimed)
        except Exception:
            logger.exception("launches not carried through", extra={"jobs": len(claimed)})
            return Launched(failed=tuple(claim.request for claim in claimed))

    def _claim_all(self, requests: Sequence[LaunchRequest], claimed: list[Claimed]) -> Launched:
        happened = Launched()
        held_until = self.pacing.held_until()
        possible = self.pacing.calls_possible(self.seconds_left() - SECONDS_TO_START)
        in_use = self.table.slots_in_use() if requests and not held_until else Counter[str]()
        for request in requests:
            if held_until:
                happened += self._carry_out(request, partial(self._hold, request, THROTTLED, held_until))
            elif claimed and (len(claimed) + 1) * CALLS_A_LAUNCH > possible:  # no more than can be launched
                soon = self.clock() + timedelta(seconds=FEWER_CALLS_SECONDS)
                happened += self._carry_out(request, partial(self._hold, request, THROTTLED, soon))
            else:
                happened += self._carry_out(request, partial(self._claim, request, claimed, in_use))
        return happened

    def _carry_out(self, request: LaunchRequest, act: Callable[[], str]) -> Launched:
        """Do one thing about a job and count it. Where it breaks, its message comes again."""
        try:
            return Launched.of(act())
        except Exception:
            logger.exception("launch not carried through", extra=_fields(request))
            return Launched(failed=(request,))

    def _launch_together(self, claimed: Sequence[Claimed]) -> Launched:
        """Launch claimed jobs of the same projects. What is looked up for them is looked up for all together."""
        happened = Launched()
        # What has to be cleared away holds up no other.
        for ready in self._as_they_are_cleared(self._prepare(claimed)):
            for one, ended in zip(ready, self.spread(self._start, ready), strict=True):
                happened += self._carry_out(one.claim.request, partial(self._end_launch, one.claim, ended))
        if happened.started or happened.unknown:
            self._trigger_poller()
        return happened

    def _prepare(self, claimed: Sequence[Claimed]) -> list[Prepared]:
        retried = {uri.project for claim in claimed if claim.job.failed_attempts for uri in claim.sources}
        again = {index: claim for index, claim in enumerate(claimed) if claim.job.failed_attempts}

        def ask_sources() -> Mapping[int, dict[str, dict[str, IcaData] | IcaError]]:
            return _ask_together(
                {index: _by_project(claim.sources) for index, claim in enumerate(claimed)},
                # Afresh after a failure, of which what is remembered may be the cause.
                lambda project, paths: (self.ica.find if project in retried else self.ica.find_sources)(project, paths),
            )

        def ask_folders(indexes: Iterable[int]) -> dict[int, dict[str, Mapping[str, str | IcaError | None] | IcaError]]:
            wanted = {index: _by_project([claimed[index].destination]) for index in indexes}
            return _ask_together(wanted, self.ica.ensure_folders)

        def look_for_leftovers() -> dict[int, list[IcaData] | IcaError]:
            return dict(zip(again, self.spread(self._incomplete, list(again.values())), strict=True))

        # A job that is tried again has had its folder. That of a first attempt is made only where its sources are.
        asks: list[Callable[[], Any]] = [ask_sources, lambda: ask_folders(again), look_for_leftovers]
        data, folders, incomplete = self.spread(lambda ask: ask(), asks)
        source_ids = _ask_each(dict(enumerate(claimed)), lambda index, claim: self._source_ids(claim, data[index]))
        folders |= ask_folders(
            index for index in range(len(claimed)) if index not in again and not isinstance(source_ids[index], IcaError)
        )
        return [
            Prepared(
                claim,
                source_ids[index],
                folders.get(index, {}).get(claim.destination.project),
                incomplete.get(index),
            )
            for index, claim in enumerate(claimed)
        ]

    def _incomplete(self, claim: Claimed) -> list[IcaData] | IcaError:
        try:
            return Leftovers(ica=self.ica).incomplete(claim.job)
        except IcaError as error:
            return error

    def _trigger_poller(self) -> None:
        now = self.clock()
        if self.table.hold_lease(TRIGGER_LEASE_NAME, str(uuid4()), now, now + TRIGGERS_APART):
            self.poller.trigger()

    def _claim(self, request: LaunchRequest, claimed: list[Claimed], in_use: Counter[str]) -> str:
        """Claim a job for this launch, or do what the trouble calls for; what happened, in a word.

        ``in_use`` are the slots of each project, as far as this launch knows: a claim that would find none is not made.
        """
        job = self.table.get_job(request.copy_id, request.job_id)
        if job is None or job.status is not JobStatus.QUEUED or job.attempt != request.attempt:
            return self._nothing_to_do(request)
        destination = parse_uri(job.destination)
        project_id = destination.project
        now = self.clock()
        if self.seconds_left() < SECONDS_TO_LAUNCH:
            return self._hold(request, TOO_LATE, now)
        if in_use.total() >= self.slots.total or in_use[project_id] >= self.slots.per_project:
            return self._hold(request, NO_SLOT, now)
        lease_until = now + timedelta(seconds=self.seconds_left()) + LEASE_MARGIN
        claim = self.table.claim_for_launch(job, project_id, now, lease_until, self.slots)
        if claim is Claim.MOVED_ON:
            return self._nothing_to_do(request)
        if claim is Claim.NO_SLOT:
            in_use[project_id] = self.slots.per_project
            return self._hold(request, NO_SLOT, now)
        if claim is Claim.FOLDER_BUSY:
            busy = Hold.of(HoldReason.FOLDER_BUSY, f"another copy writes into {destination}")
            return self._hold(request, busy, now + timedelta(seconds=FOLDER_BUSY_SECONDS))
        in_use[project_id] += 1
        job = replace(
            job,
            status=JobStatus.LAUNCHING,
            claimed_at=timestamp(now),
            due_at=timestamp(lease_until),
            ica_project_id=project_id,
        )
        claimed.append(Claimed(job, request, destination, tuple(map(parse_uri, job.uncopied))))
        return "claimed"

    def _nothing_to_do(self, request: LaunchRequest) -> str:
        logger.info("launch message changes nothing", extra=_fields(request))
        return "moved_on"

    def _hold(self, request: LaunchRequest, hold: Hold, until: datetime) -> str:
        """The job waits in the table; the poller, which knows whose turn it is, sends another message."""
        jittered = until + timedelta(seconds=self.jitter(0, (until - self.clock()).total_seconds()))
        self.table.wait(request, jittered, hold)
        return "held"

    def _source_ids(self, claim: Claimed, data: Mapping[str, dict[str, IcaData] | IcaError]) -> list[str]:
        """The ids of a job's sources, in order; or ``IcaRefused`` with the sources that cannot be copied."""
        found = [(uri, _known(data[uri.project]).get(uri.path)) for uri in claim.sources]
        faults = [fault for uri, source in found if (fault := _source_fault(uri, source))]
        if faults:
            more = f" (and {len(faults) - 1} more sources)" if len(faults) > 1 else ""
            raise IcaRefused(faults[0] + more)
        return [source.data_id for _, source in found if source]

    def _as_they_are_cleared(self, prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
        """These, each as soon as what its earlier attempts have left is gone, or with the trouble there was with that.

        A first attempt finds nothing of its own.
        """
        yield [one for one in prepared if not one.is_to_be_cleared]
        waiting = [one for one in prepared if one.is_to_be_cleared]
        waited = 0.0
        for pause in chain(CLEARING_PAUSES, repeat(CLEARING_PAUSES[-1])):
            is_last = waited >= LONGEST_CLEARING_SECONDS or self.seconds_left() < SECONDS_TO_START + 2 * pause
            still: list[Prepared] = []
            ready: list[Prepared] = []
            for one, left in zip(waiting, self.spread(self._clear, waiting), strict=True):
                if isinstance(left, IcaError):
                    ready.append(replace(one, source_ids=left))
                elif left and is_last:
                    trouble = f"{len(left)} PARTIAL files are still being deleted, {left[0]} among them"
                    ready.append(replace(one, source_ids=IcaUnavailable(trouble)))
                else:
                    (still if left else ready).append(one)
            yield ready
            waiting = [replace(one, incomplete=None) for one in still]  # to be looked for anew
            if not waiting:
                return
            self.sleep(pause)
            waited += pause

    def _clear(self, one: Prepared) -> list[str] | IcaError:
        """The paths of leftovers that are not gone yet."""
        try:
            return Leftovers(ica=self.ica).delete(one.claim.job, _known(one.incomplete))
        except IcaError as error:
            return error

    def _start(self, prepared: Prepared) -> Exception | None:
        """Start one copy batch and note it; what went wrong, if anything did."""
        claim = prepared.claim
        try:
            if prepared.trouble:
                return prepared.trouble
            if self.seconds_left() < SECONDS_TO_START:
                return IcaUnavailable("too little time was left to start a copy batch")
            now, data_ids = self.clock(), _known(prepared.source_ids)
            intent = Intent.of(timestamp(now), prepared.folder_id, data_ids)
            # Before ICA is asked: what was started is then known by it, whoever dies.
            if not self.table.record_intent(claim.job, intent, now + ANSWER_AGE):
                return MovedOn()
            batch = self.ica.start_copy_batch(claim.project_id, prepared.folder_id, data_ids, claim.job.options)
            fields = {**_fields(claim.job), "ica_job_id": batch.job_id, "ica_batch_id": batch.batch_id}
            logger.info("copy batch started", extra=fields)
            now = self.clock()
            if not self.table.mark_running(claim.job, batch.job_id, batch.batch_id, now, due_at=now):
                logger.warning("a copy batch was started for a job that has moved on: adopted already?", extra=fields)
        except IcaRefusedBatch as error:
            half = _half(claim.job)
            return TooLarge(error, half) if half else error
        except IcaRefused as error:
            if error.http_status == GONE and claim.request.deferrals < MOST_LOOKED_UP_ANEW:
                return IcaUnavailable(f"{error}; what was looked up may be gone since, and is looked up anew")
            return error
        except Exception as error:  # noqa: BLE001 # what follows from any trouble is decided by the caller
            return error
        return None

    def _end_launch(self, claim: Claimed, trouble: Exception | None) -> str:
        """Do what the trouble of a launch calls for; what happened, in a word."""
        match trouble:
            case None:
                return "started"
            case MovedOn():
                return self._nothing_to_do(claim.request)
            case TooLarge():
                return self._halve(claim, trouble)
            case IcaUnavailable():
                return self._defer(claim, trouble)
            case IcaRefused():
                return self._refuse(claim, trouble)
            case IcaAnswerLost():
                return self._leave_unknown(claim, trouble)
            case _:
                raise trouble

    def _defer(self, claim: Claimed, error: IcaUnavailable) -> str:
        """The same attempt again after a while, by a message with a delay."""
        now, request = self.clock(), claim.request
        longest = min(FIRST_DEFERRAL_SECONDS * 2.0 ** min(request.deferrals, 10), MAX_DEFERRAL_SECONDS)
        delay = round(self.jitter(longest / 2, longest))
        logger.warning("launch put off", extra={**_fields(request), "reason": str(error), "delay_seconds": delay})
        due_at = now + timedelta(seconds=delay) + LOST_MESSAGE_AGE
        if self.table.release(claim.job, now, due_at, Hold.of(HoldReason.ICA_UNAVAILABLE, error)):
            self.queue.send([replace(request, deferrals=request.deferrals + 1)], delay_seconds=delay)
        return "deferred"

    def _halve(self, claim: Claimed, error: TooLarge) -> str:
        """The same attempt again at once, with half as many sources. The others are left to the next."""
        now, request = self.clock(), claim.request
        fields = {**_fields(request), "reason": str(error), "batch_limit": error.batch_limit}
        logger.warning("copy batch refused: tried with half as many sources", extra=fields)
        hold = Hold.of(HoldReason.BATCH_TOO_LARGE, error)
        if self.table.release(claim.job, now, now + LOST_MESSAGE_AGE, hold, error.batch_limit):
            self.queue.send([request])
        return "halved"

    def _leave_unknown(self, claim: Claimed, error: IcaAnswerLost) -> str:
        """The job stays LAUNCHING until the poller has looked in ICA whether the copy batch was started."""
        logger.error("unknown whether a copy batch was started", extra={**_fields(claim.job), "reason": str(error)})
        now = self.clock()
        self.table.mark_answer_lost(claim.job, now, now + LOOK_FOR_LOST, Hold.of(HoldReason.ANSWER_LOST, error))
        return "unknown"

    def _refuse(self, claim: Claimed, error: IcaRefused) -> str:
        """The job fails at once: the next attempt would be refused like this one."""
        now = self.clock()
        logger.warning("launch refused", extra={**_fields(claim.job), "reason": str(error)})
        self.table.give_up(claim.job, claim.job.ended_attempt(NOT_STARTED, str(error), now), now)
        return "refused"


def _half(job: Job) -> int | None:
    """Half as many sources as this attempt has; None where the job would fall into too many parts."""
    half = -(-len(job.uncopied) // 2)
    return half if half * MOST_PARTS >= len(job.sources) else None


def _ask_each(questions: Mapping[K, V], ask: Callable[[K, V], R]) -> dict[K, R | IcaError]:
    """Each question's answer, or the trouble there was with it."""
    answers: dict[K, R | IcaError] = {}
    for key, value in questions.items():
        try:
            answers[key] = ask(key, value)
        except IcaError as error:
            answers[key] = error
    return answers


def _ask_together(
    wanted: Mapping[int, Mapping[str, Sequence[str]]], ask: Callable[[str, Iterable[str]], R]
) -> dict[int, dict[str, R | IcaError]]:
    """For each job and project the answer about its paths.

    All jobs' paths in a project are asked for together; where ICA refuses that, each job's alone: the fault may lie in
    one of them.
    """
    together: dict[str, dict[str, None]] = defaultdict(dict)
    jobs: Counter[str] = Counter()
    for of_job in wanted.values():
        for project, paths in of_job.items():
            together[project] |= dict.fromkeys(paths)
            jobs[project] += 1
    answers = _ask_each(together, ask)
    alone = {project for project, answer in answers.items() if isinstance(answer, IcaRefused) and jobs[project] > 1}
    return {
        index: {project: answers[project] for project in of_job if project not in alone}
        | _ask_each({project: paths for project, paths in of_job.items() if project in alone}, ask)
        for index, of_job in wanted.items()
    }


def _known(answer: R | IcaError) -> R:
    if isinstance(answer, IcaError):
        raise answer
    return answer


def _trouble(*answers: object) -> IcaError | None:
    """The first that is none."""
    return next((answer for answer in answers if isinstance(answer, IcaError)), None)


def _by_project(uris: Iterable[IcaUri]) -> dict[str, list[str]]:
    """Project → its paths, in order."""
    paths: dict[str, list[str]] = defaultdict(list)
    for uri in uris:
        paths[uri.project].append(uri.path)
    return paths


def _source_fault(uri: IcaUri, source: IcaData | None) -> str | None:
    if source is None:
        return f"the source {uri} was not found; check the path and its upper and lower case"
    if source.status != "AVAILABLE":
        return f"the source {uri} is {source.status}, not AVAILABLE; submit again when it is"
    return None


def _fields(about: Job | LaunchRequest) -> dict[str, Any]:
    return {"copy_id": about.copy_id, "job_id": about.job_id, "attempt": about.attempt}
