"""The functions' log lines about a copy, by CloudWatch Logs Insights, with the rights of who asks.

Insights filters; what it returns is filtered here once more, since a local AWS passes everything on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from icav2_copy_batch.client.aws import TRY_AGAIN, Aws, asked, code_of
from icav2_copy_batch.client.errors import Refused, Unavailable
from icav2_copy_batch.client.waiting import Time

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import ResultFieldTypeDef

FUNCTIONS = ("ingest", "launch", "poll", "notify", "publish", "control")
"""The functions in the order in which the stack's output ``LogGroupNames`` has their log groups."""
MOST_LINES = 10_000
"""So many lines one query returns, https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatchlogs_quotas.html."""
GIVE_UP_SECONDS = 120.0
FIRST_PAUSE, LONGEST_PAUSE, PAUSES_GROW = 0.25, 4.0, 1.5
"""Seconds between two looks at a query that runs."""
RUNNING = ("Scheduled", "Running")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a function has logged."""

    at: str
    function: str
    """``ingest``, ``launch``, ``poll``, ``notify``, ``publish`` or ``control``."""
    document: Mapping[str, Any]
    """All that was logged, with ``level`` and ``message``."""

    @property
    def job_id(self) -> str | None:
        return self.document.get("job_id")


@dataclass(frozen=True, slots=True)
class Logs:
    """Log lines, the oldest first."""

    lines: tuple[LogLine, ...]
    is_cut: bool = False
    """Whether there are older ones that were left out."""


@dataclass(frozen=True, slots=True)
class Insights:
    """Queries over the log groups of a stack's functions."""

    aws: Aws
    groups: Mapping[str, str]
    """Log group → function."""
    time: Time

    @classmethod
    def of(cls, aws: Aws, group_names: str, time: Time) -> Insights:
        """By the stack's output ``LogGroupNames``."""
        return cls(aws, dict(zip(group_names.split(","), FUNCTIONS, strict=False)), time)

    def about(self, copy_id: str, job_id: str | None, since: datetime, until: datetime, limit: int) -> Logs:
        """The newest lines about a copy, or about one of its jobs. Raises ``Refused`` and ``Unavailable``."""
        of_job = f' and @message like /"{job_id}"/' if job_id else ""
        query = f'fields @timestamp, @log, @message | filter copy_id = "{copy_id}"{of_job} | sort @timestamp desc'
        rows = self._run(query, since, until)
        lines = [line for row in rows if (line := self._read(row)) and _is_about(line, copy_id, job_id)]
        is_cut = len(rows) >= MOST_LINES or len(lines) > limit
        oldest_first = reversed(lines[:limit])  # also of those of one millisecond
        return Logs(tuple(sorted(oldest_first, key=lambda line: line.at)), is_cut)

    def _run(self, query: str, since: datetime, until: datetime) -> Sequence[Sequence[ResultFieldTypeDef]]:
        with asked("start a query of CloudWatch Logs Insights"):
            try:
                query_id = self.aws.logs.start_query(
                    logGroupNames=list(self.groups),
                    startTime=int(since.timestamp()),
                    endTime=int(until.timestamp()) + 1,
                    queryString=query,
                    limit=MOST_LINES,
                )["queryId"]
            except ClientError as error:
                if code_of(error) == "MalformedQueryException" and "retention" in str(error):
                    raise Refused("the logs of that time are not kept any more (LogRetentionDays)") from None
                raise
        return list(self._results(query_id))

    def _results(self, query_id: str) -> Iterator[Sequence[ResultFieldTypeDef]]:
        """The rows of a query, once it has ended. Raises ``Unavailable`` where it does not, in time or at all."""
        began, pause = self.time.monotonic(), FIRST_PAUSE
        with asked("return the results of a query"):
            while (answer := self.aws.logs.get_query_results(queryId=query_id))["status"] in RUNNING:
                if self.time.monotonic() - began > GIVE_UP_SECONDS:
                    self.aws.logs.stop_query(queryId=query_id)
                    narrow = "ask for less with --since, or try again"
                    raise Unavailable(f"a query of the logs did not end within {GIVE_UP_SECONDS:.0f} s", narrow)
                self.time.sleep(pause)
                pause = min(pause * PAUSES_GROW, LONGEST_PAUSE)
            if answer["status"] != "Complete":
                raise Unavailable(f"a query of the logs has ended as {answer['status']}", TRY_AGAIN)
            yield from answer["results"]
            while token := answer.get("nextToken"):
                answer = self.aws.logs.get_query_results(queryId=query_id, nextToken=token)
                yield from answer["results"]

    def _read(self, row: Iterable[ResultFieldTypeDef]) -> LogLine | None:
        """A row as a line; None for what is not one of ours, such as Lambda's own."""
        cells = {cell.get("field", ""): cell.get("value", "") for cell in row}
        try:
            document = json.loads(cells.get("@message", ""))
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        group = cells.get("@log", "").rpartition(":")[2]
        return LogLine(_moment(cells.get("@timestamp", "")), self.groups.get(group, group), document)


def _is_about(line: LogLine, copy_id: str, job_id: str | None) -> bool:
    """Whether a line names the copy and, if asked, the job, alone or among others."""
    if line.document.get("copy_id") != copy_id:
        return False
    jobs = line.document.get("jobs")  # some lines name several; others say how many
    return job_id is None or line.job_id == job_id or (isinstance(jobs, list) and job_id in jobs)


def _moment(text: str) -> str:
    """Insights' ``2026-11-26 01:00:00.123``, which is UTC, in ISO 8601."""
    return f"{text.replace(' ', 'T')}Z"
