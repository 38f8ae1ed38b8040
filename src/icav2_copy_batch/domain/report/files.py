"""What became of each source of a job, by what its attempts have left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from icav2_copy_batch.domain.job import Attempt, Job, JobStatus
from icav2_copy_batch.domain.outcomes import Fingerprint

COPIED = "COPIED"


@dataclass(frozen=True, slots=True)
class FileEnd:
    """How the copying of a source ended. A source is a file, or a folder as a whole when it ends in a slash."""

    source: str
    outcome: str
    """``COPIED``; else ICA's status of it, a ``Finding``, or the outcome of the last attempt, or of the job."""
    tries: int | None = None
    """How many attempts it was part of; None where that is not known, since its job was copied part by part."""
    attempt: Attempt | None = None
    """The last attempt that it was part of, as far as that is known: the one that has copied it, if any has."""
    reason: str | None = None
    fingerprint: Fingerprint | None = None
    """What the copy was when the job ended, where that was found right."""

    @property
    def size(self) -> int | None:
        """Bytes of a copied file, or of all files in a copied folder; None where that is not known."""
        return self.fingerprint.size if self.fingerprint else None

    @property
    def is_copied(self) -> bool:
        return self.outcome == COPIED

    @property
    def ica_job_id(self) -> str | None:
        return self.attempt.ica_job_id if self.attempt else None


@dataclass(slots=True)
class Totals:
    """What the files of a copy add up to, and what it took to copy them."""

    files: int = 0
    folders: int = 0
    """Folders that were copied as a whole, whose files are not counted."""
    bytes: int = 0
    """Bytes of what was copied, as far as they are known."""
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    ica_jobs: int = 0
    first_launched_at: str | None = None

    @property
    def sources(self) -> int:
        return self.files + self.folders

    @property
    def copied(self) -> int:
        return self.outcomes[COPIED]

    def add(self, job: Job, ends: Iterable[FileEnd]) -> None:
        """Count an ended job and its sources."""
        self.attempts += len(job.attempts)
        self.ica_jobs += sum(each.ica_job_id is not None for each in job.attempts)
        began = [attempt.running_at for attempt in job.attempts if attempt.running_at]
        self.first_launched_at = min(filter(None, [self.first_launched_at, *began]), default=None)
        for end in ends:
            self.outcomes[end.outcome] += 1
            self.bytes += end.size or 0
            if end.source.endswith("/"):
                self.folders += 1
            else:
                self.files += 1


def ends_of(job: Job) -> list[FileEnd]:
    """How the copying of each source of an ended job ended, in the order of its sources."""
    tries, last = _tried(job)
    ended = job.attempts[-1] if job.attempts else None
    said = {each.source: each for each in job.last_outcomes} if job.status is not JobStatus.PASSED else {}
    fingerprints = job.fingerprints
    ends = []
    for source in job.sources:
        outcome, reason = COPIED, None
        if source in said:
            outcome, reason = said[source].outcome, said[source].reason or job.reason
        elif job.status is not JobStatus.PASSED and source not in job.copied and not said:
            outcome = ended.outcome if ended and job.status is JobStatus.FAILED else job.status.value
            reason = job.reason
        found = fingerprints.get(source) if outcome == COPIED else None
        ends.append(FileEnd(source, outcome, tries.get(source), last.get(source), reason, found))
    return ends


def _tried(job: Job) -> tuple[Counter[str], dict[str, Attempt]]:
    """How many attempts each source was part of, and which was the last. A job in parts does not tell."""
    if job.batch_limit:
        return Counter(), {}
    tries: Counter[str] = Counter(dict.fromkeys(job.sources, 0))
    last: dict[str, Attempt] = {}
    pending: Sequence[str] = job.sources
    for attempt in job.attempts:
        tries.update(pending)
        last.update(dict.fromkeys(pending, attempt))
        if attempt.outcomes:  # else all are tried again, since it is not known which were copied
            pending = [each.source for each in attempt.outcomes]
    return tries, last
