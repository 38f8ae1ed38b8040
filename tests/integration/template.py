"""What ``template.yaml`` says: the table, made on moto as it is described there, and the functions' environment."""

from __future__ import annotations

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
    return values[name] if name in values else str(template()["Parameters"][name]["Default"])


def table_actions(function: str) -> set[tuple[str, bool]]:
    """What a function may do with the table, such as ``dynamodb:Query``, each with whether it may in the index too."""
    statements = [each for policy in properties(function)["Policies"] for each in policy.get("Statement", [])]
    return {
        (action, "index/due" in str(statement["Resource"]))
        for statement in statements
        if "CopyTable" in str(statement["Resource"])
        for action in statement["Action"]
    }


def create_copy_table() -> None:
    """The table ``CopyTable``; what CloudFormation spells otherwise than the API is translated."""
    described = dict(properties("CopyTable"))
    recovery = described.pop("PointInTimeRecoverySpecification")
    expiry = described.pop("TimeToLiveSpecification")
    if encryption := described.pop("SSESpecification", None):
        described["SSESpecification"] = {"Enabled": encryption["SSEEnabled"]}
    described["StreamSpecification"] = {"StreamEnabled": True, **described["StreamSpecification"]}
    clients.dynamodb().create_table(TableName=TABLE_NAME, **described)
    clients.dynamodb().update_continuous_backups(TableName=TABLE_NAME, PointInTimeRecoverySpecification=recovery)
    clients.dynamodb().update_time_to_live(TableName=TABLE_NAME, TimeToLiveSpecification=expiry)
