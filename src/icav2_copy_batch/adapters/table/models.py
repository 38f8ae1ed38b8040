"""The table's items and its indexes, as pynamodb models.

What is in an index cannot be changed once the table is deployed: DynamoDB adds no attribute to a projection.

What is paused or cancelled stands as two sets in the item that counts the slots. Each claim has a condition on that
item anyway, so that a claim after a pause or a cancel is refused, and costs nothing more.

See https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any, TypeVar

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.connection import Connection
from pynamodb.connection.base import MetaTable
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

M = TypeVar("M", bound=Model)
COPY_ITEM = "COPY"

JOB_PREFIX = "JOB#"

SOURCES_PREFIX = "SOURCES#"

BACKLOG_KEY = "#backlog"

WAITED_FOR_KEY = "#waited for"

SLOTS_KEY = ("#slots", "SLOTS")

SLOTS_PREFIX = "project "

PAUSED_KEY = "#paused"

PACE_KEY = ("#pace", "PACE")


class DueIndex(GlobalSecondaryIndex["JobItem"]):
    """What is open, by status and by when it is due; with what the poller needs to decide on a job.

    It shows ``OpenJob``'s fields of a job, and of a copy ``open_jobs``, ``settled_at`` and ``ingested_at``.
    """

    class Meta:
        index_name = "due"
        projection = IncludeProjection(
            [
                "job_id",
                "attempt",
                "destination",
                "queued_at",
                "claimed_at",
                "running_at",
                "ica_project_id",
                "ica_job_id",
                "ica_batch_id",
                "undecided_since",
                "hold_reason",
                "hold_detail",
                "open_jobs",
                "settled_at",
                "ingested_at",
            ]
        )

    status = UnicodeAttribute(hash_key=True)
    due_at = UnicodeAttribute(range_key=True)


class ListedIndex(GlobalSecondaryIndex["CopyItem"]):
    """Copies by when they were submitted, one partition a month: ``SubmittedCopy``.

    It shows only what never changes. So it costs one write a copy, and none when a job ends.
    """

    class Meta:
        index_name = "listed"
        projection = IncludeProjection(["total_jobs", "tags", "redrive_of"])

    listed = UnicodeAttribute(hash_key=True)
    submitted_at = UnicodeAttribute(range_key=True)


class AttemptMap(MapAttribute[str, Any]):
    number = NumberAttribute()
    outcome = UnicodeAttribute()
    ended_at = UnicodeAttribute()
    queued_at = UnicodeAttribute(null=True)
    claimed_at = UnicodeAttribute(null=True)
    running_at = UnicodeAttribute(null=True)
    ica_job_id = UnicodeAttribute(null=True)
    ica_batch_id = UnicodeAttribute(null=True)
    ica_created_at = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    packed_outcomes = BinaryAttribute(legacy_encoding=False, null=True)
    packed_fingerprints = BinaryAttribute(legacy_encoding=False, null=True)
    held_for = UnicodeAttribute(null=True)


class IntentMap(MapAttribute[str, Any]):
    asked_at = UnicodeAttribute()
    folder_id = UnicodeAttribute(null=True)
    count = NumberAttribute()
    digest = UnicodeAttribute()
    id_filter = BinaryAttribute(legacy_encoding=False)
    has_folders = BooleanAttribute()


class OptionsMap(MapAttribute[str, Any]):
    action_on_exist = UnicodeAttribute()
    copy_user_tags = BooleanAttribute()
    copy_technical_tags = BooleanAttribute()
    copy_instrument_info = BooleanAttribute()


class CopyItem(Model):
    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default=COPY_ITEM)
    status = UnicodeAttribute()
    due_at = UnicodeAttribute(null=True)
    digest = UnicodeAttribute()
    submitted_at = UnicodeAttribute()
    manifest_uri = UnicodeAttribute()
    total_jobs = NumberAttribute()
    open_jobs = NumberAttribute()
    passed_jobs = NumberAttribute()
    failed_jobs = NumberAttribute()
    cancelled_jobs = NumberAttribute(null=True)
    passed_bytes = NumberAttribute(null=True)
    task_tokens = UnicodeSetAttribute(null=True)
    project_names: MapAttribute[str, str] = MapAttribute(null=True)
    max_sources_per_job = NumberAttribute(null=True)
    ingested_at = UnicodeAttribute(null=True)
    settled_at = UnicodeAttribute(null=True)
    publishing_until = UnicodeAttribute(null=True)
    published_at = UnicodeAttribute(null=True)
    delayed_at = UnicodeAttribute(null=True)
    paused_at = UnicodeAttribute(null=True)
    resumed_at = UnicodeAttribute(null=True)
    cancelled_at = UnicodeAttribute(null=True)
    tags: MapAttribute[str, str] = MapAttribute(null=True)
    redrive_of = UnicodeAttribute(null=True)
    redriven_as = UnicodeSetAttribute(null=True)
    listed = UnicodeAttribute(null=True)
    """The month of its submission: see ``month_of``."""

    by_time = ListedIndex()


class JobItem(Model):
    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    job_id = UnicodeAttribute()
    status = UnicodeAttribute()
    due_at = UnicodeAttribute(null=True)
    attempt = NumberAttribute()
    destination = UnicodeAttribute()
    packed_sources = BinaryAttribute(legacy_encoding=False, null=True)
    copied = BinaryAttribute(legacy_encoding=False, null=True)
    batch_limit = NumberAttribute(null=True)
    options = OptionsMap(null=True)
    attempts = ListAttribute(of=AttemptMap, null=True)
    former = ListAttribute(of=AttemptMap, null=True)
    queued_at = UnicodeAttribute(null=True)
    claimed_at = UnicodeAttribute(null=True)
    running_at = UnicodeAttribute(null=True)
    ended_at = UnicodeAttribute(null=True)
    ica_project_id = UnicodeAttribute(null=True)
    ica_job_id = UnicodeAttribute(null=True)
    ica_batch_id = UnicodeAttribute(null=True)
    lease_until = UnicodeAttribute(null=True)
    intent = IntentMap(null=True)
    answer_lost_at = UnicodeAttribute(null=True)
    undecided_since = UnicodeAttribute(null=True)
    mismatch_since = UnicodeAttribute(null=True)
    verified_up_to = UnicodeAttribute(null=True)
    hold_reason = UnicodeAttribute(null=True)
    hold_detail = UnicodeAttribute(null=True)
    held_for = UnicodeAttribute(null=True)
    total_bytes = NumberAttribute(null=True)
    deferrals = NumberAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    redriven_as = UnicodeAttribute(null=True)
    open_jobs = NumberAttribute(null=True)  # a copy's, as read through the index; so are the next two
    settled_at = UnicodeAttribute(null=True)
    ingested_at = UnicodeAttribute(null=True)

    due = DueIndex()


class SourcesItem(Model):
    """The sources of a job that has many: written once."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    packed_sources = BinaryAttribute(legacy_encoding=False)


class LeaseItem(Model):
    """Who may do something that only one may do at a time, and until when."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="LEASE")
    owner = UnicodeAttribute()
    until = UnicodeAttribute()


class SlotsItem(Model):
    """How many slots are in use, in all and by project (see ``SLOTS_PREFIX``), and what is paused or cancelled."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True, default=SLOTS_KEY[0])
    item = UnicodeAttribute(range_key=True, default=SLOTS_KEY[1])
    in_use = NumberAttribute(null=True)
    paused = UnicodeSetAttribute(null=True)
    """The subjects of all pauses."""
    cancelled = UnicodeSetAttribute(null=True)
    """Ids of cancelled copies of which jobs may still be open."""


class PausedItem(Model):
    """A pause, for people: who has paused what, since when and why; and when the last one of a subject was ended."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True, default=PAUSED_KEY)
    item = UnicodeAttribute(range_key=True)
    """Its subject."""
    since = UnicodeAttribute()
    resumed_at = UnicodeAttribute(null=True)
    """When it was ended: what it had kept from being launched is not late yet. Of a copy the copy's item has this."""
    by = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)


class WaitedForItem(Model):
    """Notes that Step Functions tasks wait for a copy: the poller sends them heartbeats."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True, default=WAITED_FOR_KEY)
    item = UnicodeAttribute(range_key=True)
    """The copy's id."""
    beaten_at = UnicodeAttribute(null=True)


class OutcomesItem(Model):
    """How the last attempts into a project have ended."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="OUTCOMES")
    recent = UnicodeAttribute()
    last_at = UnicodeAttribute()


class PaceItem(Model):
    """How fast all functions together may call ICA, once it has answered 429."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True, default=PACE_KEY[0])
    item = UnicodeAttribute(range_key=True, default=PACE_KEY[1])
    low = NumberAttribute()
    ceiling = NumberAttribute(null=True)
    answered = NumberAttribute()
    lowered_at = NumberAttribute()  # seconds since 1970, with more places than a timestamp has; so is the next
    next_at = NumberAttribute()
    serial = NumberAttribute()
    expires_at = NumberAttribute()


class FolderItem(Model):
    """A destination folder: whose jobs write into it, and which these are."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="FOLDER")
    holder = UnicodeAttribute()
    jobs = UnicodeSetAttribute(null=True)
    left_at = UnicodeAttribute(null=True)
    """When a job last gave the folder back."""
    expires_at = NumberAttribute()


class BacklogItem(Model):
    """The jobs of a copy into one project that had no launch message yet."""

    class Meta:
        table_name = "see _bound"

    copy_id = UnicodeAttribute(hash_key=True, default=BACKLOG_KEY)
    item = UnicodeAttribute(range_key=True)
    of_copy = UnicodeAttribute()
    project = UnicodeAttribute()
    next_number = NumberAttribute()
    last_number = NumberAttribute()
    since = UnicodeAttribute()


def month_of(moment: str) -> str:
    """The partition of the index ``listed`` for a timestamp: ``2026-11``."""
    return moment[:7]


def _bound(item_class: type[M], table_name: str) -> type[M]:
    """The class, reading and writing the table of this name."""
    meta = type("Meta", (), {"table_name": table_name})
    bound: type[M] = types.new_class(item_class.__name__, (item_class,), exec_body=lambda body: body.update(Meta=meta))
    return bound


class Models:
    """The classes of all items, bound to one table. They share one connection, and so one client."""

    def __init__(self, table_name: str) -> None:
        self.table_name = table_name
        self.copy = _bound(CopyItem, table_name)
        self.job = _bound(JobItem, table_name)
        self.sources = _bound(SourcesItem, table_name)
        self.lease = _bound(LeaseItem, table_name)
        self.slots = _bound(SlotsItem, table_name)
        self.paused = _bound(PausedItem, table_name)
        self.waited_for = _bound(WaitedForItem, table_name)
        self.outcomes = _bound(OutcomesItem, table_name)
        self.pace = _bound(PaceItem, table_name)
        self.folder = _bound(FolderItem, table_name)
        self.backlog = _bound(BacklogItem, table_name)
        self.connection = _shared_connection(item for item in vars(self).values() if isinstance(item, type))


def _shared_connection(item_classes: Iterable[type[Model]]) -> Connection:
    """Give these classes of one table one connection: pynamodb makes one for each, with a client, which takes long."""
    tables = [item_class._get_connection() for item_class in item_classes]
    described = [table.get_meta_table().data for table in tables]
    attributes = {each["AttributeName"]: each for data in described for each in data["AttributeDefinitions"]}
    indexes = [index for data in described for index in data["GlobalSecondaryIndexes"]]
    connection = Connection()
    connection.add_meta_table(
        MetaTable(
            {**described[0], "AttributeDefinitions": list(attributes.values()), "GlobalSecondaryIndexes": indexes}
        )
    )
    for table in tables:
        table.connection = connection
    return connection
