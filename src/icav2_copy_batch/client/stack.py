"""Which stack is meant, and what it is made of: its outputs, or the SSM parameters that say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from icav2_copy_batch.client.aws import Aws, asked
from icav2_copy_batch.client.errors import StackNotFound, Unavailable

STACK_VARIABLE = "ICAV2_COPY_STACK"
DEFAULT_PATH = "/icav2_copy_batch_utility"
"""Where the stack writes its SSM parameters, if it is deployed with the template's defaults (``SsmPrefix``)."""
HOW_TO_NAME = f"name the stack, or the path of its SSM parameters, with --stack or {STACK_VARIABLE}"


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: what it was found by, and its outputs."""

    name: str
    outputs: Mapping[str, str]

    def output(self, name: str) -> str:
        """One of the outputs. Raises ``StackNotFound`` where the stack has none of that name."""
        if value := self.outputs.get(name):
            return value
        raise StackNotFound(f"the stack {self.name} has no output {name}", "deploy the stack's newest version")


def find_stack(aws: Aws, name: str | None) -> Stack:
    """The stack of that name; by the SSM parameters below a path, where the name begins with ``/`` or is None.

    Raises ``StackNotFound``.
    """
    if name and not name.startswith("/"):
        return _by_name(aws, name)
    return _by_path(aws, name or DEFAULT_PATH)


def variable_name(output: str) -> str:
    """The shell variable of an output, as the documents use it: ``INGEST_QUEUE_URL`` for ``IngestQueueUrl``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", output).upper()


def _by_name(aws: Aws, name: str) -> Stack:
    try:
        with asked(f"describe the stack {name} in {aws.region}"):
            described = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
    except Unavailable as error:
        if error.code == "ValidationError" and "does not exist" in error.what:
            raise StackNotFound(f"there is no stack {name} in {aws.region}", HOW_TO_NAME) from None
        raise
    outputs = described[0].get("Outputs", []) if described else []
    return Stack(name, {each["OutputKey"]: each["OutputValue"] for each in outputs})


def _by_path(aws: Aws, path: str) -> Stack:
    with asked(f"list the SSM parameters below {path} in {aws.region}"):
        pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=path)
        found = {_output_name(each["Name"]): each["Value"] for page in pages for each in page["Parameters"]}
    if not found:
        raise StackNotFound(f"there are no SSM parameters below {path} in {aws.region}", HOW_TO_NAME)
    return Stack(path, found)


def _output_name(parameter: str) -> str:
    """The output that an SSM parameter repeats; those that callers of the old tool read are spelled otherwise."""
    name = parameter.rpartition("/")[2]
    return "".join(word.capitalize() for word in name.split("_")) if name.islower() else name
