"""Control: answers what an operator asks, at once. What takes longer than a call is left to the other stages."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from icav2_copy_batch.domain.commands import COMMAND_KEY
from icav2_copy_batch.domain.control import (
    MAX_LISTED,
    Adopt,
    Cancel,
    CannotDo,
    Examine,
    Failure,
    ListCopies,
    ListFiles,
    ListPauses,
    Pause,
    PlanCopy,
    Redrive,
    Release,
    Request,
    Resume,
    ShowCopy,
    SubscribeProjects,
    VerifyCopy,
    read_request,
)
from icav2_copy_batch.domain.ica import IcaError, IcaRefused
from icav2_copy_batch.domain.job import Clock, Copy, Job, JobStatus, ListedCopy
from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.operators.show import Show, job_answer
from icav2_copy_batch.ports import PollFunction, SubmissionQueue, Table
from icav2_copy_batch.stages.operate import Operate
from icav2_copy_batch.stages.reconcile import DecisionRefused

if TYPE_CHECKING:
    from icav2_copy_batch.operators.doctor import Doctor
    from icav2_copy_batch.operators.listing import Listing
    from icav2_copy_batch.operators.plan import Plan
    from icav2_copy_batch.operators.recheck import Recheck
    from icav2_copy_batch.operators.subscribe import Subscribe
    from icav2_copy_batch.stages.reconcile import Reconcile

LISTED_SINCE = timedelta(days=90)
"""So far back copies are listed where nobody says how far."""

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
P = TypeVar("P", Pause, Resume)


class OfIca(Protocol):
    """The stages that need ICA. Each is built when it is first asked for, since most requests need none of them."""

    def project_id(self, project: str) -> str:
        """ICA's answer to a project's name or id."""

    @property
    def reconcile(self) -> Reconcile: ...
    @property
    def subscribe(self) -> Subscribe: ...
    @property
    def listing(self) -> Listing: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def recheck(self) -> Recheck: ...
    @property
    def doctor(self) -> Doctor: ...


@dataclass(frozen=True, kw_only=True)
class Control:
    """Answers the requests of the program and of the Python client."""

    table: Table
    operate: Operate
    of_ica: OfIca
    submissions: SubmissionQueue
    poller: PollFunction
    """Triggered once a pause has ended: what was paused is launched at once, and not with the next poll."""
    bucket_name: str
    clock: Clock
    slots: Slots = field(default_factory=Slots)
    """As the template sets them: what a queued job waits for may be one of these."""

    def answer(self, body: object) -> Answer:
        """What was asked for, under ``ok``; or under ``error`` its kind, a message, and all problems."""
        try:
            return {"ok": self._answer(read_request(body))}
        except Refused as refused:
            return _error(Failure.INVALID, f"the request is invalid: {refused}", refused.problems, refused.total)
        except CannotDo as error:
            return _error(error.failure, str(error), error.problems, error.total)
        except DecisionRefused as error:
            return _error(Failure.REFUSED, str(error))
        except IcaRefused as error:
            return _error(Failure.REFUSED, f"ICA refuses it: {error}")
        except IcaError as error:
            return _error(Failure.UNAVAILABLE, f"ICA is unavailable, try again: {error}")

    def _answer(self, request: Request) -> Answer:  # one line for each request
        match request:
            case Resume():
                self.operate.resume(self._with_project_id(request))
                self.poller.trigger()
                return self._pauses()
            case Pause():
                self.operate.pause(self._with_project_id(request))
                return self._pauses()
            case Cancel():
                return self._cancel(request)
            case Redrive():
                return self._redrive(request)
            case ListCopies():
                return {"copies": list(self._show.listed(islice(self._copies(request), request.limit)))}
            case ShowCopy():
                return self._show.answer(self.operate.copy(request.copy_id), request)
            case ListPauses():
                return self._pauses()
            case _:
                return self._answer_of_ica(request)

    def _answer_of_ica(
        self, request: Adopt | Release | SubscribeProjects | Examine | ListFiles | VerifyCopy | PlanCopy
    ) -> Answer:
        """The same for requests that need ICA."""
        match request:
            case Adopt() | Release():
                return self._decide(request)
            case SubscribeProjects():
                return self.of_ica.subscribe.subscribe(request)
            case Examine():
                return self.of_ica.doctor.examine(request)
            case ListFiles():
                return self.of_ica.listing.files(request)
            case VerifyCopy():
                return self.of_ica.recheck.verify(request)
            case PlanCopy():
                return self.of_ica.plan.answer(request)

    # --- shown -------------------------------------------------------------------------------------------------------

    def _pauses(self) -> Answer:
        return {"pauses": [asdict(pause) for pause in self.table.pauses()]}

    def _copies(self, request: ListCopies) -> Iterator[ListedCopy]:
        """The copies that are asked for, the newest first."""
        until = request.until or self.clock()
        since = request.since or until - LISTED_SINCE
        seen: set[str] = set()
        while True:
            found = self.table.recent_copies(since, until, MAX_LISTED)
            new = [copy for copy in found if copy.copy_id not in seen]
            yield from (copy for copy in new if _is_asked_for(copy, request))
            if len(found) < MAX_LISTED or not new:
                return
            seen = {copy.copy_id for copy in found}
            until = datetime.fromisoformat(found[-1].submitted_at)

    @property
    def _show(self) -> Show:
        return Show(table=self.table, bucket_name=self.bucket_name, clock=self.clock, slots=self.slots)

    # --- done --------------------------------------------------------------------------------------------------------

    def _with_project_id(self, request: P) -> P:
        """A request with the id of its project, which only ICA knows where it is given by its name."""
        if not request.project:
            return request
        return replace(request, project=None, project_id=self.of_ica.project_id(request.project))

    def _cancel(self, request: Cancel) -> Answer:
        cancelled = self.operate.cancel(request)
        left = [
            {"job_id": job.job_id, "status": job.status, "ica_job_id": job.ica_job_id}
            for job in self.operate.left(request.copy_id)[:MAX_LISTED]
        ]
        copy = self._show.copy(self.operate.copy(request.copy_id))
        return {"copy": copy, "cancelled": cancelled, "left": left}

    def _redrive(self, request: Redrive) -> Answer:
        """Check that there is something to redrive, and submit it."""
        copy = self.operate.copy(request.copy_id)
        if not copy.is_settled:
            raise CannotDo(Failure.REFUSED, f"copy {copy.copy_id} has not settled: wait for it, or cancel it first")
        new_id = self.operate.id_of_redrive(request)
        left = [job for job in self._ended(copy, request.job_id) if job.redriven_as in (None, new_id)]
        if not left:
            known = f"; it was redriven as {', '.join(sorted(copy.redriven_as))}" if copy.redriven_as else ""
            what = f"job {request.job_id} of copy" if request.job_id else "copy"
            raise CannotDo(Failure.REFUSED, f"{what} {copy.copy_id} has nothing left to copy{known}")
        body = {COMMAND_KEY: "redrive", "copy_id": copy.copy_id, "job_id": request.job_id, "by": request.by}
        self.submissions.send(json.dumps({key: value for key, value in body.items() if value is not None}))
        return {"copy_id": new_id, "jobs": len(left)}

    def _ended(self, copy: Copy, job_id: str | None) -> Iterator[Job]:
        """The failed and cancelled jobs of a copy, or the one that is asked for."""
        jobs = self.table.jobs(copy.copy_id) if job_id is None else [self._job(copy.copy_id, job_id)]
        return (job for job in jobs if job.status in (JobStatus.FAILED, JobStatus.CANCELLED))

    def _decide(self, request: Adopt | Release) -> Answer:
        copy = self.operate.copy(request.copy_id)
        self._job(request.copy_id, request.job_id)
        if isinstance(request, Adopt):
            self.of_ica.reconcile.adopt(request.copy_id, request.job_id, request.ica_job_id)
        else:
            self.of_ica.reconcile.release(request.copy_id, request.job_id)
        logger.warning("a person has decided an undecided launch", extra=asdict(request))
        job = self._job(request.copy_id, request.job_id)
        return {"job": job_answer(copy, job, job.hold)}

    def _job(self, copy_id: str, job_id: str) -> Job:
        if job := self.table.get_job(copy_id, job_id):
            return job
        raise CannotDo(Failure.NO_SUCH_JOB, f"copy {copy_id} has no job {job_id}: check the ids")


def _is_asked_for(copy: ListedCopy, request: ListCopies) -> bool:
    has_tags = all(copy.tags.get(key) == value for key, value in request.tags.items())
    return has_tags and request.status in (None, copy.status)


def _error(failure: Failure, message: str, problems: Sequence[Problem] = (), total: int = 0) -> Answer:
    """``problem_count`` is of all problems, of which not all may be listed."""
    listed = [asdict(problem) for problem in problems]
    return {"error": {"kind": failure.value, "message": message, "problems": listed, "problem_count": total}}
