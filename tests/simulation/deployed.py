"""What ``template.yaml`` says of the functions, queues and schedules that are simulated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.integration.template import properties, template

FUNCTIONS = ("ingest", "launch", "poll", "notify", "publish")


def _source(function: str, event: str) -> dict[str, Any]:
    """What feeds a function."""
    found: dict[str, Any] = properties(f"{function.title()}Function")["Events"][event]["Properties"]
    return found


@dataclass(frozen=True)
class Feed:
    """A queue that feeds a function."""

    function: str
    batch_size: int
    concurrency: int
    visibility_seconds: float
    max_receives: int
    """A message that has failed so often is a dead letter, or has grown older than its queue keeps it."""

    @classmethod
    def of(cls, function: str, event: str, concurrency: int | None = None) -> Feed:
        """``concurrency`` stands for the template's, where that is a parameter."""
        source = _source(function, event)
        queue = properties(source["Queue"]["GetAtt"].removesuffix(".Arn"))
        kept_for = queue["MessageRetentionPeriod"] // queue["VisibilityTimeout"]
        return cls(
            function=function,
            batch_size=source["BatchSize"],
            concurrency=concurrency or source["ScalingConfig"]["MaximumConcurrency"],
            visibility_seconds=queue["VisibilityTimeout"],
            max_receives=queue.get("RedrivePolicy", {}).get("maxReceiveCount", kept_for),
        )


TIMEOUTS = {name: float(properties(f"{name.title()}Function")["Timeout"]) for name in FUNCTIONS}
TICK_SECONDS = 60.0 * int(re.findall(r"rate\((\d+) minutes?\)", _source("poll", "EveryMinute")["Schedule"])[0])
STREAM_RETRIES = int(_source("publish", "Settled")["MaximumRetryAttempts"])
DELAYED_AFTER = timedelta(minutes=template()["Parameters"]["DelayedAfterMinutes"]["Default"])
