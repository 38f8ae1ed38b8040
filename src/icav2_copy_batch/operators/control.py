"""Control: answers what an operator asks, at once. What takes longer than a call is left to the other stages."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.ports import PollFunction, SubmissionQueue, Table
from icav2_copy_batch.stages.operate import Operate
from icav2_copy_batch.stages.reconcile import NotForAPerson

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

    def answer(self, body: object) -> Answer:
        """What was asked for, under ``ok``; or under ``error`` its kind, a message, and all problems."""
        try:
            return {"ok": self._answer(read_request(body))}
        except Refused as refused:
            return _error(Failure.INVALID, f"the request is invalid: {refused}", refused.problems, refused.total)
        except CannotDo as error:
            return _error(error.failure, str(error), error.problems, error.total)
        except NotForAPerson as error:
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
                return {"copies": [_listed(copy) for copy in islice(self._copies(request), request.limit)]}
            case ShowCopy():
                return self._show(request)
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

    def _show(self, request: ShowCopy) -> Answer:
        copy = self.operate.copy(request.copy_id)
        answer: Answer = {"copy": self._shown(copy)}
        if not (request.jobs or request.failed):
            return answer
        jobs = iter(self.table.jobs(copy.copy_id, request.after))
        page = list(islice(jobs, MAX_LISTED))
        failed = (JobStatus.FAILED, JobStatus.CANCELLED)
        answer["jobs"] = [_job(copy, job) for job in page if not request.failed or job.status in failed]
        if next(jobs, None):
            answer["next_after"] = page[-1].job_id
        return answer

    def _shown(self, copy: Copy) -> Answer:
        names = [key for key in _listed_keys() if key != "published_at"]
        shown = {name: getattr(copy, name) for name in names}
        result_uri = f"s3://{self.bucket_name}/results/{copy.copy_id}.json" if copy.is_published else None
        more = {"redrive_of": copy.redrive_of, "redriven_as": sorted(copy.redriven_as), "result_uri": result_uri}
        shown |= {"settled_at": _settled_at(copy), "tags": dict(copy.tags), "ingested_at": copy.ingested_at}
        return {**shown, **more}

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
        copy = self._shown(self.operate.copy(request.copy_id))
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
        return {"job": _job(copy, self._job(request.copy_id, request.job_id))}

    def _job(self, copy_id: str, job_id: str) -> Job:
        if job := self.table.get_job(copy_id, job_id):
            return job
        raise CannotDo(Failure.NO_SUCH_JOB, f"copy {copy_id} has no job {job_id}: check the ids")


def _is_asked_for(copy: ListedCopy, request: ListCopies) -> bool:
    has_tags = all(copy.tags.get(key) == value for key, value in request.tags.items())
    return has_tags and request.status in (None, copy.status)


def _listed_keys() -> list[str]:
    return [*ListedCopy.__dataclass_fields__, "cancelled_jobs"]


def _listed(copy: ListedCopy) -> Answer:
    return {**asdict(copy), "settled_at": _settled_at(copy), "cancelled_jobs": copy.cancelled_jobs}


def _settled_at(copy: Copy | ListedCopy) -> str | None:
    """When a copy settled. While it is open, the table has there when a job last ended."""
    return None if copy.open_jobs else copy.settled_at


def _job(copy: Copy, job: Job) -> Answer:
    """A job as it is shown."""
    keys = ("job_id", "status", "attempt", "due_at", "ica_job_id", "reason", "redriven_as", "total_bytes")
    times = ("queued_at", "claimed_at", "running_at", "ended_at")
    attempt_keys = ("number", "outcome", "ended_at", "ica_job_id", "reason")
    return {
        **{key: getattr(job, key) for key in (*keys, *times)},
        "dest_uri": as_spelled(job.destination, copy.project_names),
        "project_id": job.project,
        "sources": len(job.sources),
        "hold": asdict(job.hold) if job.hold else None,
        "attempts": [{key: getattr(each, key) for key in attempt_keys} for each in job.attempts],
    }


def _error(failure: Failure, message: str, problems: Sequence[Problem] = (), total: int = 0) -> Answer:
    """``problem_count`` is of all problems, of which not all may be listed."""
    listed = [asdict(problem) for problem in problems]
    return {"error": {"kind": failure.value, "message": message, "problems": listed, "problem_count": total}}
