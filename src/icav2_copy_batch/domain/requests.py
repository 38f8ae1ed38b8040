"""What an operator may ask: each request as a dataclass, and how it is read from JSON.

A request is checked here, whole, before anything is done about it. ``REQUESTS`` lists the keys of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from icav2_copy_batch.domain.job import CopyStatus
from icav2_copy_batch.domain.problems import Problem, Refused, refuse_if_any, type_name
from icav2_copy_batch.domain.stops import ALL, copy_subject, project_subject
from icav2_copy_batch.domain.submit import COMMAND_KEY, Submit, is_copy_id, is_tags, read_submit
from icav2_copy_batch.domain.uri import folder_fault, is_project_id

MAX_TEXT_CHARACTERS = 500
MOST_PROJECTS = 100
"""The most projects of one request: each takes a few calls to ICA."""
MAX_LISTED = 1000
"""The most copies, or jobs, of one answer."""
MAX_BYTES = 5_000_000
"""The longest request, and the longest answer that is not put into the bucket. Lambda takes and returns 6 MB at most,
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""
ANSWER_URI = "answer_uri"
"""The key of an answer that says where the answer itself lies."""
ANSWERS_PREFIX = "answers/"
"""Where such answers lie in the bucket."""

PLAN = "plan"

_REDRIVEN = re.compile(r"(.+)\.r(\d{1,4})")
_JOB_ID = re.compile(r"\d{6,9}")


class Failure(StrEnum):
    """The kinds of errors that an operator is answered with."""

    INVALID = "invalid"
    """The request is not one."""
    REFUSED = "refused"
    """It cannot be done as asked; the message says why."""
    NO_SUCH_COPY = "no_such_copy"
    NO_SUCH_JOB = "no_such_job"
    UNAVAILABLE = "unavailable"
    """AWS or ICA did not do it this time: it may be asked again."""


class CannotDo(Exception):
    """What was asked for cannot be done. The message says why, and what to do."""

    def __init__(
        self, failure: Failure, message: str, problems: Iterable[Problem] = (), total: int | None = None
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        """How many problems there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End a copy: its queued jobs now, its running ones when ICA ends them, and none is tried again."""

    copy_id: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Launch nothing new of a copy, into a project, or at all. Exactly one of the first four is set."""

    copy_id: str | None = None
    project_id: str | None = None
    project: str | None = None
    """The project by its name or id, for the control function, which looks the id up."""
    all: bool = False
    reason: str | None = None
    by: str | None = None

    @property
    def subject(self) -> str:
        """What is paused. Raises ``CannotDo`` where its project has not been looked up."""
        if self.project:
            raise CannotDo(Failure.INVALID, "project is not known here: give project_id, the id of the project")
        if self.copy_id:
            return copy_subject(self.copy_id)
        return project_subject(self.project_id.lower()) if self.project_id else ALL  # as the jobs have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Pause):
    """End a pause of the same subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """Copy again what a settled copy has not copied, or what one of its jobs has not, as a new copy."""

    copy_id: str
    job_id: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Say that an undecided launch has started this ICA job."""

    copy_id: str
    job_id: str
    ica_job_id: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Say that an undecided launch has started nothing."""

    copy_id: str
    job_id: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCopies:
    """Show the copies that were submitted from one moment to another, the newest first."""

    since: datetime | None = None
    until: datetime | None = None
    status: CopyStatus | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    limit: int = 50
    before: str | None = None
    """A copy's id, where the answer before says that there may be more: those that come after it in the list."""
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowCopy:
    """Show a copy and, if asked, its jobs: those after ``after``, all or only some of them."""

    copy_id: str
    holds: bool = False
    """Whether to show what holds its open jobs, counted by reason, and the pauses that concern them."""
    jobs: bool = False
    failed: bool = False
    """Only those that have failed or were cancelled."""
    open: bool = False
    """Only those that have not ended."""
    after: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPauses:
    """Show what is paused."""

    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeProjects:
    """Have ICA tell this stack of the jobs of these projects, which are given by name or id."""

    projects: Sequence[str]
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFiles:
    """Show the files below a folder in ICA."""

    uri: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyCopy:
    """Say what of a settled copy is not in ICA any more as it was: of its jobs after ``after``, as many as it can."""

    copy_id: str
    after: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCopy:
    """Say what a submission would do. Its keys are those of a message of the ingest queue."""

    submit: Submit
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examine:
    """Look at all that the stack needs, also in these projects, which are given by name or id.

    Without projects these are the destinations of the copies that are open or recent.
    """

    projects: Sequence[str] = ()
    by: str | None = None


Request = (
    Cancel
    | Pause
    | Resume
    | Redrive
    | Adopt
    | Release
    | ListCopies
    | ShowCopy
    | ListPauses
    | SubscribeProjects
    | ListFiles
    | VerifyCopy
    | PlanCopy
    | Examine
)

REQUESTS: Mapping[str, type[Request]] = {
    "cancel": Cancel,
    "pause": Pause,
    "resume": Resume,
    "redrive": Redrive,
    "adopt": Adopt,
    "release": Release,
    "list": ListCopies,
    "status": ShowCopy,
    "pauses": ListPauses,
    "subscribe": SubscribeProjects,
    "files": ListFiles,
    "verify": VerifyCopy,
    PLAN: PlanCopy,
    "doctor": Examine,
}
"""The word by which each request is asked for."""
BY_QUEUE = (Cancel, Pause, Resume, Redrive)
"""What may also be asked by a message on the ingest queue."""


def redrive_id(copy_id: str, job_id: str | None = None) -> str:
    """The id of the copy that redrives another, or one job of it: ``run.r1``, ``run.r2`` and ``run.job000003``."""
    if job_id:
        return f"{copy_id}.job{job_id}"
    before = _REDRIVEN.fullmatch(copy_id)
    return f"{before[1]}.r{int(before[2]) + 1}" if before else f"{copy_id}.r1"


def readable_redrive_of(body: object) -> str | None:
    """The id of the copy that a command was to redrive, which may be wrong in every other respect."""
    copy_id = body.get("copy_id") if isinstance(body, dict) and body.get(COMMAND_KEY) == "redrive" else None
    return copy_id if isinstance(copy_id, str) and is_copy_id(copy_id) else None


def is_command(body: object) -> bool:
    """Whether a message of the ingest queue asks for something else than a new copy."""
    return isinstance(body, dict) and COMMAND_KEY in body


def read_request(body: object) -> Request:
    """The request that a JSON document holds. Raises ``Refused`` with every problem."""
    if isinstance(body, dict) and body.get(COMMAND_KEY) == PLAN:
        return _read_plan(body)
    refuse_if_any(_problems_in(body))
    assert isinstance(body, dict)  # noqa: S101 # for the type checker: checked just before
    given = {key: value for key, value in body.items() if key != COMMAND_KEY and value is not None}
    for key in ("since", "until"):
        if key in given:
            given[key] = datetime.fromisoformat(given[key])
    if "status" in given:
        given["status"] = CopyStatus(given["status"])
    request: Request = REQUESTS[body[COMMAND_KEY]](**given)
    return request


def _read_plan(body: Mapping[str, Any]) -> PlanCopy:
    """The submission that is to be planned, as ingest reads it. Its manifest has to be in the request."""
    by = body.get("by")
    refuse_if_any([Problem("by", _TEXT[1])] if by is not None and not _is_text(by) else [])
    if "manifest_uri" in body:
        raise Refused([Problem("manifest_uri", "cannot be planned: give the manifest itself")])
    message = {key: value for key, value in body.items() if key not in (COMMAND_KEY, "by")}
    return PlanCopy(submit=read_submit(message, "request"), by=by)


def _problems_in(body: object) -> Iterator[Problem]:
    if not isinstance(body, dict):
        yield Problem("request", f"must be a JSON object, not {type_name(body)}")
        return
    kind = REQUESTS.get(str(body.get(COMMAND_KEY)))
    if kind is None:
        yield Problem(COMMAND_KEY, f"must be one of {', '.join(REQUESTS)}")
        return
    known = {each.name: each for each in fields(kind)}
    for key, value in body.items():
        if key == COMMAND_KEY or value is None:
            continue
        if key not in known:
            yield Problem(key, f"is not a key of this command; its keys are {', '.join(known)}")
        else:
            is_right, otherwise = _VALUES[key]
            if not is_right(value):
                yield Problem(key, otherwise)
    for key, each in known.items():
        if each.default is MISSING and each.default_factory is MISSING and body.get(key) is None:
            yield Problem(key, "is missing")
    if issubclass(kind, Pause) and sum(bool(body.get(key)) for key in _SUBJECTS) != 1:
        yield Problem(COMMAND_KEY, "needs exactly one of copy_id, project_id, project and all")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_TEXT_CHARACTERS


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_projects(value: object) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= MOST_PROJECTS and all(map(_is_text, value))


def _is_moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LISTED


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_project_id(value: object) -> bool:
    return isinstance(value, str) and is_project_id(value)


def _is_folder(value: object) -> bool:
    return isinstance(value, str) and folder_fault(value) is None


_SUBJECTS = ("copy_id", "project_id", "project", "all")
_IS_JOB_ID = _matches(_JOB_ID), "must be a job's id, such as 000001"
_MOMENT = _is_moment, "must be a moment with its time zone in ISO 8601, such as 2026-11-25T03:00:00Z"
_TEXT = _is_text, f"must be a string of 1 to {MAX_TEXT_CHARACTERS} characters"
_FLAG = _is_flag, "must be true or false"
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "copy_id": (is_copy_id, "must be the id of a copy"),
    "project_id": (_is_project_id, "must be the id of a project, a UUID; its name is not enough"),
    "project": _TEXT,
    "before": (is_copy_id, "must be the id of a copy"),
    "job_id": _IS_JOB_ID,
    "after": _IS_JOB_ID,
    "ica_job_id": _TEXT,
    "reason": _TEXT,
    "by": _TEXT,
    "all": _FLAG,
    "jobs": _FLAG,
    "failed": _FLAG,
    "open": _FLAG,
    "holds": _FLAG,
    "since": _MOMENT,
    "until": _MOMENT,
    "status": (set(CopyStatus).__contains__, f"must be one of {', '.join(CopyStatus)}"),
    "tags": (is_tags, "must be an object of strings"),
    "projects": (_is_projects, f"must be a list of 1 to {MOST_PROJECTS} projects, each by its name or its id"),
    "uri": (_is_folder, "must be the URI of a folder, such as icav2://project/run 42/"),
    "limit": (_is_count, f"must be a whole number from 1 to {MAX_LISTED}"),
}
