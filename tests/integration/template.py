"""What ``template.yaml`` says: the table, made on moto as it is described there, and the functions' environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.integration import clients

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
TABLE_NAME = "copies"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags, each read as ``{tag: value}``."""


def _tagged(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {tag: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


@cache
def template() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 # a safe loader with more tags
    return loaded


TRANSFORM = """
import json, sys
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(sys.argv[1])
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"  # as ``sam package`` does
values = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
json.dump(Translator({}, Parser()).translate(template, values), sys.stdout, default=str)
"""


@cache
def transformed() -> dict[str, Any]:
    """What CloudFormation deploys: the template without SAM in it, as SAM's own translator makes it."""
    found: dict[str, Any] = json.loads(in_ministack(TRANSFORM, TEMPLATE.read_text()))
    return found


def in_ministack(program: str, *arguments: str) -> bytes:
    """What a program prints that is run beside the local AWS, where SAM's translator and JSONata are installed."""
    python = TEMPLATE.parent / ".tools/ministack/bin/python"
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([python, "-c", program, *arguments], env=environment, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def properties(resource: str) -> dict[str, Any]:
    """What the template says of a resource."""
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def environment(function: str, values: Mapping[str, str]) -> dict[str, str]:
    """The variables that the template sets for a function.

    A reference is to one of ``values``, or else to a parameter with a default.
    """
    environments = [each.get("Environment", {}) for each in (template()["Globals"]["Function"], properties(function))]
    variables = {name: value for each in environments for name, value in each.get("Variables", {}).items()}
    return {name: _resolved(value, values) for name, value in variables.items()}


def _resolved(value: Any, values: Mapping[str, str]) -> str:
    if not isinstance(value, dict):
        return str(value)
    (name,) = value.values()
    if isinstance(name, list):  # !Join
        separator, parts = name
        return str(separator).join(_resolved(part, values) for part in parts)
    if name == "AWS::StackName":
        return "the-stack"
    return values[name] if name in values else str(template()["Parameters"][name]["Default"])


def statements(role: str) -> list[dict[str, Any]]:
    """What a role, or who has a managed policy, may do; with what it may only where a parameter is given."""
    described = properties(role)
    policies = [
        policy
        for each in described.get("Policies", [described])
        for policy in each.get("If", [each])
        if isinstance(policy, dict) and "PolicyDocument" in policy
    ]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def table_actions(function: str) -> set[tuple[str, str | None]]:
    """What a function may do, such as ``dynamodb:Query``, with the table (None) and with which of its indexes."""
    return {
        (action, str(resource).partition("/index/")[2].rstrip("'}") or None)
        for statement in statements(properties(function)["Role"]["GetAtt"].removesuffix(".Arn"))
        if "CopyTable" in str(statement["Resource"])
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
        for action in listed(statement["Action"])
    }


def create_copy_table(name: str = TABLE_NAME) -> None:
    """The table ``CopyTable``; what CloudFormation spells otherwise than the API is translated."""
    described = dict(properties("CopyTable"))
    recovery = described.pop("PointInTimeRecoverySpecification")
    expiry = described.pop("TimeToLiveSpecification")
    if encryption := described.pop("SSESpecification", None):
        described["SSESpecification"] = {"Enabled": encryption["SSEEnabled"]}
    described["StreamSpecification"] = {"StreamEnabled": True, **described["StreamSpecification"]}
    clients.dynamodb().create_table(TableName=name, **described)
    clients.dynamodb().update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
    clients.dynamodb().update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
