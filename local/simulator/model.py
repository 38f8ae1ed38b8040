"""What ICA is made of: projects, files and folders, copy batches, jobs, and the words for their states."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Literal

JOB_STATUS_CHANGED = "ICA_JOB_001"


class JobStatus(StrEnum):
    """ICA's states of a job, in the order it passes through them; the last four are final."""

    INITIALIZED = "INITIALIZED"
    WAITING_FOR_RESOURCES = "WAITING_FOR_RESOURCES"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        return self in {self.STOPPED, self.SUCCEEDED, self.PARTIALLY_SUCCEEDED, self.FAILED}


class ItemStatus(StrEnum):
    """ICA's states of one source in a copy batch."""

    QUEUED = "QUEUED"
    COPYING = "COPYING"
    COPIED = "COPIED"
    PARTIALLY_COPIED = "PARTIALLY_COPIED"
    FAILED = "FAILED"


class DataStatus(StrEnum):
    """ICA's states of a file or folder."""

    PARTIAL = "PARTIAL"
    AVAILABLE = "AVAILABLE"
    ARCHIVING = "ARCHIVING"
    ARCHIVED = "ARCHIVED"
    UNARCHIVING = "UNARCHIVING"
    DELETING = "DELETING"


class ActionOnExist(StrEnum):
    """What a copy batch does about a file which is there already."""

    OVERWRITE = "OVERWRITE"
    SKIP = "SKIP"
    RENAME = "RENAME"


class IcaError(Exception):
    """ICA's own error answer: its HTTP status, why, and the code where one has been seen in the wild."""

    def __init__(self, status: int, detail: str, title: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.title = title or f"ICA_API_{status}"


@dataclass(frozen=True)
class Project:
    serial: int
    id: str
    name: str
    created: datetime


@dataclass(eq=False)
class Datum:
    """A file, or a folder if its path ends in a slash; `writer` is the live job which is filling it."""

    serial: int
    id: str
    project_id: str
    parent_id: str
    path: str
    status: DataStatus
    size: int
    etag: str | None
    created: datetime
    modified: datetime
    writer: str | None = None
    strangers: bool = False
    """Somebody else is uploading it, so that nobody may delete it."""

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Outcome:
    """How a copy job is to end: `RUNNING` and the states before it mean that it stays there for ever.

    `damage` spoils the first file of a job although it SUCCEEDED, as only a look at the files can tell.
    """

    status: JobStatus
    seconds: float | None = None
    damage: Literal["none", "partial", "missing", "wrong_size"] = "none"


@dataclass
class Script:
    """Outcomes of the next copy jobs into one folder, in order; afterwards chance decides again."""

    outcomes: list[Outcome]
    repeat_last: bool = False

    def next(self) -> Outcome | None:
        if len(self.outcomes) == 1 and self.repeat_last:
            return self.outcomes[0]
        return self.outcomes.pop(0) if self.outcomes else None


@dataclass(frozen=True)
class BatchItem:
    data_id: str


@dataclass(frozen=True)
class BatchRequest:
    """The body of dataCopyBatch."""

    items: list[BatchItem]
    copy_user_tags: bool
    copy_technical_tags: bool
    copy_instrument_info: bool
    action_on_exist: ActionOnExist
    destination_folder_id: str | None = None


@dataclass(eq=False)
class Item:
    """One source of a batch; `made` is the file or folder it became."""

    serial: int
    id: str
    source: Datum
    status: ItemStatus = ItemStatus.QUEUED
    reason: str | None = None
    made: Datum | None = None


@dataclass(eq=False)
class Copy:
    """One file or folder to be made by a job, `below` the destination folder."""

    item: Item
    source: Datum
    below: str
    target: Datum | None = None
    skipped: bool = False
    reason: str | None = None


@dataclass(eq=False)
class Job:
    """A copy batch and the job that carries it out; ICA has one of each, with two ids."""

    serial: int
    id: str
    batch_id: str
    subject_id: str
    project: Project
    folder: Datum | None
    request: BatchRequest
    items: list[Item]
    copies: list[Copy]
    outcome: Outcome
    rng: Random
    created: datetime
    subject_type: str | None = None
    """Of another kind of job than a copy job."""
    strangers: bool = False
    """Somebody else has started it."""
    status: JobStatus = JobStatus.INITIALIZED
    reason: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    history: list[tuple[JobStatus, datetime]] = field(default_factory=list)
    claims: list[tuple[str, str]] = field(default_factory=list)

    @property
    def folder_path(self) -> str:
        return self.folder.path if self.folder else "/"


@dataclass(frozen=True)
class ChannelRequest:
    """The body of notificationChannels."""

    enabled: bool
    type: Literal["MAIL", "SQS", "SNS", "HTTP"]
    address: str
    aws_region: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChannelUpdate(ChannelRequest):
    """The body with which a channel is updated: all of it, as it was read. Its type stays as it is."""

    id: str
    time_created: str
    time_modified: str
    owner_id: str
    tenant_id: str
    tenant_name: str | None = None
    application: str | None = None


@dataclass(eq=False)
class Channel:
    id: str
    asked: ChannelRequest
    created: datetime


@dataclass(frozen=True)
class SubscriptionRequest:
    """The body of notificationSubscriptions; the filter is kept but not applied."""

    enabled: bool
    event_code: str
    notification_channel_id: str
    filter_expression: str | None = None
    payload_version: str | None = None


@dataclass(frozen=True)
class SubscriptionUpdate:
    """The body with which a subscription is updated: all of it, as it was read."""

    enabled: bool
    event_code: str
    notification_channel: ChannelUpdate
    id: str
    time_created: str
    time_modified: str
    owner_id: str
    tenant_id: str
    tenant_name: str | None = None
    filter_expression: str | None = None
    payload_version: str | None = None
    application: str | None = None


@dataclass(eq=False)
class Subscription:
    id: str
    project_id: str
    channel: Channel
    asked: SubscriptionRequest
    created: datetime

    @property
    def wants_jobs(self) -> bool:
        active = self.asked.enabled and self.channel.asked.enabled and self.channel.asked.type == "SQS"
        return active and self.asked.event_code == JOB_STATUS_CHANGED


@dataclass(frozen=True)
class Notice:
    """A change of a job's status on its way to a queue, with the job as it was then."""

    id: str
    queue_url: str
    job: Job
    at: datetime


@dataclass(frozen=True)
class Violation:
    """Something no careful client does, although ICA lets it."""

    kind: Literal["two_writers", "deleted_while_written", "deleted_of_others"]
    project: str
    path: str
    jobs: list[str]
    at: datetime


@dataclass(eq=False)
class PendingFolder:
    """A createFolder under way, with the paths which no other may create meanwhile."""

    project_id: str
    path: str
    parent: Datum | None
    paths: list[str]
