"""Copies, jobs and attempts, and the one table of moves a job can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum

from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import parse_uri

Clock = Callable[[], datetime]
"""Gives the present moment, with its time zone. Passed in wherever time matters."""


JobKey = tuple[str, str]
"""Copy id and job id: by which a job is known."""

CANCELLED = "its copy was cancelled"
"""The reason of a cancelled job."""
MAX_REASON_CHARACTERS = 1000
"""Longer reasons are cut: a job keeps one for each attempt."""


class JobStatus(StrEnum):
    QUEUED = "QUEUED"
    """Waits for its launch message to be sent, or to be handled."""
    LAUNCHING = "LAUNCHING"
    """Claimed by a launch; whether ICA has started the copy batch is not known here."""
    RUNNING = "RUNNING"
    """ICA runs a copy batch for it; its ICA job id is known."""
    PASSED = "PASSED"
    """Ended: its files are at the destination, as far as ``Verification`` checks."""
    FAILED = "FAILED"
    """Ended: given up, with a reason."""
    CANCELLED = "CANCELLED"
    """Ended: its copy was cancelled before all of its files were copied."""


class CopyStatus(StrEnum):
    OPEN = "OPEN"
    """Accepted; not yet published as settled."""
    COMPLETED = "COMPLETED"
    """Settled and published: every job passed."""
    FAILED = "FAILED"
    """Settled and published: some jobs have failed, and none was cancelled."""
    CANCELLED = "CANCELLED"
    """Settled and published: some jobs were cancelled."""


ALL_THERE = "ALL_THERE"
"""Outcome of an attempt that ICA does not call succeeded, and whose files are all there as they should be."""


class HoldReason(StrEnum):
    """Why a job did not move on when it was last tried. What follows from each stands in ``WHAT_FOLLOWS``."""

    NEXT_ATTEMPT = "NEXT_ATTEMPT"
    """Queued: an attempt has failed, or copied a part; the next waits for its turn."""
    PAUSED = "PAUSED"
    """Queued: its copy, its project or everything is paused."""
    NO_SLOT = "NO_SLOT"
    """Queued: no slot is free, in all or for its project."""
    FOLDER_BUSY = "FOLDER_BUSY"
    """Queued: another copy writes into its destination folder, or has just done so."""
    THROTTLED = "THROTTLED"
    """Queued: ICA limits the rate of calls (429), so that its launch would come too late."""
    TOO_LATE = "TOO_LATE"
    """Queued: the launch function that had its message had too little time left."""
    ICA_UNAVAILABLE = "ICA_UNAVAILABLE"
    """Queued: ICA did not answer its launch as it should; the launch is deferred."""
    LOOKED_UP_ANEW = "LOOKED_UP_ANEW"
    """Queued: ICA did not know its folder or a source any more; they are looked up anew by the next launch."""
    OUTAGE = "OUTAGE"
    """Queued: ICA's copy engine fails most of what it is given into its project: see ``domain/outage.py``."""
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    """Queued: ICA has refused a copy batch of so many sources; the next has fewer."""
    LAUNCH_DIED = "LAUNCH_DIED"
    """Queued: its launch has ended without starting anything."""
    ANSWER_LOST = "ANSWER_LOST"
    """Launching: ICA's answer was lost; the copy batch that it may have started is searched for."""
    UNDECIDED = "UNDECIDED"
    """Launching: it cannot be found out whether ICA has started a copy batch; a person has to say."""
    CANCELLED = "CANCELLED"
    """Queued: its copy was cancelled, and it ends with the next poll. Never stored: see ``domain/waits.py``."""
    LAUNCH_MESSAGE = "LAUNCH_MESSAGE"
    """Queued: its launch message is on its way, or about to be sent. Never stored: see ``domain/waits.py``."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job did not move on: the reason, which decides, and a sentence for people, which decides nothing."""

    reason: HoldReason
    detail: str

    @classmethod
    def of(cls, reason: HoldReason, said: object) -> Hold:
        """With what was said, shortened to what an item can hold."""
        return cls(reason, str(said)[:MAX_REASON_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows from the reason for which a job is held."""

    holds_backlog: bool = False
    """Until it is due, no more jobs of its copy are taken from the backlog of its project: they would fare alike."""
    ends_with_outage: bool = False
    """It is due before its moment where attempts into its project succeed again."""
    is_queueing: bool = False
    """It waits for its turn: that is not a delay, and the time that it has waited does not count as one."""
    needs_a_person: bool = False
    """It counts as delayed at once."""


WHAT_FOLLOWS: Mapping[HoldReason, Consequences] = {
    HoldReason.NEXT_ATTEMPT: Consequences(is_queueing=True),
    HoldReason.PAUSED: Consequences(is_queueing=True),
    HoldReason.NO_SLOT: Consequences(is_queueing=True),
    HoldReason.FOLDER_BUSY: Consequences(),
    HoldReason.THROTTLED: Consequences(),
    HoldReason.TOO_LATE: Consequences(),
    HoldReason.ICA_UNAVAILABLE: Consequences(holds_backlog=True),
    HoldReason.LOOKED_UP_ANEW: Consequences(),
    HoldReason.OUTAGE: Consequences(holds_backlog=True, ends_with_outage=True),
    HoldReason.BATCH_TOO_LARGE: Consequences(),
    HoldReason.LAUNCH_DIED: Consequences(),
    HoldReason.ANSWER_LOST: Consequences(),
    HoldReason.UNDECIDED: Consequences(needs_a_person=True),
    HoldReason.CANCELLED: Consequences(),
    HoldReason.LAUNCH_MESSAGE: Consequences(),
}
"""What follows from each reason. A held job that is queued waits for its ``due_at`` without a launch message."""

NOT_HELD = Consequences()
NEXT_ATTEMPT = Hold(HoldReason.NEXT_ATTEMPT, "its last attempt has ended; the next waits for a slot")


@dataclass(frozen=True, slots=True)
class Move:
    """An allowed change of a job's status: from any of ``sources`` to ``target``."""

    sources: tuple[JobStatus, ...]
    target: JobStatus


MOVES = {
    "claim_for_launch": Move((JobStatus.QUEUED,), JobStatus.LAUNCHING),
    "release": Move((JobStatus.LAUNCHING,), JobStatus.QUEUED),
    "mark_running": Move((JobStatus.LAUNCHING,), JobStatus.RUNNING),
    "requeue": Move((JobStatus.RUNNING,), JobStatus.QUEUED),
    "mark_passed": Move((JobStatus.RUNNING,), JobStatus.PASSED),
    "give_up": Move((JobStatus.LAUNCHING, JobStatus.RUNNING), JobStatus.FAILED),
    "cancel": Move((JobStatus.QUEUED, JobStatus.LAUNCHING), JobStatus.CANCELLED),
}
"""Every move a job can make. The table adapter has one conditional write of the same name for each."""


class Claim(Enum):
    """How ``claim_for_launch`` can end."""

    CLAIMED = "claimed"
    MOVED_ON = "moved on"
    """This attempt is not there to be launched."""
    NO_SLOT = "no slot"
    """As many ICA jobs as may be are in flight: in all, or into this project."""
    FOLDER_BUSY = "folder busy"
    """A job of another copy writes into the same folder."""
    STOPPED = "stopped"
    """Its copy, its project or everything is paused, or its copy was cancelled."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One ICA copy batch launched for a job, as it ended. Times are UTC, ISO 8601 with ``Z``.

    It had the sources of the job that no earlier one had copied, or a part of these (see ``Job.batch_limit``).
    """

    number: int
    outcome: str
    """ICA's job status; ``ALL_THERE`` or ``MISMATCH`` where the files say otherwise; ``REFUSED`` when it could not be
    launched."""
    ended_at: str
    queued_at: str | None = None
    claimed_at: str | None = None
    running_at: str | None = None
    ica_job_id: str | None = None
    ica_batch_id: str | None = None
    ica_created_at: str | None = None
    """When ICA created its job, as far as ICA says."""
    reason: str | None = None
    outcomes: tuple[SourceOutcome, ...] = ()
    """What became of the sources that this attempt did not copy, in the order of the job's sources."""
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Source → what its copy was, as far as that was found right. Only the attempt that ended its job has it."""
    held_for: str | None = None
    """Why the job waited before this attempt: the last ``HoldReason``; ``NO_SLOT`` where it just waited its turn."""

    @property
    def bytes_copied(self) -> int:
        """Bytes of the copies that were found right, as far as they are known."""
        return sum(each.size or 0 for each in self.fingerprints.values())

    @property
    def has_passed(self) -> bool:
        return self.outcome in ("SUCCEEDED", ALL_THERE)

    @property
    def without_sources(self) -> Attempt:
        """The same without what it says of each source, which may be much: 400 KB of a job with 1,000 sources."""
        return replace(self, outcomes=(), fingerprints={})


@dataclass(frozen=True, slots=True)
class OpenJob:
    """What the table's index of open jobs shows of a job: enough to say when it is due and whose turn it is.

    It may be some seconds old. ``attempt`` is the number of the one due or under way, from 1.
    """

    copy_id: str
    job_id: str
    status: JobStatus
    attempt: int
    destination: str = ""
    queued_at: str | None = None
    claimed_at: str | None = None
    running_at: str | None = None
    due_at: str | None = None
    """When the poller sees it next; None in a backlog, and once it has ended."""
    ica_project_id: str | None = None
    ica_job_id: str | None = None
    ica_batch_id: str | None = None
    undecided_since: str | None = None
    """Since when nobody can tell whether ICA has started a copy batch; a person has to decide."""
    hold: Hold | None = None
    """Why it did not move on. None of a queued job that is in a backlog, or whose launch message is under way."""

    @property
    def key(self) -> JobKey:
        return self.copy_id, self.job_id

    @property
    def held(self) -> Consequences:
        """What follows from its hold."""
        return WHAT_FOLLOWS[self.hold.reason] if self.hold else NOT_HELD

    @property
    def project(self) -> str:
        """The id of the destination's project."""
        return parse_uri(self.destination).project

    @property
    def status_since(self) -> str:
        """When it came into its status. For a queued job: since when it waits for anything but a slot."""
        since = {JobStatus.LAUNCHING: self.claimed_at, JobStatus.RUNNING: self.running_at}.get(self.status)
        return since or self.queued_at or ""


@dataclass(frozen=True, slots=True)
class OpenCopy:
    """What the table's index of what is open shows of a copy that is not published. It may be some seconds old."""

    copy_id: str
    submitted_at: str
    open_jobs: int
    settled_at: str | None = None
    """When its last job ended so far."""

    def is_unpublished(self, settled_before: datetime) -> bool:
        """Whether all of its jobs had ended before this moment."""
        return not self.open_jobs and self.settled_at is not None and self.settled_at < timestamp(settled_before)


@dataclass(frozen=True, slots=True)
class Job(OpenJob):
    """One destination folder and its sources, as its item has it."""

    sources: tuple[str, ...] = ()
    copied: frozenset[str] = frozenset()
    """The sources that earlier attempts have copied."""
    batch_limit: int | None = None
    """The most sources of its copy batches, once ICA has refused a larger one: it is copied part by part."""
    options: CopyOptions = field(default_factory=CopyOptions)
    attempts: tuple[Attempt, ...] = ()
    """The attempts that have ended, oldest first."""
    total_bytes: int | None = None
    """Bytes of the files among its sources, as its first launch found them; None before that."""
    held_for: str | None = None
    """Why it waited for its last launch message: see ``Attempt``."""
    former: tuple[Attempt, ...] = ()
    """The attempts of the job that it redrives: what they have left at ICA is its own to clear away."""
    ended_at: str | None = None
    ica_created_at: str | None = None
    """When ICA created this ICA job, as ICA shows it; the attempt keeps it when it ends."""
    lease_until: str | None = None
    """For a claimed job: by when its launch has ended, and ICA has carried out what it may have asked for."""
    intent: Intent | None = None
    """For a claimed job: what its launch will ask ICA for. Without it, nothing was asked for."""
    answer_lost_at: str | None = None
    """When the launch gave up waiting for ICA's answer."""
    mismatch_since: str | None = None
    """For a running job whose ICA job has ended: since when its files do not show as they should."""
    verified_up_to: str | None = None
    """How far its folder sources have been compared, if one poll is not enough for that."""
    deferrals: int = 0
    """How often its launch was deferred because ICA was unavailable; each deferral is longer."""
    reason: str | None = None
    redriven_as: str | None = None
    """Id of the copy that copies what this job has not: see ``Redrive``."""

    @property
    def uncopied(self) -> list[str]:
        """The sources that this attempt has to copy: the first part of those that no earlier one has copied."""
        return self._pending[: self.batch_limit]

    @property
    def later(self) -> list[str]:
        """The sources that are left to attempts after this one."""
        return self._pending[self.batch_limit :] if self.batch_limit else []

    @property
    def due_by_now(self) -> list[str]:
        """The sources that have to be there when this attempt has passed: its own, and those copied before."""
        later = set(self.later)
        return [source for source in self.sources if source not in later]

    @property
    def _pending(self) -> list[str]:
        """The sources that no attempt has copied. All of them, if an attempt failed that seems to have copied all."""
        return [source for source in self.sources if source not in self.copied] or list(self.sources)

    @property
    def left(self) -> list[str]:
        """The sources that a job which has failed or was cancelled has not copied, for a redrive.

        Its last attempt says so where it can. That leaves out what this attempt has copied itself, and has what an
        earlier one had copied and is not there any more.
        """
        if uncopied := {each.source for each in self.last_outcomes}:
            return [source for source in self.sources if source in uncopied]
        return self._pending

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed. Only these are limited in number; those that copied their part are not."""
        return sum(not each.has_passed for each in self.attempts)

    @property
    def tried(self) -> tuple[Attempt, ...]:
        """All attempts that have ended, also those of the job that this one redrives; oldest first."""
        return (*self.former, *self.attempts)

    @property
    def has_failed_before(self) -> bool:
        """Whether an attempt of it, or of the job that it redrives, has failed."""
        return bool(self.former) or self.failed_attempts > 0

    @property
    def ica_began_at(self) -> str | None:
        """When ICA created the first ICA job of this job: whatever this job has made was created later.

        None if ICA has not said.
        """
        created = [each.ica_created_at for each in self.tried if each.ica_job_id]
        return created[0] if created else self.ica_created_at

    @property
    def last_outcomes(self) -> list[SourceOutcome]:
        """What became of the sources that the last attempt to end did not copy, as far as ICA has said."""
        return list(self.attempts[-1].outcomes) if self.attempts else []

    @property
    def fingerprints(self) -> Mapping[str, Fingerprint]:
        """Source → what its copy was when the job ended, as far as that was found right."""
        return self.attempts[-1].fingerprints if self.attempts else {}

    def ended_attempt(
        self,
        outcome: str,
        reason: str | None,
        now: datetime,
        uncopied: Sequence[SourceOutcome] = (),
        fingerprints: Mapping[str, Fingerprint] | None = None,
    ) -> Attempt:
        """The attempt under way, as it ends now; with ``fingerprints`` where the job ends with it."""
        by_source = {each.source: each for each in uncopied}
        return Attempt(
            number=self.attempt,
            outcome=outcome,
            ended_at=timestamp(now),
            queued_at=self.queued_at,
            claimed_at=self.claimed_at,
            running_at=self.running_at,
            ica_job_id=self.ica_job_id,
            ica_batch_id=self.ica_batch_id,
            ica_created_at=self.ica_created_at,
            reason=reason and reason[:MAX_REASON_CHARACTERS],
            outcomes=tuple(by_source[source] for source in self.sources if source in by_source),
            fingerprints=fingerprints or {},
            held_for=self.held_for,
        )


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a launch message says: that this attempt of this job is due."""

    copy_id: str
    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Copy:
    """One submitted manifest: where it came from and how many of its jobs are still open."""

    copy_id: str
    digest: str
    """A hash of what is copied where and how: the same id with another digest is another copy."""
    submitted_at: str
    total_jobs: int
    open_jobs: int
    manifest_uri: str
    passed_jobs: int = 0
    failed_jobs: int = 0
    cancelled_jobs: int = 0
    passed_bytes: int = 0
    """Bytes of the jobs that have passed, as far as they are known."""
    status: CopyStatus = CopyStatus.OPEN
    task_tokens: frozenset[str] = frozenset()
    """Step Functions task tokens to answer when it settles."""
    project_names: Mapping[str, str] = field(default_factory=dict)
    """Project id → the client's spelling, if it is another: events use it (see ``as_spelled``)."""
    max_sources_per_job: int | None = None
    """The limit by which its jobs were planned: an ingest that died half way is finished with the same plan."""
    ingested_at: str | None = None
    """When all its jobs and backlogs were written."""
    settled_at: str | None = None
    """When a job last ended; once no job is open, when the copy settled."""
    published_at: str | None = None
    """When its last event was published."""
    delayed_at: str | None = None
    """When ``CopyDelayed`` was published."""
    paused_at: str | None = None
    """Since when it is paused, if it is."""
    resumed_at: str | None = None
    """When its last pause was ended, if it was ever paused itself."""
    cancelled_at: str | None = None
    """When it was cancelled."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What its client wants to know it by; in each of its events."""
    redrive_of: str | None = None
    """Id of the copy whose failed and cancelled jobs it does again."""
    redriven_as: frozenset[str] = frozenset()
    """Ids of the copies that do its failed and cancelled jobs again."""

    @property
    def is_settled(self) -> bool:
        return self.open_jobs == 0

    @property
    def is_published(self) -> bool:
        return self.status is not CopyStatus.OPEN

    @property
    def settled_status(self) -> CopyStatus:
        """What the copy is called once it has settled."""
        if self.cancelled_jobs:
            return CopyStatus.CANCELLED
        return CopyStatus.FAILED if self.failed_jobs else CopyStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class SubmittedCopy:
    """A copy as it was submitted, and stays: what the index of submissions holds of it."""

    copy_id: str
    submitted_at: str
    total_jobs: int
    tags: Mapping[str, str] = field(default_factory=dict)
    redrive_of: str | None = None


def job_id_of(number: int) -> str:
    """The id of a copy's job, numbered from 1: as text in the order of the numbers."""
    return f"{number:06d}"


def timestamp(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and ``Z``; sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
