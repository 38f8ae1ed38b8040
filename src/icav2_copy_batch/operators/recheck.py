"""Recheck: answers ``icav2-copy verify``, which asks whether a settled copy is still in ICA as it was.

Each job keeps the size and ETag of its copies, from when it ended. A copy that was replaced or deleted since differs
from them. What ICA has of the sources now does not matter: they may be gone. A folder is compared by its bytes alone,
and may hold more than was copied into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from icav2_copy_batch.domain.ica import IcaData, IcaUnavailable
from icav2_copy_batch.domain.job import Copy, Job
from icav2_copy_batch.domain.outcomes import Fingerprint
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.report.files import FileEnd, ends_of
from icav2_copy_batch.domain.requests import CannotDo, Failure, VerifyCopy
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.domain.uri import IcaUri, copied_into, parse_uri
from icav2_copy_batch.ports import Ica, Table
from icav2_copy_batch.stages.lookup import Found, look_up

MOST_SOURCES = 5000
"""After so many sources an answer ends, so that one call takes seconds; the next goes on after its last job."""
SECONDS_TO_ANSWER = 120.0
"""With less time left the answer ends as well."""
SECONDS_TO_LIST = 60.0
"""With less time left a folder is listed no further."""


class Difference(StrEnum):
    """How a copy differs from what it was when its job ended."""

    GONE = "GONE"
    CHANGED = "CHANGED"
    UNKNOWN = "UNKNOWN"
    """A folder that is too large to be listed in the time of a call of its own."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A copy that is not as it was."""

    job_id: str
    source: str
    copy: str
    """Its URI."""
    change: Difference
    what: str


@dataclass(frozen=True, slots=True)
class CopiedSource:
    """A copied source, and where its copy lies."""

    job: Job
    end: FileEnd
    copy: IcaUri

    @property
    def fingerprint(self) -> Fingerprint | None:
        return self.end.fingerprint


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """Compares settled copies with ICA as it is now."""

    table: Table
    ica: Ica
    spread: Spread
    seconds_left: Callable[[], float]

    def verify(self, request: VerifyCopy) -> dict[str, Any]:
        """Count the copied sources of a copy: those that are as they were, and those that are not, by name.

        One answer covers some jobs; ``next_after`` is the last of them where there are more. A source whose copy's size
        was not kept counts as ``unknown``. Raises ``CannotDo`` and ``IcaError``.
        """
        copy = self.table.get_copy(request.copy_id)
        if copy is None:
            raise CannotDo(Failure.NO_SUCH_COPY, f"there is no copy {request.copy_id}: check the id")
        if not copy.is_settled:
            raise CannotDo(Failure.REFUSED, f"copy {copy.copy_id} has not settled: wait for it first")
        counts = dict.fromkeys(("copied", "same", "unknown"), 0)
        changed: list[Changed] = []
        next_after = None
        for jobs in _portions(self.table.jobs(copy.copy_id, request.after)):
            if next_after and (counts["copied"] >= MOST_SOURCES or self.seconds_left() < SECONDS_TO_ANSWER):
                return _answer(copy, counts, changed, next_after)
            copied = [each for job in jobs for each in _copied(job)]
            known = [each for each in copied if each.fingerprint]
            found = self._compare(known)
            different = [each for each in found if each.change is not Difference.UNKNOWN]
            if next_after and len(different) < len(found):  # in an answer of its own a folder has all the time
                return _answer(copy, counts, changed, next_after)
            changed += different
            counts["copied"] += len(copied)
            counts["same"] += len(known) - len(found)
            counts["unknown"] += len(copied) - len(known) + len(found) - len(different)
            next_after = jobs[-1].job_id
        return _answer(copy, counts, changed, None)

    def _compare(self, known: Sequence[CopiedSource]) -> list[Changed]:
        """Those of which the copy is not as it was."""
        files = [each.copy for each in known if not each.copy.is_folder]
        found = look_up(self.ica, files, self.spread)
        for project in {uri.project for uri in files}:
            if refusal := found.refusal(project):
                raise refusal
            if not found.tells_of([project]):
                raise IcaUnavailable(f"project {project} could not be read")
        return [changed for each in known if (changed := self._changed(each, found))]

    def _changed(self, each: CopiedSource, found: Found) -> Changed | None:
        assert each.fingerprint  # noqa: S101 # for the type checker: only such are compared
        if each.copy.is_folder:
            what = self._of_folder(each.fingerprint, each.copy)
        else:
            what = _of_file(each.fingerprint, found.at(each.copy))
        return what and Changed(each.job.job_id, each.end.source, str(each.copy), *what)

    def _of_folder(self, then: Fingerprint, folder: IcaUri) -> tuple[Difference, str] | None:
        files = now = 0
        for page in self.ica.tree_pages(folder.project, folder.path):
            if self.seconds_left() < SECONDS_TO_LIST:
                return Difference.UNKNOWN, "is too large"
            there = [it for it in page if it.status != "DELETING" and not it.is_probe]
            files += len(there)
            now += sum(it.size or 0 for it in there)
        if not files:
            return Difference.GONE, "holds no file any more"
        if now < (then.size or 0):
            return Difference.CHANGED, f"holds {now} bytes, and {then.size} were copied into it"
        return None


def _of_file(then: Fingerprint, now: IcaData | None) -> tuple[Difference, str] | None:
    if now is None:
        return Difference.GONE, "is not there any more"
    if now.status == "DELETING":
        return Difference.GONE, "is being deleted"
    if now.size != then.size:
        return Difference.CHANGED, f"has {now.size} bytes, it had {then.size}"
    if then.etag and now.etag and now.etag != then.etag:
        return Difference.CHANGED, f"has the ETag {now.etag}, it had {then.etag}"
    return None


def _copied(job: Job) -> list[CopiedSource]:
    """The sources of an ended job that were copied. With RENAME it is not known under which names."""
    folder = parse_uri(job.destination)
    return [CopiedSource(job, end, copied_into(folder, parse_uri(end.source))) for end in ends_of(job) if end.is_copied]


def _portions(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs in lists of as many sources as are well asked for at once. One with a folder is the last of its list."""
    portion: list[Job] = []
    for job in jobs:
        portion.append(job)
        has_folder = any(source.endswith("/") for source in job.sources)
        if has_folder or sum(len(each.sources) for each in portion) >= MOST_SOURCES // 5:
            yield portion
            portion = []
    if portion:
        yield portion


def _answer(copy: Copy, counts: dict[str, int], changed: Sequence[Changed], next_after: str | None) -> dict[str, Any]:
    names = copy.project_names
    told = [
        asdict(each) | {"source": as_spelled(each.source, names), "copy": as_spelled(each.copy, names)}
        for each in changed
    ]
    return {**counts, "changed": told, **({"next_after": next_after} if next_after else {})}
