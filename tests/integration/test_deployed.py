"""What AWS says of the stack's own resources, on moto."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from icav2_copy_batch.adapters.deployed import DeployedStack
from icav2_copy_batch.domain.deployed import Alarm, Messages
from tests.integration import clients
from tests.integration.aws_calls import AwsCalls, xml_answer

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
AGO = NOW - timedelta(hours=1)


@pytest.fixture
def deployed(aws: AwsCalls) -> DeployedStack:
    return DeployedStack()


def measure(namespace: str, metric: str, dimension: tuple[str, str], *values: tuple[float, float]) -> None:
    """Have CloudWatch measure this: so many minutes ago, a value."""
    data = [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": dimension[0], "Value": dimension[1]}],
            "Timestamp": NOW - timedelta(minutes=minutes),
            "Value": value,
        }
        for minutes, value in values
    ]
    boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)


def test_the_messages_of_a_queue_are_counted(deployed: DeployedStack) -> None:
    url = clients.sqs().create_queue(QueueName="dead")["QueueUrl"]
    assert deployed.messages(url) == Messages(0)
    for _ in range(3):
        clients.sqs().send_message(QueueUrl=url, MessageBody="x")
    clients.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=1)
    assert deployed.messages(url) == Messages(2, 1)


def test_ages_are_those_that_were_measured_last(deployed: DeployedStack, aws: AwsCalls) -> None:
    measure("AWS/SQS", "ApproximateAgeOfOldestMessage", ("QueueName", "one"), (9, 500), (2, 40), (5, 300))
    measure("AWS/SQS", "ApproximateAgeOfOldestMessage", ("QueueName", "late"), (90, 500))
    urls = [f"https://sqs/123/{name}" for name in ("one", "late", "none")]
    assert deployed.ages(urls, AGO, NOW) == {"https://sqs/123/one": 40}
    assert aws.count("GetMetricData") == 1


def test_the_last_run_is_the_last_minute_with_a_call(deployed: DeployedStack) -> None:
    assert deployed.last_run("poll", AGO, NOW) is None
    measure("AWS/Lambda", "Invocations", ("FunctionName", "poll"), (30, 1), (7, 2), (3, 0))
    assert deployed.last_run("poll", AGO, NOW) == NOW - timedelta(minutes=7)


def test_alarms_are_those_of_the_stack_with_whom_they_tell(deployed: DeployedStack) -> None:
    cloudwatch = boto3.client("cloudwatch")
    for name in ("a", "b", "c", "of-others"):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            AlarmDescription=f"{name} is wrong",
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[] if name == "c" else ["arn:aws:sns:us-east-1:123456789012:topic"],
            ActionsEnabled=name != "b",
        )
    cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="test")
    first, second, third = deployed.alarms(["a", "b", "c", "gone"])
    assert first.since
    assert first == Alarm("a", True, first.since, "a is wrong", ("arn:aws:sns:us-east-1:123456789012:topic",))
    assert [(each.name, each.rings, each.tells) for each in (second, third)] == [("b", False, ()), ("c", False, ())]


def test_the_listeners_of_a_topic_are_counted(deployed: DeployedStack) -> None:
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    assert deployed.listeners(topic) == 0
    clients.sqs().create_queue(QueueName="ears")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:ears")
    assert deployed.listeners(topic) == 1
    assert deployed.listeners(f"{topic}-gone") is None


def test_who_has_not_confirmed_a_subscription_hears_nothing(deployed: DeployedStack, aws: AwsCalls) -> None:
    members = "".join(
        f"<member><SubscriptionArn>{arn}</SubscriptionArn></member>" for arn in ("PendingConfirmation", "arn:aws:sns:x")
    )
    listed = (
        f"<ListSubscriptionsByTopicResult><Subscriptions>{members}</Subscriptions></ListSubscriptionsByTopicResult>"
    )
    body = f"<ListSubscriptionsByTopicResponse>{listed}</ListSubscriptionsByTopicResponse>"
    aws.answer("ListSubscriptionsByTopic", lambda request: xml_answer(request, 200, body))
    assert deployed.listeners("arn:aws:sns:us-east-1:123456789012:alarms") == 1


def test_a_rule_is_enabled_or_not_or_not_there(deployed: DeployedStack) -> None:
    assert deployed.rule_is_enabled("rule") is None
    clients.events().put_rule(Name="rule", EventPattern=json.dumps({"source": ["x"]}))
    assert deployed.rule_is_enabled("rule") is True
    clients.events().disable_rule(Name="rule")
    assert deployed.rule_is_enabled("rule") is False


def test_a_bus_is_there_or_not(deployed: DeployedStack) -> None:
    assert deployed.bus_is_there("default")
    assert not deployed.bus_is_there("mine")


def test_what_may_not_be_looked_at_is_no_answer(deployed: DeployedStack, aws: AwsCalls) -> None:
    aws.refuse("DescribeRule", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        deployed.rule_is_enabled("rule")
