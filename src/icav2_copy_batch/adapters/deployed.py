"""What AWS says of the stack's own resources: queues, alarms, the poller's schedule, the event bus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from icav2_copy_batch.adapters.aws import client_of
from icav2_copy_batch.domain.deployed import Alarm, Messages
from icav2_copy_batch.domain.job import timestamp

PERIOD_SECONDS = 60
GONE = ("ResourceNotFoundException", "ResourceNotFound", "NotFound", "NotFoundException")
"""AWS's codes for what is not there."""


class DeployedStack:
    """The port ``DeployedStack``; it changes nothing. Each method raises botocore's errors."""

    @cached_property
    def _sqs(self) -> Any:
        return client_of("sqs")

    @cached_property
    def _cloudwatch(self) -> Any:
        return client_of("cloudwatch")

    @cached_property
    def _events(self) -> Any:
        return client_of("events")

    @cached_property
    def _sns(self) -> Any:
        return client_of("sns")

    def messages(self, queue_url: str) -> Messages:
        """About how many messages a queue has."""
        names = {"waiting": "ApproximateNumberOfMessages", "in_flight": "ApproximateNumberOfMessagesNotVisible"}
        answer = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(names.values()))
        return Messages(**{key: int(answer["Attributes"][name]) for key, name in names.items()})

    def ages(self, queue_urls: Sequence[str], since: datetime, until: datetime) -> Mapping[str, float]:
        """The age in seconds of the oldest message of each queue, as far as CloudWatch has measured it in that time."""
        queries = [
            _query(number, "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue_name(url), "Maximum")
            for number, url in enumerate(queue_urls)
        ]
        found = self._measured(queries, since, until)
        return {url: found[number][-1][1] for number, url in enumerate(queue_urls) if found.get(number)}

    def last_run(self, function: str, since: datetime, until: datetime) -> datetime | None:
        """The last minute of that time in which a function was called; None where CloudWatch has counted no call."""
        query = _query(0, "AWS/Lambda", "Invocations", "FunctionName", function, "Sum")
        calls = [at for at, value in self._measured([query], since, until).get(0, []) if value]
        return calls[-1] if calls else None

    def alarms(self, names: Sequence[str]) -> list[Alarm]:
        """Those of these alarms that are there."""
        answer = self._cloudwatch.describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm"])
        return [
            Alarm(
                name=each["AlarmName"],
                rings=each["StateValue"] == "ALARM",
                since=timestamp(each["StateUpdatedTimestamp"]) if "StateUpdatedTimestamp" in each else None,
                means=each.get("AlarmDescription", ""),
                tells=tuple(each.get("AlarmActions", ())) if each.get("ActionsEnabled", True) else (),
            )
            for each in answer["MetricAlarms"]
        ]

    def listeners(self, topic_arn: str) -> int | None:
        """How many of a topic's first 100 subscriptions are confirmed; None where there is no such topic."""
        answer = _unless_gone(lambda: self._sns.list_subscriptions_by_topic(TopicArn=topic_arn))
        return sum(each["SubscriptionArn"].startswith("arn:") for each in answer["Subscriptions"]) if answer else None

    def rule_is_enabled(self, name: str) -> bool | None:
        """Whether a rule of EventBridge is enabled; None where there is no such rule."""
        answer = _unless_gone(lambda: self._events.describe_rule(Name=name))
        return answer["State"] == "ENABLED" if answer else None

    def bus_is_there(self, name: str) -> bool:
        """Whether there is an event bus of that name."""
        return _unless_gone(lambda: self._events.describe_event_bus(Name=name)) is not None

    def _measured(
        self, queries: Iterable[dict[str, Any]], since: datetime, until: datetime
    ) -> dict[int, list[tuple[datetime, float]]]:
        """The values of each query, the oldest first. CloudWatch charges by the query: $0.01 for a thousand."""
        answer = self._cloudwatch.get_metric_data(
            MetricDataQueries=list(queries), StartTime=since, EndTime=until, ScanBy="TimestampAscending"
        )
        return {
            int(each["Id"].removeprefix("q")): sorted(zip(each["Timestamps"], each["Values"], strict=True))
            for each in answer["MetricDataResults"]
        }


def queue_name(queue_url: str) -> str:
    """The name of a queue, which is the end of its URL."""
    return queue_url.rpartition("/")[2]


def _query(number: int, namespace: str, metric: str, dimension: str, of: str, statistic: str) -> dict[str, Any]:
    described = {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": of}]}
    return {"Id": f"q{number}", "MetricStat": {"Metric": described, "Period": PERIOD_SECONDS, "Stat": statistic}}


def _unless_gone(ask: Callable[[], Any]) -> Any:
    """What AWS answers; None where what was asked for is not there."""
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"].get("Code") in GONE:
            return None
        raise
