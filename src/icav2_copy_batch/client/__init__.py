"""The Python client: ``CopyClient``, ``Manifest``, ``parse_event``, and what these return and raise."""

from icav2_copy_batch.client.answers import (
    AttemptSummary,
    Cancelled,
    Change,
    ChangedFile,
    CopySummary,
    FileSummary,
    HealthFinding,
    HoldSummary,
    JobSummary,
    LeftJob,
    Pause,
    Redriven,
    Subscribed,
    Verified,
)
from icav2_copy_batch.client.copies import CopyClient
from icav2_copy_batch.client.errors import (
    CopyBatchError,
    Invalid,
    NoSuchCopy,
    NoSuchJob,
    Refused,
    StackNotFound,
    Unavailable,
    WaitTimedOut,
)
from icav2_copy_batch.client.events import (
    CopyCancelled,
    CopyCompleted,
    CopyDelayed,
    CopyFailed,
    CopyRejected,
    CopyStarted,
    parse_event,
)
from icav2_copy_batch.client.logs import LogLine, Logs
from icav2_copy_batch.client.manifest import Manifest
from icav2_copy_batch.client.plan import Forecast, Plan, PlanFinding, PlannedCost, PlannedProject
from icav2_copy_batch.domain.problems import Problem

__all__ = [
    "AttemptSummary",
    "Cancelled",
    "Change",
    "ChangedFile",
    "CopyBatchError",
    "CopyCancelled",
    "CopyClient",
    "CopyCompleted",
    "CopyDelayed",
    "CopyFailed",
    "CopyRejected",
    "CopyStarted",
    "CopySummary",
    "FileSummary",
    "Forecast",
    "HealthFinding",
    "HoldSummary",
    "Invalid",
    "JobSummary",
    "LeftJob",
    "LogLine",
    "Logs",
    "Manifest",
    "NoSuchCopy",
    "NoSuchJob",
    "Pause",
    "Plan",
    "PlanFinding",
    "PlannedCost",
    "PlannedProject",
    "Problem",
    "Redriven",
    "Refused",
    "StackNotFound",
    "Subscribed",
    "Unavailable",
    "Verified",
    "WaitTimedOut",
    "parse_event",
]
