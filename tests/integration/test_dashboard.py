"""The dashboard: what it shows is there to be shown, in whatever region and partition, and no more than is free."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from icav2_copy_batch.handlers import container as wiring
from icav2_copy_batch.handlers import launch, poll
from tests.integration.template import properties, template

COLUMNS = 24
METRICS_OF_A_FREE_DASHBOARD = 50
"""https://aws.amazon.com/cloudwatch/pricing: three dashboards of up to so many metrics cost nothing."""
REFERENCE = re.compile(r"\$\{([A-Za-z0-9:]+)(?:\.([A-Za-z]+))?\}")
TEXT: str = properties("Dashboard")["DashboardBody"]["Sub"]
BODY: dict[str, Any] = json.loads(REFERENCE.sub(lambda found: f"<{found[1]}>", TEXT))
"""With each reference to a resource replaced by the resource's name in angle brackets."""
WIDGETS: list[dict[str, Any]] = BODY["widgets"]
RESOURCES = template()["Resources"]
ALARM_ONLY = {"NeedsAPerson"}
"""The sum of others that are shown: an alarm looks at it."""

Metric = tuple[str, ...]


def kind(reference: str) -> str:
    """The type of the resource that a text is the name of."""
    found: str = RESOURCES[reference.removeprefix("<").removesuffix(">")]["Type"]
    return found


def shown() -> list[Metric]:
    """Each metric with its namespace and dimensions; a dot stands for what the line above has in its place."""
    found: list[Metric] = []
    for widget in WIDGETS:
        above: list[str] = []
        for line in widget["properties"].get("metrics", []):
            names = [part for part in line if isinstance(part, str)]
            above = [above[place] if part == "." else part for place, part in enumerate(names)]
            found.append(tuple(above))
    return found


def queries() -> list[str]:
    return [widget["properties"]["query"] for widget in WIDGETS if widget["type"] == "log"]


def calls(method: str) -> list[ast.Call]:
    """Every call of a method of this name, in all of the product's modules."""
    modules = (ast.parse(path.read_text()) for path in Path(wiring.__file__).parents[1].rglob("*.py"))
    nodes = (node for module in modules for node in ast.walk(module) if isinstance(node, ast.Call))
    return [node for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == method]


def literals(method: str) -> set[str]:
    """The texts that stand in the code as the first argument of a method."""
    firsts = (call.args[0] for call in calls(method) if call.args)
    return {first.value for first in firsts if isinstance(first, ast.Constant) and isinstance(first.value, str)}


def test_it_shows_each_count_that_the_functions_emit_and_no_other() -> None:
    emitted = literals("add_metric") | {
        metric for metric in (*poll.METRICS.values(), *launch.METRICS.values()) if metric
    }
    ours = {metric[1:] for metric in shown() if metric[0] == wiring.NAMESPACE}
    assert {name for name, *_ in ours} == emitted - ALARM_ONLY
    assert {tuple(dimensions) for _, *dimensions in ours} == {("service", "<AWS::StackName>")}


def test_it_shows_metrics_of_aws_of_resources_of_this_stack() -> None:
    types = {
        "QueueName": "AWS::SQS::Queue",
        "FunctionName": "AWS::Serverless::Function",
        "TableName": "AWS::DynamoDB::Table",
    }
    indexes = {index["IndexName"] for index in properties("CopyTable")["GlobalSecondaryIndexes"]}
    of_aws = [metric for metric in shown() if metric[0] != wiring.NAMESPACE]
    assert of_aws
    for namespace, _, *dimensions in of_aws:
        assert namespace in {"AWS/SQS", "AWS/Lambda", "AWS/DynamoDB"}
        for name, value in zip(dimensions[::2], dimensions[1::2], strict=True):
            assert value in indexes if name == "GlobalSecondaryIndexName" else kind(value) == types[name]


def test_it_shows_every_alarm() -> None:
    (alarms,) = [widget["properties"]["alarms"] for widget in WIDGETS if widget["type"] == "alarm"]
    assert sorted(alarms) == sorted(f"<{name}>" for name in RESOURCES if kind(name) == "AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("metric", ["Errors", "Duration"])
def test_it_shows_every_function(metric: str) -> None:
    functions = {value for _, name, _, value in (each[:4] for each in shown()) if name == metric}
    assert functions == {f"<{name}>" for name in RESOURCES if kind(name) == "AWS::Serverless::Function"}


def test_it_shows_where_submissions_wait_and_every_dead_letter_queue() -> None:
    """The jobs of launch messages and of notifications are shown themselves, by status and age."""
    queues = {f"<{name}>" for name in RESOURCES if kind(name) == "AWS::SQS::Queue"}
    dead = {queue for queue in queues if "DeadLetter" in queue}
    of = {name: {each[3] for each in shown() if each[1] == name} for _, name, *_ in shown()}
    assert of["ApproximateAgeOfOldestMessage"] == {"<IngestQueue>"}
    assert of["ApproximateNumberOfMessagesVisible"] == dead


def test_each_reference_in_it_is_to_an_attribute_that_such_a_resource_has() -> None:
    attributes = {"AWS::SQS::Queue": "QueueName", "AWS::CloudWatch::Alarm": "Arn"}
    for name, attribute in REFERENCE.findall(TEXT):
        if name not in template()["Parameters"] and not name.startswith("AWS::"):
            assert attribute == attributes.get(kind(name), ""), name
    assert "$" not in REFERENCE.sub("", TEXT)


def test_it_is_of_the_region_and_partition_in_which_it_is_deployed() -> None:
    assert {widget["properties"].get("region") for widget in WIDGETS if widget["type"] != "alarm"} == {"<AWS::Region>"}
    assert not re.search(r"arn:|[a-z]{2}-[a-z]+-\d", REFERENCE.sub("", TEXT))


def test_what_its_queries_look_for_is_logged_in_these_very_words() -> None:
    logged = set().union(*map(literals, ("info", "warning", "error", "exception")))
    texts = {text for query in queries() for text in re.findall('"(.*?)"', query)} - {"ERROR", "CRITICAL"}
    assert texts
    assert texts <= logged


def test_its_queries_read_logs_of_the_functions_and_that_for_errors_all_of_them() -> None:
    functions = [name for name in RESOURCES if kind(name) == "AWS::Serverless::Function"]
    logs = {f"<{properties(function)['LoggingConfig']['LogGroup']['Ref']}>" for function in functions}
    for query in queries():
        groups = set(re.findall("SOURCE '(.*?)'", query))
        assert groups == logs if "ERROR" in query else set() < groups <= logs


def test_it_shows_what_each_part_of_the_table_costs_to_write() -> None:
    indexes = {index["IndexName"] for index in properties("CopyTable")["GlobalSecondaryIndexes"]}
    written = [metric for metric in shown() if metric[1] == "ConsumedWriteCapacityUnits"]
    assert {metric[5] for metric in written if len(metric) > 4} == indexes
    assert len(written) == 1 + len(indexes)


def test_its_widgets_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in WIDGETS:
        columns = range(widget["x"], widget["x"] + widget["width"])
        rows = range(widget["y"], widget["y"] + widget["height"])
        cells = {(column, row) for column in columns for row in rows}
        assert columns.stop <= COLUMNS
        assert not taken & cells, widget["properties"]["title"]
        taken |= cells


def test_it_is_one_of_those_that_are_free_and_can_be_left_out() -> None:
    assert len(set(shown())) <= METRICS_OF_A_FREE_DASHBOARD
    assert RESOURCES["Dashboard"]["Condition"] == "HasDashboard"
    assert template()["Conditions"]["HasDashboard"] == {"Equals": [{"Ref": "CreateDashboard"}, "true"]}
    assert "$3 a month" in template()["Parameters"]["CreateDashboard"]["Description"]


def test_two_stacks_of_one_name_in_two_regions_have_each_their_own() -> None:
    """A dashboard belongs to no region: its name is one of the account's."""
    assert properties("Dashboard")["DashboardName"] == {"Sub": "${AWS::StackName}-${AWS::Region}"}
