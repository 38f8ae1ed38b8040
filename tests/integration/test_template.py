"""What the template promises, where the local AWS would not notice that it is broken."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.adapters.ica import TOKEN_REFUSED
from icav2_copy_batch.adapters.table import FolderItem
from icav2_copy_batch.domain.slots import Slots
from icav2_copy_batch.handlers import poll, wiring
from tests.integration.template import environment, properties, template

FUNCTIONS = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
QUEUES = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::SQS::Queue"}
ALARMS = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}


@pytest.mark.parametrize(
    ("function", "queue"), [("Ingest", "Ingest"), ("Launch", "Launch"), ("Notify", "Notification")]
)
def test_a_queue_hides_a_message_for_six_times_as_long_as_its_function_may_run(function: str, queue: str) -> None:
    timeout = properties(f"{function}Function")["Timeout"]
    assert properties(f"{queue}Queue")["VisibilityTimeout"] >= 6 * timeout


@pytest.mark.parametrize("function", ["Ingest", "Launch", "Complete"])
def test_functions_fed_in_batches_answer_with_the_failures_alone(function: str) -> None:
    (event,) = properties(f"{function}Function")["Events"].values()
    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_stream_is_filtered_bounded_and_has_a_dead_letter_queue() -> None:
    settled = properties("CompleteFunction")["Events"]["Settled"]["Properties"]
    (pattern,) = settled["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"])["dynamodb"]["NewImage"] == {"open_jobs": {"N": ["0"]}}
    assert settled["BisectBatchOnFunctionError"] is True
    assert 0 < settled["MaximumRetryAttempts"] < 100
    assert settled["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "CompleteDeadLetterQueue.Arn"}


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_every_queue_is_encrypted_and_keeps_messages_for_14_days(queue: str) -> None:
    """But for notifications: those are hints, and no longer worth anything after an hour."""
    assert properties(queue)["SqsManagedSseEnabled"] is True
    assert properties(queue)["MessageRetentionPeriod"] == 60 * 60 * (1 if queue == "NotificationQueue" else 14 * 24)


def test_ica_may_send_to_the_notification_queue_whose_address_is_short() -> None:
    (statement,) = properties("NotificationQueuePolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sqs:SendMessage")
    assert "IcaAwsAccountId" in str(statement["Principal"])
    name = properties("NotificationQueue")["QueueName"]["Sub"].replace("${AWS::StackName}", "icav2-copy-batch")
    assert len(f"https://sqs.ap-southeast-2.amazonaws.com/123456789012/{name}") <= 100


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_every_queue_is_published_by_url_and_arn(queue: str) -> None:
    assert {f"{queue}Url", f"{queue}Arn"} <= template()["Outputs"].keys()
    assert properties(f"{queue}UrlParameter")["Name"] == {"Sub": f"${{SsmPrefix}}/{queue}Url"}
    assert properties(f"{queue}ArnParameter")["Name"] == {"Sub": f"${{SsmPrefix}}/{queue}Arn"}


@pytest.mark.parametrize("resource", ["CopyTable", "ManifestBucket"])
def test_what_cannot_be_made_again_is_retained(resource: str) -> None:
    assert template()["Resources"][resource]["DeletionPolicy"] == "Retain"
    assert template()["Resources"][resource]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_closed_to_the_public_and_to_plain_http() -> None:
    assert set(properties("ManifestBucket")["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = properties("ManifestBucketPolicy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"]["Bool"] == {"aws:SecureTransport": "false"}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_has_a_log_group_with_retention_of_its_own(function: str) -> None:
    group = properties(function)["LoggingConfig"]["LogGroup"]["Ref"]
    assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize("alarm", sorted(ALARMS))
def test_every_alarm_tells_the_topic_and_says_what_is_the_matter(alarm: str) -> None:
    described = properties(alarm)
    assert described["AlarmDescription"]
    assert "AlarmTopicArn" in str(described["AlarmActions"])


OUR_ALARMS = {
    "JobsFailedAlarm",
    "JobsDelayedAlarm",
    "JobsNotMovedAlarm",
    "UnknownStatusAlarm",
    "CopiesNotAnnouncedAlarm",
    "LaunchesUndecidedAlarm",
}


def test_the_alarms_on_metrics_of_ours_are_these() -> None:
    """That on refused tokens is on a metric which is made of the logs."""
    ours = {alarm for alarm in ALARMS if properties(alarm)["Namespace"] == wiring.SERVICE}
    assert ours == OUR_ALARMS | {"TokenRefusedAlarm"}


@pytest.mark.parametrize("alarm", sorted(OUR_ALARMS))
def test_every_alarm_on_a_metric_of_ours_is_on_one_that_is_emitted(alarm: str) -> None:
    assert properties(alarm)["MetricName"] in poll.METRICS.values()
    assert properties(alarm)["Namespace"] == wiring.SERVICE
    assert properties(alarm)["Dimensions"] == [{"Name": "service", "Value": wiring.SERVICE}]


@pytest.mark.parametrize("function", ["Launch", "Notify", "Poll"])
def test_a_refused_token_is_counted_by_the_very_text_that_is_logged(function: str) -> None:
    described = properties(f"{function}TokenRefusedMetric")
    assert described["LogGroupName"] == {"Ref": f"{function}Logs"}
    assert re.findall('"(.*)"', described["FilterPattern"]) == [TOKEN_REFUSED]


def test_the_settings_are_the_templates_parameters() -> None:
    references = dict.fromkeys(
        ["CopyTable", "ManifestBucket", "LaunchQueue", "IngestQueue", "CompleteDeadLetterQueue", "PollFunction"], "made"
    ) | {
        "MaxRunningJobs": "7",
        "MaxRunningJobsPerProject": "5",
        "DelayedAfterMinutes": "90",
        "MaxRedeploys": "3",
        "IcaTokenSecretArnParameter": "arn",
    }
    settings = {
        function: wiring.Settings.from_environment(environment(f"{function}Function", references))
        for function in ("Ingest", "Launch", "Poll", "Complete")
    }
    assert settings["Launch"].slots == settings["Poll"].slots == Slots(total=7, per_project=5)
    assert settings["Poll"].delayed_after == timedelta(minutes=90)
    assert settings["Poll"].max_attempts == 4
    assert settings["Complete"].dead_letter_queue_url == "made"


def test_without_an_environment_the_settings_are_the_templates_defaults() -> None:
    defaults = {name: each.get("Default") for name, each in template()["Parameters"].items()}
    settings = wiring.Settings.from_environment({})
    assert settings.slots == Slots(defaults["MaxRunningJobs"], defaults["MaxRunningJobsPerProject"])
    assert settings.delayed_after == timedelta(minutes=defaults["DelayedAfterMinutes"])
    assert settings.max_attempts == 1 + defaults["MaxRedeploys"]


def test_what_expires_is_said_by_the_attribute_of_folders() -> None:
    described = properties("CopyTable")["TimeToLiveSpecification"]
    assert described == {"AttributeName": FolderItem.expires_at.attr_name, "Enabled": True}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_no_role_may_do_everything_of_a_service(function: str) -> None:
    statements: list[dict[str, Any]] = [
        statement
        for policy in properties(function)["Policies"]
        for each in (policy.get("If", [policy]))
        if isinstance(each, dict)
        for statement in each.get("Statement", [])
    ]
    actions = [action for each in statements for action in _listed(each["Action"])]
    assert actions
    assert not [action for action in actions if action.endswith(":*")]
    everywhere = {action for each in statements if each["Resource"] == "*" for action in _listed(each["Action"])}
    assert everywhere <= {"states:SendTaskSuccess", "states:SendTaskFailure"}


def _listed(action: str | list[str]) -> list[str]:
    return [action] if isinstance(action, str) else action
