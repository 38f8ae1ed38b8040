"""Control: answers what an operator asks, at once. What takes longer than a call is left to the other stages."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from icav2_copy_batch.domain.ica import IcaError, IcaRefused
from icav2_copy_batch.domain.job import Clock, Copy, Job, JobStatus, SubmittedCopy
from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.requests import (
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
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.submit import COMMAND_KEY
from icav2_copy_batch.operators.show import Show, job_answer
from icav2_copy_batch.ports import PollFunction, SubmissionQueue, Table
from icav2_copy_batch.stages.newest import PAGE
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
MOST_LOOKED_AT = 10_000
"""The most copies that are looked at for one answer, since few may be as asked for. The next request goes on."""

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
                return self._list(request)
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

    def _list(self, request: ListCopies) -> Answer:
        """The copies that are asked for, the newest first; ``next_before`` says where there may be more."""
        found, next_before = self._found(request)
        more = {"next_before": next_before} if next_before else {}
        return {"copies": list(self._show.listed(found)), **more}

    def _found(self, request: ListCopies) -> tuple[list[Copy], str | None]:
        """These copies, and after which of them there may be more.

        Their tags are in the index of submissions; how a copy stands is read from its item.
        """
        until = request.until or self.clock()
        since = request.since or until - LISTED_SINCE
        before = self._submitted(request.before) if request.before else None
        found: list[Copy] = []
        looked_at = 0
        while True:
            size = PAGE if request.status or request.tags else min(PAGE, request.limit - len(found))
            page = self.table.submitted_copies(since, until, size, before)
            tagged = [copy.copy_id for copy in page if request.tags.items() <= copy.tags.items()]
            for copy in self.table.get_copies(tagged):
                if request.status in (None, copy.status):
                    found.append(copy)
                    if len(found) == request.limit:
                        return found, copy.copy_id
            if len(page) < size:
                return found, None
            before, looked_at = page[-1], looked_at + len(page)
            if looked_at >= MOST_LOOKED_AT:
                return found, before.copy_id

    def _submitted(self, copy_id: str) -> SubmittedCopy:
        copy = self.operate.copy(copy_id)
        return SubmittedCopy(copy_id, copy.submitted_at, copy.total_jobs, copy.tags, copy.redrive_of)

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


def _error(failure: Failure, message: str, problems: Sequence[Problem] = (), total: int = 0) -> Answer:
    """``problem_count`` is of all problems, of which not all may be listed."""
    listed = [asdict(problem) for problem in problems]
    return {"error": {"kind": failure.value, "message": message, "problems": listed, "problem_count": total}}
