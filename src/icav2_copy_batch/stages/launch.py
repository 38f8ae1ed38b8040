"""Launch: queued jobs become ICA copy batches.

A launch takes its jobs through these steps: claimed, looked up, cleared of leftovers, started, ended.

The claim comes first, so that of any number of messages about one attempt a single one launches it. It takes a slot,
since only so many ICA jobs may be in flight, and the destination folder, in which no other copy may write meanwhile. A
job that cannot be claimed waits in the table. Dispatch sends it another message when it is due.

What goes wrong before a copy batch is started changes nothing at ICA. Where ICA was unavailable, the launch is deferred
without using up an attempt. Where ICA refused, the job fails with the reason. What goes wrong *while* a copy batch is
started leaves the job LAUNCHING: nobody knows whether ICA copies, so that nothing may be started again on a guess.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import TypeVar
from uuid import uuid4

from icav2_copy_batch.domain.ica import (
    SECONDS_TO_START,
    IcaAnswerLost,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
)
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import Claim, Clock, Hold, HoldReason, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import Ica, Pacing, PollFunction, Table
from icav2_copy_batch.stages.dispatch import NO_SLOT, PAUSED
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.prepare import Claimed, Prepare, Prepared, Troubled
from icav2_copy_batch.stages.search import LOST_ANSWER_AGE

FOLDER_BUSY_SECONDS = 15
"""After about this a job is due again whose folder another copy writes into."""
FEWER_CALLS_SECONDS = 15
"""After about this a job is due again for which a launch could not make enough calls in its time."""
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
"""A launch is deferred for no longer than this, be it for a ``Retry-After``."""
ANSWER_AGE = timedelta(minutes=1)
"""A launch that has asked so long ago has had its answer, or has died: what it asked for is searched for in ICA."""
LOOK_FOR_LOST = timedelta(seconds=1)
"""The search for a copy batch whose answer was lost begins after this."""
SECONDS_TO_LAUNCH = SECONDS_TO_START + 30
"""With less time left than this no job is claimed any more: it could not be looked up and started."""
THROTTLED = Hold(HoldReason.THROTTLED, "ICA has asked for fewer calls (429)")
TOO_LATE = Hold(HoldReason.TOO_LATE, "the launch function had too little time left")
LEASE_MARGIN = LOST_ANSWER_AGE - timedelta(seconds=SECONDS_TO_START)
"""A claim is taken to be at work for so long after its invocation must have ended: what it started shows by then."""

logger = logging.getLogger(__name__)

R = TypeVar("R")


class End(StrEnum):
    """What became of a launch message."""

    STARTED = "STARTED"
    """ICA runs a copy batch for its job."""
    HELD = "HELD"
    """Its job was not claimed, and waits: for a slot, its folder, or until ICA takes more calls."""
    DEFERRED = "DEFERRED"
    """ICA was unavailable; the job waits, longer each time."""
    HALVED = "HALVED"
    """ICA has refused so large a copy batch; the job is due again at once, with half as many sources."""
    REFUSED = "REFUSED"
    """The job has failed: ICA would refuse it again."""
    UNKNOWN = "UNKNOWN"
    """ICA's answer was lost; what it has started is searched for."""
    MOVED_ON = "MOVED_ON"
    """There was nothing to do: this attempt is not queued any more, or in other hands."""
    BROKEN = "BROKEN"
    """Something failed that nobody has foreseen; the message comes again."""


FOR_THE_POLLER = frozenset([End.STARTED, End.UNKNOWN, End.DEFERRED, End.HALVED])
"""After these there is something to look at, or to be sent, sooner than the poller's schedule comes round."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A launch message, and what became of it."""

    request: LaunchRequest
    end: End


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """A job that is not launched now, why, and when it is due again."""

    request: LaunchRequest
    hold: Hold
    until: datetime
    full_project: str | None = None
    """The project of which the table says that it has no free slot."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a launch may still claim, as far as it knows. A claim that would be refused costs as much as any."""

    slots: Slots
    in_use: Counter[str]
    """Slots in use, by project."""
    calls: float
    """How many calls to ICA can be made in the time that is left."""
    claimed: int = 0

    def has_calls(self) -> bool:
        """Whether one more job can be launched at ICA's pace. There is always room for a first one."""
        return not self.claimed or (self.claimed + 1) * CALLS_A_LAUNCH <= self.calls

    def has_slot(self, project_id: str) -> bool:
        return self.in_use.total() < self.slots.total and self.in_use[project_id] < self.slots.per_project

    def after(self, answer: Claimed | NotClaimed | Ended) -> Room:
        """What is left once one more job was claimed, or was not."""
        if isinstance(answer, Claimed):
            return replace(self, in_use=self.in_use + Counter([answer.project_id]), claimed=self.claimed + 1)
        if isinstance(answer, NotClaimed) and answer.full_project:
            return replace(self, in_use=self.in_use | Counter({answer.full_project: self.slots.per_project}))
        return self


class TooLarge(Exception):
    """ICA may take fewer sources at once: nothing was started."""

    def __init__(self, refusal: IcaRefusedBatch, batch_limit: int) -> None:
        super().__init__(str(refusal))
        self.batch_limit = batch_limit


class Gone(IcaUnavailable):
    """ICA does not know something any more that was just looked up: nothing was started."""


class MovedOn(Exception):
    """Somebody else has taken this job out of the launch's hands: ICA must not be asked for it."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    table: Table
    ica: Ica
    poller: PollFunction
    pacing: Pacing
    clock: Clock
    seconds_left: Callable[[], float]
    slots: Slots = field(default_factory=Slots)
    jitter: Callable[[float, float], float] = random.uniform
    """Chance: a number between two."""
    spread: Spread = in_threads
    """How jobs are looked up and started: side by side."""
    sleep: Callable[[float], None] = time.sleep

    def launch(self, requests: Iterable[LaunchRequest]) -> list[Ended]:
        """Launch what is due of these, and say what became of each message.

        Jobs of the same projects are launched together, and beside those of others: a project for which ICA hangs slows
        no other.
        """
        answers = self._claim_all(list(requests))
        waiting = [self._wait(answer) for answer in answers if isinstance(answer, NotClaimed)]
        groups: dict[frozenset[str], list[Claimed]] = defaultdict(list)
        for claim in answers:
            if isinstance(claim, Claimed):
                groups[claim.projects].append(claim)
        launched = chain.from_iterable(self.spread(self._launch_group, list(groups.values())))
        return [*(answer for answer in answers if isinstance(answer, Ended)), *waiting, *launched]

    # --- claimed -----------------------------------------------------------------------------------------------------

    def _claim_all(self, requests: Sequence[LaunchRequest]) -> list[Claimed | NotClaimed | Ended]:
        """Claim these jobs one after the other, as far as there is room."""
        if not requests:
            return []
        if until := self.pacing.held_until():
            return [NotClaimed(request, THROTTLED, until) for request in requests]
        room = Room(
            self.slots, self.table.slots_in_use(), self.pacing.calls_possible(self.seconds_left() - SECONDS_TO_START)
        )
        answers: list[Claimed | NotClaimed | Ended] = []
        for request in requests:
            answer = self._guarded(request, partial(self._claim, request, room))
            room = room.after(answer)
            answers.append(answer)
        return answers

    def _claim(self, request: LaunchRequest, room: Room) -> Claimed | NotClaimed | Ended:
        if not room.has_calls():
            return NotClaimed(request, THROTTLED, self.clock() + timedelta(seconds=FEWER_CALLS_SECONDS))
        job = self.table.get_job(request.copy_id, request.job_id)
        # Only now: a lease that began before a slow read would end before this function does.
        now = self.clock()
        if job is None or job.status is not JobStatus.QUEUED or job.attempt != request.attempt:
            return self._nothing_to_do(request)
        if self.seconds_left() < SECONDS_TO_LAUNCH:
            return NotClaimed(request, TOO_LATE, now)
        destination = parse_uri(job.destination)
        if not room.has_slot(destination.project):
            return NotClaimed(request, NO_SLOT, now)
        lease_until = now + timedelta(seconds=self.seconds_left()) + LEASE_MARGIN
        match self.table.claim_for_launch(job, destination.project, now, lease_until, self.slots):
            case Claim.MOVED_ON:
                return self._nothing_to_do(request)
            case Claim.NO_SLOT:
                return NotClaimed(request, NO_SLOT, now, full_project=destination.project)
            case Claim.FOLDER_BUSY:
                busy = Hold.of(HoldReason.FOLDER_BUSY, f"another copy writes into {destination}")
                return NotClaimed(request, busy, now + timedelta(seconds=FOLDER_BUSY_SECONDS))
            case Claim.STOPPED:
                return NotClaimed(request, PAUSED, now)
        claimed = replace(
            job,
            status=JobStatus.LAUNCHING,
            claimed_at=timestamp(now),
            due_at=timestamp(lease_until),
            ica_project_id=destination.project,
        )
        return Claimed(claimed, request, destination, tuple(map(parse_uri, job.uncopied)))

    def _wait(self, answer: NotClaimed) -> Ended:
        """The job waits in the table; dispatch, which knows whose turn it is, sends another message."""
        now = self.clock()
        jittered = answer.until + timedelta(seconds=self.jitter(0, (answer.until - now).total_seconds()))

        def wait() -> Ended:
            self.table.wait(answer.request, jittered, answer.hold)
            return Ended(answer.request, End.HELD)

        return self._guarded(answer.request, wait)

    # --- looked up, cleared, started ---------------------------------------------------------------------------------

    def _launch_group(self, claims: Sequence[Claimed]) -> list[Ended]:
        try:
            return self._launch_together(claims)
        except Exception:
            logger.exception("launches not carried through", extra={"jobs": len(claims)})
            return [Ended(claim.request, End.BROKEN) for claim in claims]

    def _launch_together(self, claims: Sequence[Claimed]) -> list[Ended]:
        """Launch claimed jobs of the same projects. One that has to be cleared holds up no other."""
        prepare = Prepare(ica=self.ica, seconds_left=self.seconds_left, spread=self.spread, sleep=self.sleep)
        ended: list[Ended] = []
        for ready in prepare.clear(prepare.look_up(claims)):
            for one, trouble in zip(ready, self.spread(self._start, ready), strict=True):
                request = one.claim.request
                ended.append(self._guarded(request, partial(self._end, one.claim, trouble)))
        if any(each.end in FOR_THE_POLLER for each in ended):
            self._trigger_poller()
        return ended

    def _start(self, one: Prepared | Troubled) -> Exception | None:
        """Start a copy batch and note it; what went wrong, if anything did."""
        if isinstance(one, Troubled):
            return one.trouble
        try:
            self._start_copy_batch(one)
        except IcaRefusedBatch as error:
            half = _half(one.claim.job)
            return TooLarge(error, half) if half else error
        except IcaRefused as error:
            if error.http_status == GONE and _may_be_looked_up_anew(one.claim.job):
                return Gone(f"{error}; what was looked up may be gone since, and is looked up anew")
            return error
        except Exception as error:  # noqa: BLE001 # what follows from any trouble is decided by the caller
            return error
        return None

    def _start_copy_batch(self, one: Prepared) -> None:
        """Write down what ICA is asked for, ask, and note the answer. Raises ``IcaError`` and ``MovedOn``."""
        if self.seconds_left() < SECONDS_TO_START:
            raise IcaUnavailable("too little time was left to start a copy batch")
        now, job = self.clock(), one.claim.job
        intent = Intent.of(timestamp(now), one.folder_id, one.source_ids)
        # Before ICA is asked: what was started is then known by it, whoever dies.
        if not self.table.record_intent(job, intent, now + ANSWER_AGE, one.total_bytes):
            raise MovedOn
        batch = self.ica.start_copy_batch(one.claim.project_id, one.folder_id, one.source_ids, job.options)
        fields = fields_of(job, ica_job_id=batch.job_id, ica_batch_id=batch.batch_id)
        logger.info("copy batch started", extra=fields)
        now = self.clock()
        if not self.table.mark_running(job, batch.job_id, batch.batch_id, now, due_at=now):
            logger.warning("a copy batch was started for a job that has moved on: adopted already?", extra=fields)

    # --- ended -------------------------------------------------------------------------------------------------------

    def _end(self, claim: Claimed, trouble: Exception | None) -> Ended:
        """Do what the trouble of a launch calls for. Raises it where nobody has foreseen it."""
        match trouble:
            case None:
                return Ended(claim.request, End.STARTED)
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

    def _nothing_to_do(self, request: LaunchRequest) -> Ended:
        logger.info("launch message changes nothing", extra=asdict(request))
        return Ended(request, End.MOVED_ON)

    def _defer(self, claim: Claimed, error: IcaUnavailable) -> Ended:
        """The same attempt again after a while: longer each time, and not before ICA says that it will do."""
        now, job = self.clock(), claim.job
        longest = min(FIRST_DEFERRAL_SECONDS * 2.0 ** min(job.deferrals, 10), MAX_DEFERRAL_SECONDS)
        seconds = max(self.jitter(longest / 2, longest), min(error.retry_after or 0.0, MAX_DEFERRAL_SECONDS))
        logger.warning("launch deferred", extra=fields_of(job, reason=str(error), seconds=round(seconds)))
        reason = HoldReason.LOOKED_UP_ANEW if isinstance(error, Gone) else HoldReason.ICA_UNAVAILABLE
        hold = Hold.of(reason, error)
        due_at = now + timedelta(seconds=seconds)
        released = self.table.release(job, now, due_at, hold, deferrals=job.deferrals + 1)
        return Ended(claim.request, End.DEFERRED if released else End.MOVED_ON)

    def _halve(self, claim: Claimed, error: TooLarge) -> Ended:
        """The same attempt again at once, with half as many sources. The others are left to the next."""
        now, job = self.clock(), claim.job
        fields = fields_of(job, reason=str(error), batch_limit=error.batch_limit)
        logger.warning("copy batch refused: tried with half as many sources", extra=fields)
        hold = Hold.of(HoldReason.BATCH_TOO_LARGE, error)
        released = self.table.release(job, now, now, hold, batch_limit=error.batch_limit)
        return Ended(claim.request, End.HALVED if released else End.MOVED_ON)

    def _leave_unknown(self, claim: Claimed, error: IcaAnswerLost) -> Ended:
        """The job stays LAUNCHING until the poller has looked in ICA whether the copy batch was started."""
        logger.error("unknown whether a copy batch was started", extra=fields_of(claim.job, reason=str(error)))
        now = self.clock()
        self.table.mark_answer_lost(claim.job, now, now + LOOK_FOR_LOST, Hold.of(HoldReason.ANSWER_LOST, error))
        return Ended(claim.request, End.UNKNOWN)

    def _refuse(self, claim: Claimed, error: IcaRefused) -> Ended:
        """The job fails at once: the next attempt would be refused like this one."""
        now = self.clock()
        logger.warning("launch refused", extra=fields_of(claim.job, reason=str(error)))
        self.table.give_up(claim.job, claim.job.ended_attempt(NOT_STARTED, str(error), now), now)
        return Ended(claim.request, End.REFUSED)

    def _guarded(self, request: LaunchRequest, act: Callable[[], R]) -> R | Ended:
        """Do one thing about a job. Where it breaks, its message comes again."""
        try:
            return act()
        except Exception:
            logger.exception("launch not carried through", extra=asdict(request))
            return Ended(request, End.BROKEN)

    def _trigger_poller(self) -> None:
        now = self.clock()
        if self.table.hold_lease(TRIGGER_LEASE_NAME, str(uuid4()), now, now + TRIGGERS_APART):
            self.poller.trigger()


def _may_be_looked_up_anew(job: Job) -> bool:
    """Whether a launch that meets a 404 is tried again. Deferrals by an outage do not count."""
    return job.deferrals < MOST_LOOKED_UP_ANEW or job.held_for != HoldReason.LOOKED_UP_ANEW


def _half(job: Job) -> int | None:
    """Half as many sources as this attempt has; None where the job would fall into too many parts."""
    half = -(-len(job.uncopied) // 2)
    return half if half * MOST_PARTS >= len(job.sources) else None
