"""What the template promises, where the local AWS would not notice that it is broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.adapters.aws import redelivery_seconds
from icav2_copy_batch.adapters.ica.http import TOKEN_REFUSED
from icav2_copy_batch.adapters.table.models import FolderItem
from icav2_copy_batch.domain.happening import Happening
from icav2_copy_batch.domain.requests import ANSWERS_PREFIX
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.submit import read_submit
from icav2_copy_batch.handlers import container as wiring
from icav2_copy_batch.handlers import poll
from icav2_copy_batch.stages.publish import HEARTBEATS_APART, SECONDS_TO_PUBLISH
from tests.integration.pipeline import metrics_in
from tests.integration.template import (
    TEMPLATE,
    environment,
    in_ministack,
    listed,
    properties,
    statements,
    template,
    transformed,
)

FUNCTIONS = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
QUEUES = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::SQS::Queue"}
ALARMS = {name for name, each in template()["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}
ROLES = {name for name, each in transformed()["Resources"].items() if each["Type"] == "AWS::IAM::Role"}


@pytest.mark.parametrize("function", ["Ingest", "Launch"])
def test_the_message_of_a_function_that_was_killed_comes_again_a_minute_after_its_time_out_at_the_latest(
    function: str,
) -> None:
    """Not before it, which AWS refuses."""
    timeout = properties(f"{function}Function")["Timeout"]
    assert timeout < properties(f"{function}Queue")["VisibilityTimeout"] <= timeout + 60


@pytest.mark.parametrize("function", ["Ingest", "Launch", "Notify"])
def test_no_more_messages_are_handed_out_than_functions_may_run(function: str) -> None:
    """With a short visibility time-out, messages that wait at a throttled function would be handed out again."""
    (event,) = properties(f"{function}Function")["Events"].values()
    assert "MaximumConcurrency" in event["Properties"]["ScalingConfig"]


@pytest.mark.parametrize("queue", ["IngestQueue", "LaunchQueue"])
def test_a_message_that_fails_becomes_a_dead_letter_after_about_an_hour(queue: str) -> None:
    times = properties(queue)["RedrivePolicy"]["maxReceiveCount"]
    waits = [redelivery_seconds(received) for received in range(1, times)]
    assert 45 * 60 < sum(waits) < 75 * 60
    assert max(waits) <= properties(queue)["VisibilityTimeout"] or queue == "LaunchQueue"
    assert times * properties(queue)["VisibilityTimeout"] < 3 * 60 * 60  # and when its function is killed each time


@pytest.mark.parametrize("function", ["Ingest", "Launch", "Publish"])
def test_functions_fed_in_batches_answer_with_the_failures_alone(function: str) -> None:
    (event,) = properties(f"{function}Function")["Events"].values()
    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_stream_is_filtered_bounded_and_has_a_dead_letter_queue() -> None:
    settled = properties("PublishFunction")["Events"]["Settled"]["Properties"]
    (pattern,) = settled["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"])["dynamodb"]["NewImage"] == {"open_jobs": {"N": ["0"]}}
    assert settled["BisectBatchOnFunctionError"] is True
    assert 0 < settled["MaximumRetryAttempts"] < 100
    assert settled["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "PublishDeadLetterQueue.Arn"}


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_every_queue_is_encrypted_and_keeps_messages_for_14_days(queue: str) -> None:
    """But for notifications: those are hints, and no longer worth anything after an hour."""
    assert properties(queue)["SqsManagedSseEnabled"] is True
    assert properties(queue)["MessageRetentionPeriod"] == 60 * 60 * (1 if queue == "NotificationQueue" else 14 * 24)


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_every_queue_has_one_policy_that_names_it_alone_and_denies_plain_http(queue: str) -> None:
    """AWS refuses a policy of one queue that names another, or gives it to each of the queues as it is."""
    (policy,) = [
        each["Properties"]
        for each in template()["Resources"].values()
        if each["Type"] == "AWS::SQS::QueuePolicy" and {"Ref": queue} in each["Properties"]["Queues"]
    ]
    assert policy["Queues"] == [{"Ref": queue}]
    statements = policy["PolicyDocument"]["Statement"]
    assert [each["Resource"] for each in statements] == [{"GetAtt": f"{queue}.Arn"}] * len(statements)
    (denied,) = [each for each in statements if each["Effect"] == "Deny"]
    assert (denied["Principal"], denied["Action"]) == ("*", "sqs:*")
    assert denied["Condition"]["Bool"] == {"aws:SecureTransport": "false"}


def test_ica_may_send_to_the_notification_queue_whose_address_is_short() -> None:
    statement, _ = properties("NotificationQueuePolicy")["PolicyDocument"]["Statement"]
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
    """But for what a first deployment that failed has made: that is empty, and would be in the way of the next."""
    assert template()["Resources"][resource]["DeletionPolicy"] == "RetainExceptOnCreate"
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


OUR_ALARMS = {"JobsFailedAlarm", "JobsDelayedAlarm", "NeedsAPersonAlarm"}


def test_the_alarms_on_metrics_of_ours_are_these() -> None:
    """That on refused tokens is on a metric which is made of the logs."""
    ours = {alarm for alarm in ALARMS if properties(alarm)["Namespace"] == wiring.NAMESPACE}
    assert ours == OUR_ALARMS | {"TokenRefusedAlarm"}


@pytest.mark.parametrize("alarm", sorted(OUR_ALARMS))
def test_every_alarm_on_a_metric_of_ours_is_on_one_that_is_emitted_for_this_stack(
    alarm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with_one_of_each = wiring.metrics.log_metrics(
        lambda event, context: poll.report(Counter(Happening), wiring.metrics)
    )
    with_one_of_each({}, None)
    assert properties(alarm)["MetricName"] in metrics_in(capsys.readouterr().out)
    assert properties(alarm)["Dimensions"] == [{"Name": "service", "Value": {"Ref": "AWS::StackName"}}]
    assert template()["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == {
        "Ref": "AWS::StackName"
    }


def test_metrics_and_logs_carry_the_name_of_the_stack() -> None:
    code = """
from icav2_copy_batch.handlers import container as wiring
wiring.metrics.log_metrics(lambda event, context: wiring.metrics.add_metric("Happened", "Count", 0))({}, None)
wiring.metrics.log_metrics(lambda event, context: wiring.metrics.add_metric("Happened", "Count", 1))({}, None)
wiring.logger.warning("logged")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": "src", "POWERTOOLS_SERVICE_NAME": "second-stack", "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        check=True,
        cwd=TEMPLATE.parent,
    )
    assert [json.loads(line)["service"] for line in done.stdout.splitlines()] == ["second-stack"] * 2
    assert done.stderr == b"", "and of nothing there is no warning either"


def test_what_an_alarm_of_several_metrics_is_about_is_said_by_their_names() -> None:
    described = properties("NeedsAPersonAlarm")["AlarmDescription"]
    assert not [happening for happening in poll.NEED_A_PERSON if str(poll.METRICS[happening]) not in described]


def test_a_poller_that_is_not_called_is_told_though_nothing_can_be_measured_of_it() -> None:
    alarm = properties("PollSilentAlarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Invocations")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "PollFunction"}}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 300
    assert alarm["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("function", [f for f in sorted(FUNCTIONS) if "ICA_TOKEN_SECRET_ARN" in str(properties(f))])
def test_a_refused_token_is_counted_by_the_very_text_that_is_logged(function: str) -> None:
    described = properties(f"{function.removesuffix('Function')}TokenRefusedMetric")
    assert described["LogGroupName"] == properties(function)["LoggingConfig"]["LogGroup"]
    assert re.findall('"(.*)"', described["FilterPattern"]) == [TOKEN_REFUSED]


MADE = ["CopyTable", "ManifestBucket", "LaunchQueue", "IngestQueue", "PublishDeadLetterQueue", "PollFunction"]
MADE += ["NotificationQueue", "IngestDeadLetterQueue", "LaunchDeadLetterQueue", "PollFunctionEveryMinute"]
REFERENCES = dict.fromkeys([*MADE, *ALARMS], "made") | {
    "MaxRunningJobs": "7",
    "MaxRunningJobsPerProject": "5",
    "DelayedAfterMinutes": "90",
    "MaxRedeploys": "3",
    "IcaTokenSecretArnParameter": "arn",
}


def settings_of(function: str) -> wiring.Settings:
    return wiring.Settings(environment(f"{function}Function", REFERENCES))


def test_the_settings_are_the_templates_parameters() -> None:
    assert settings_of("Launch").slots == settings_of("Poll").slots == Slots(total=7, per_project=5)
    assert settings_of("Poll").delayed_after == timedelta(minutes=90)
    assert settings_of("Poll").max_attempts == 4


def test_without_an_environment_the_settings_are_the_templates_defaults() -> None:
    defaults = {name: each.get("Default") for name, each in template()["Parameters"].items()}
    settings = wiring.Settings({})
    assert settings.slots == Slots(defaults["MaxRunningJobs"], defaults["MaxRunningJobsPerProject"])
    assert settings.delayed_after == timedelta(minutes=defaults["DelayedAfterMinutes"])
    assert settings.max_attempts == 1 + defaults["MaxRedeploys"]


def test_the_doctor_is_told_what_the_stacks_resources_are_called() -> None:
    queues = {name: name for name in QUEUES}
    alarms = {alarm: alarm for alarm in ALARMS}
    found = wiring.Settings(environment("ControlFunction", {**REFERENCES, **queues, **alarms})).names
    assert set(found.alarms) == ALARMS
    assert {*found.queues.values(), *found.dead_letter_queues.values()} == QUEUES


def test_the_doctor_may_look_at_whatever_it_looks_at() -> None:
    may = {action: each["Resource"] for each in statements("ControlRole") for action in listed(each["Action"])}
    assert str(may["sqs:GetQueueAttributes"]).count("Queue.Arn") == len(QUEUES)
    assert may["events:DescribeRule"] == {"GetAtt": "PollFunctionEveryMinute.Arn"}
    assert "event-bus/${EventBusName}" in str(may["events:DescribeEventBus"])
    assert may["sns:ListSubscriptionsByTopic"] == {"Ref": "AlarmTopicArn"}
    assert may["cloudwatch:GetMetricData"] == may["cloudwatch:DescribeAlarms"] == "*"


class Noted(dict[str, str]):
    """An environment that notes which of its variables are read."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


USES = {
    "Ingest": ("ingest", "source_queue", "ica"),
    "Launch": ("launch", "source_queue"),
    "Poll": ("poll",),
    "Notify": ("poll",),
    "Control": ("control", "ica", "plan", "subscribe", "doctor"),
    "Publish": ("publish", "dead_letters"),
}
"""What each handler takes from the container."""


@pytest.mark.parametrize("function", USES)
def test_each_function_is_given_the_settings_that_it_reads_and_no_others(function: str) -> None:
    variables = Noted(environment(f"{function}Function", REFERENCES))
    container = wiring.Container(variables)
    for name in USES[function]:
        getattr(container, name)
    of_libraries = {name for name in variables if name.startswith(("POWERTOOLS_", "AWS_"))}
    assert variables.keys() - of_libraries == variables.read


@pytest.mark.parametrize("function", USES)
def test_a_setting_that_is_missing_is_named(function: str) -> None:
    container = wiring.Container({})
    for name in USES[function]:
        with pytest.raises(wiring.SettingMissing, match=r"the environment variable [A-Z_]+ is not set"):
            getattr(container, name)


def test_the_state_machine_waits_far_longer_for_a_heartbeat_than_the_poller_for_the_next() -> None:
    state = properties("StateMachine")["Definition"]["States"]["Copy"]
    assert state["HeartbeatSeconds"] >= 10 * HEARTBEATS_APART.total_seconds()
    assert state["HeartbeatSeconds"] < state["TimeoutSeconds"]
    tries = properties("IngestQueue")["RedrivePolicy"]["maxReceiveCount"]
    redelivered = sum(redelivery_seconds(received) for received in range(1, tries))
    assert state["HeartbeatSeconds"] > redelivered, "a submission that is ingested at its last try is waited for"
    assert {"ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 1} in state["Retry"]


def test_whoever_publishes_may_give_up_a_result_in_parts_and_has_the_time() -> None:
    for function in ("Publish", "Poll"):
        actions = {action for each in statements(f"{function}Role") for action in listed(each["Action"])}
        assert {"s3:PutObject", "s3:AbortMultipartUpload"} <= actions, "parts are s3:PutObject, and to give up is not"
        assert properties(f"{function}Function")["Timeout"] > SECONDS_TO_PUBLISH


def test_a_long_answer_is_stored_by_control_read_by_operators_and_removed_after_a_week() -> None:
    answers = {"Sub": f"${{ManifestBucket.Arn}}/{ANSWERS_PREFIX}*"}
    stores = {role for role in ROLES for each in statements(role) if answers in [each["Resource"]]}
    assert stores == {"ControlRole"}
    may_read = [each for each in statements("OperatorPolicy") if each["Action"] == "s3:GetObject"]
    assert [answers in each["Resource"] for each in may_read] == [True]
    rules = properties("ManifestBucket")["LifecycleConfiguration"]["Rules"]
    assert [rule["ExpirationInDays"] for rule in rules if rule.get("Prefix") == ANSWERS_PREFIX] == [7]


def test_only_functions_that_dispatch_may_send_launch_messages() -> None:
    queue = {"GetAtt": "LaunchQueue.Arn"}
    senders = {
        role
        for role in ROLES
        for each in statements(role)
        if each["Resource"] == queue and any(action.startswith("sqs:SendMessage") for action in listed(each["Action"]))
    }
    assert senders == {"IngestRole", "PollRole", "NotifyRole"}


def test_what_expires_is_said_by_the_attribute_of_folders() -> None:
    described = properties("CopyTable")["TimeToLiveSpecification"]
    assert described == {"AttributeName": FolderItem.expires_at.attr_name, "Enabled": True}


EVERYWHERE = {
    # X-Ray's traces and sampling rules have no resource.
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
    # A task token names no resource: it is the caller's state machine's.
    *("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"),
    # What CloudWatch Logs asks of a state machine that logs; log deliveries have no resource.
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    # CloudWatch's metrics have no resource, and several alarms are looked up in one call.
    *("cloudwatch:GetMetricData", "cloudwatch:DescribeAlarms"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
}


def test_every_role_of_the_stack_is_written_in_the_template() -> None:
    """None is made by SAM, which attaches managed policies that allow more."""
    assert {f"{function.removesuffix('Function')}Role" for function in FUNCTIONS} | {"StateMachineRole"} == ROLES
    assert template()["Resources"].keys() >= ROLES


@pytest.mark.parametrize("role", sorted(ROLES))
def test_no_role_may_more_than_its_own_statements_say_of_named_resources(role: str) -> None:
    assert "ManagedPolicyArns" not in transformed()["Resources"][role]["Properties"]
    found = statements(role)
    assert found
    actions = {action for each in found for action in listed(each["Action"])}
    assert not [action for action in actions if action.endswith(":*") or action == "*"]
    everywhere = {action for each in found if "*" in each["Resource"] for action in listed(each["Action"])}
    assert everywhere <= EVERYWHERE
    # Elsewhere, a star stands only for what is in a bucket, for a stream, or for ICA's token when it is rotated.
    named = {str(each["Resource"]) for each in found if "*" not in each["Resource"] and "*" in str(each["Resource"])}
    assert not [resource for resource in named if "Bucket" not in resource and "/stream/*" not in resource]


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_a_function_writes_to_its_own_log_only(function: str) -> None:
    role = properties(function)["Role"]["GetAtt"].removesuffix(".Arn")
    (logs,) = [each for each in statements(role) if "logs:" in str(each["Action"])]
    assert logs["Resource"] == {"GetAtt": f"{properties(function)['LoggingConfig']['LogGroup']['Ref']}.Arn"}


@pytest.mark.parametrize(
    ("function", "source"),
    [("Ingest", "IngestQueue.Arn"), ("Launch", "LaunchQueue.Arn"), ("Notify", "NotificationQueue.Arn")],
)
def test_a_function_may_take_messages_from_its_queue(function: str, source: str) -> None:
    allowed = {
        action
        for each in statements(f"{function}Role")
        if each["Resource"] == {"GetAtt": source}
        for action in listed(each["Action"])
    }
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"} <= allowed
    assert ("sqs:ChangeMessageVisibility" in allowed) is (function != "Notify")


def test_no_arn_names_a_partition() -> None:
    assert "arn:aws:" not in TEMPLATE.read_text()


# --- beside other stacks, and where they are not as expected ---------------------------------------------------------


def test_the_name_of_the_old_tools_parameter_is_left_to_it_where_its_stack_is_there() -> None:
    assert template()["Resources"]["StateMachineArnParameterOfOld"]["Condition"] == "PublishesOldName"
    assert template()["Conditions"]["PublishesOldName"] == {"Equals": [{"Ref": "PublishOldName"}, "true"]}


def test_no_two_stacks_claim_one_name() -> None:
    """What has a name of its own has the stack's name or the parameter SsmPrefix in it."""
    keys = ("Name", "QueueName", "RoleName", "TableName", "BucketName", "AlarmName", "StateMachineName")
    names = {
        resource: str(each["Properties"][key])
        for resource, each in transformed()["Resources"].items()
        for key in (*keys, *(["LogGroupName"] if each["Type"] == "AWS::Logs::LogGroup" else []))
        if key in each.get("Properties", {})
    }
    assert {"NotificationQueue", "StateMachineLogs", "CopyTableNameParameter"} <= names.keys()
    assert not [name for name in names.values() if "AWS::StackName" not in name and "SsmPrefix" not in name]


def test_a_bus_that_does_not_exist_fails_the_deployment() -> None:
    """By a rule, which can only be made on a bus that is there; it calls nobody."""
    rule = properties("EventBusCheck")
    assert rule["EventBusName"] == {"Ref": "EventBusName"}
    assert rule["State"] == "DISABLED"
    assert "Targets" not in rule


@pytest.mark.parametrize(
    ("parameter", "roles", "service"),
    [
        (
            "IcaTokenSecretKeyArn",
            {"IngestRole", "LaunchRole", "PollRole", "NotifyRole", "ControlRole"},
            "secretsmanager",
        ),
        ("ManifestSourceBucketKeyArn", {"IngestRole"}, "s3"),
    ],
)
def test_a_key_of_the_users_own_may_be_used_by_whom_it_concerns(parameter: str, roles: set[str], service: str) -> None:
    found = {role: each for role in ROLES for each in statements(role) if each["Resource"] == {"Ref": parameter}}
    assert found.keys() == roles
    for statement in found.values():
        assert statement["Action"] == "kms:Decrypt"
        via = statement["Condition"]["StringEquals"]["kms:ViaService"]["Sub"]
        assert via == f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"


def test_a_version_of_a_manifest_in_the_further_bucket_may_be_read() -> None:
    (objects,) = [each for each in statements("IngestRole") if "ManifestSourceBucket}/" in str(each["Resource"])]
    assert objects["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]


# --- the state machine -----------------------------------------------------------------------------------------------


def message_of(context: dict[str, Any], submitted: dict[str, Any]) -> dict[str, Any]:
    """What the state machine sends, of its expression in JSONata."""
    expression = properties("StateMachine")["Definition"]["States"]["Copy"]["Arguments"]["MessageBody"]
    program = """
import json, jsonata, sys
print(json.dumps(jsonata.Jsonata.jsonata(sys.argv[1]).evaluate(None, {"states": json.loads(sys.argv[2])})))
"""
    states = json.dumps({"context": context, "input": submitted})
    return dict(json.loads(in_ministack(program, expression.strip().removeprefix("{%").removesuffix("%}"), states)))


EXECUTION = {"Name": "run 42+é", "StartTime": "2026-01-01T00:00:00.000Z", "RedriveCount": 0}


def test_an_execution_asks_for_the_same_copy_each_time_it_sends_its_message() -> None:
    sent = [message_of({"Execution": EXECUTION, "Task": {"Token": token}}, {"manifest": {}}) for token in ("a", "b")]
    assert [message["task_token"] for message in sent] == ["a", "b"]
    (copy_id,) = {message["copy_id"] for message in sent}
    assert copy_id == "sfn-run_42__-1767225600000"
    assert read_submit({**sent[0], "manifest": {"a": []}}, "message").copy_id == copy_id


def test_another_execution_of_one_name_and_one_that_is_redriven_ask_for_another_copy() -> None:
    later = EXECUTION | {"StartTime": "2026-06-01T00:00:00.000Z"}
    redriven = EXECUTION | {"RedriveCount": 1}
    ids = {
        message_of({"Execution": each, "Task": {"Token": "t"}}, {"manifest": {}})["copy_id"]
        for each in (EXECUTION, later, redriven)
    }
    assert len(ids) == 3


def test_an_execution_may_name_its_copy_itself() -> None:
    sent = message_of({"Execution": EXECUTION, "Task": {"Token": "t"}}, {"manifest": {}, "copy_id": "mine"})
    assert sent["copy_id"] == "mine"
