"""The managed policies: each has the rights that its holder's commands need, and no others."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path
from typing import Any

import pytest

from icav2_copy_batch import client
from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.domain.submission import UPLOAD_PREFIX
from tests.integration.aws_calls import AwsCalls
from tests.integration.shell import Terminal
from tests.integration.template import listed, statements, template

SERVICES = {
    "cloudformation": "cloudformation",
    "ssm": "ssm",
    "sqs": "sqs",
    "s3": "s3",
    "logs": "logs",
    "functions": "lambda",
}
"""Each client of ``client.aws.Aws``, with the service by which IAM knows it."""
ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}
"""The actions that are not called as the operation is."""
INGEST_QUEUE = {"GetAtt": "IngestQueue.Arn"}
UPLOADS = {"Sub": f"${{ManifestBucket.Arn}}/{UPLOAD_PREFIX}*"}
FIND_THE_STACK = {"cloudformation:DescribeStacks", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"}


def rights(policy: str) -> dict[str, Any]:
    """Each action that a policy allows, with its resource."""
    assert {each["Effect"] for each in statements(policy)} == {"Allow"}
    return {action: each["Resource"] for each in statements(policy) for action in listed(each["Action"])}


def action(service: str, operation: str) -> str:
    name = f"{service}:{operation}"
    return ACTIONS.get(name, name)


def asked_by_client() -> set[str]:
    """The action of each call that the modules of the client make: ``….sqs.send_message(``, or of a paginator's."""
    found = set()
    for path in Path(client.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            method, of = node.func.attr, node.func.value
            service = of.attr if isinstance(of, ast.Attribute) else ""
            if service in SERVICES:
                named = ast.literal_eval(node.args[0]) if method == "get_paginator" else method
                found.add(action(SERVICES[service], "".join(word.capitalize() for word in named.split("_"))))
    return found


def test_every_call_of_the_client_is_an_operators_right() -> None:
    asked = asked_by_client()
    assert {"lambda:InvokeFunction", "sqs:SendMessage", "s3:PutObject", "ssm:GetParametersByPath"} <= asked
    assert asked <= rights("OperatorPolicy").keys()


def test_an_operator_may_do_nothing_that_no_command_does() -> None:
    for_answers = {"s3:ListBucket"}  # with it S3 tells a missing object from a forbidden one
    for_other_tools = {"sqs:GetQueueAttributes", "ssm:GetParameter", "ssm:GetParameters"}
    assert rights("OperatorPolicy").keys() == asked_by_client() | for_answers | for_other_tools


def test_what_submits_and_names_the_stack_is_a_submitters_right(shell: Terminal, aws: AwsCalls) -> None:
    began = len(aws.sent)
    assert shell("submit", shell.good_manifest()).exit_code == Exit.DONE
    hard_to_pack = random.Random(1)
    names = [f"icav2://from/run/{hard_to_pack.randbytes(100).hex()}" for _ in range(8000)]
    large = shell.manifest({name: ["icav2://to/run/"] for name in names})
    assert shell("submit", large).exit_code == Exit.DONE
    assert shell("env").exit_code == Exit.DONE
    services = {
        "SendMessage": "sqs",
        "PutObject": "s3",
        "GetParametersByPath": "ssm",
        "DescribeStacks": "cloudformation",
    }
    asked = {called for called, _ in aws.sent[began:]}
    assert {"SendMessage", "PutObject", "GetParametersByPath"} == asked, "a large one is uploaded"
    may = rights("SubmitterPolicy")
    assert {action(services[called], called) for called in asked} <= may.keys()
    for _, request in aws.sent[began:]:
        if request.method == "PUT":
            assert f"/{UPLOAD_PREFIX}" in request.url


def test_a_submitter_may_send_and_upload_submissions_and_find_the_stack_and_nothing_else() -> None:
    may = rights("SubmitterPolicy")
    assert may.keys() - FIND_THE_STACK == {"sqs:SendMessage", "sqs:GetQueueAttributes", "s3:PutObject"}
    assert (may["sqs:SendMessage"], may["s3:PutObject"]) == (INGEST_QUEUE, UPLOADS)
    assert may["cloudformation:DescribeStacks"] == {"Ref": "AWS::StackId"}
    assert "parameter${SsmPrefix}" in str(may["ssm:GetParametersByPath"])
    assert may.items() <= rights("OperatorPolicy").items(), "an operator may do all of it"


def test_a_subscriber_reads_results_and_makes_rules_for_these_events_and_nothing_else() -> None:
    may = rights("SubscriberPolicy")
    assert may.pop("s3:GetObject") == {"Sub": "${ManifestBucket.Arn}/results/*"}
    assert {name.partition(":")[0] for name in may} == {"events"}
    assert all("rule/${EventBusName}/*" in json.dumps(resource) for resource in may.values())
    (puts,) = [each for each in statements("SubscriberPolicy") if each["Action"] == "events:PutRule"]
    assert puts["Condition"] == {"StringEquals": {"events:source": "icav2-copy-batch"}}


@pytest.mark.parametrize("policy", ["SubmitterPolicy", "OperatorPolicy", "SubscriberPolicy"])
def test_each_policy_is_an_output(policy: str) -> None:
    assert template()["Outputs"][f"{policy}Arn"]["Value"] == {"Ref": policy}
