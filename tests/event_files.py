"""The public contract in ``events/``: samples, and the schemas with which they and all that we send are checked.

What AWS and ICA hand to the functions, as far as tests need it, lies in ``tests/invocations``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

EVENTS = Path(__file__).parents[1] / "events"
INVOCATIONS = Path(__file__).parent / "invocations"


def sample(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def invocation(name: str) -> Any:
    """What a function gets from AWS, or a queue from AWS or ICA."""
    return json.loads((INVOCATIONS / f"{name}.json").read_text())


def invocation_names() -> set[str]:
    return {path.stem for path in INVOCATIONS.glob("*.json")} - {"launch-message.schema"}


def sample_names() -> set[str]:
    """Every sample by its path below ``events/``."""
    paths = (path.relative_to(EVENTS) for path in EVENTS.rglob("*.json"))
    return {path.with_suffix("").as_posix() for path in paths if path.parts[0] != "schemas"}


def schema_faults(schema: str, instance: object) -> list[str]:
    """Everything that the schema of that name finds wrong, as ``path: what``."""
    validator = Draft202012Validator(
        schemas()[schema], registry=_registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


def undocumented_keys(schema: str, instance: object) -> list[str]:
    """Keys of a document that the schema of that name does not describe, as ``path: what``. Consumers ignore such."""
    validator = Draft202012Validator(_closed(schemas()[schema]), registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


def _closed(schema: Any) -> Any:
    """The schema with no object in it open for further keys."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    is_open = schema.get("type") == "object" and "additionalProperties" not in schema  # tags have keys of the client's
    return {**closed, "additionalProperties": False} if is_open else closed


@cache
def schemas() -> dict[str, Any]:
    """Every schema by its name: those that are published, and that of our own launch messages."""
    return {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text())
        for folder in (EVENTS / "schemas", INVOCATIONS)
        for path in sorted(folder.glob("*.schema.json"))
    }


@cache
def _registry() -> Registry[Any]:
    return Registry[Any]().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas().values()
    )
