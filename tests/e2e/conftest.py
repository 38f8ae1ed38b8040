"""One deployed stack for all end-to-end tests, and a subscriber to its events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import jsonschema
import pytest

from local.demo import subscribed
from local.stack import LocalStack, StackOptions, local_stack

pytest.register_assert_rewrite("tests.e2e.steps")

SCHEMAS = Path(__file__).parents[2] / "events/schemas"
SCHEMA_OF = {
    "CopyStarted": "copy-started",
    "CopyDelayed": "copy-delayed",
    "CopyCompleted": "copy-settled",
    "CopyFailed": "copy-settled",
    "CopyCancelled": "copy-settled",
    "CopyRejected": "copy-rejected",
}
GIVE_UP_SECONDS = 420.0

Event = dict[str, Any]


class Subscriber:
    """All our events so far; each is held to its schema as it comes in."""

    def __init__(self, source: Iterator[Event | None]) -> None:
        self._source = source
        self.events: list[Event] = []

    def wait_for(self, wanted: Callable[[Event], bool], meanwhile: Callable[[], object] = lambda: None) -> Event:
        """The first event that is wanted, past or to come; ``meanwhile`` is done again and again until then."""
        give_up_at = monotonic() + GIVE_UP_SECONDS
        seen = 0
        while monotonic() < give_up_at:
            for event in self.events[seen:]:
                if wanted(event):
                    return event
            seen = len(self.events)
            meanwhile()
            self._take()
        raise AssertionError(f"no such event among {[event['detail-type'] for event in self.events]}")

    def settled(self, copy_id: str, meanwhile: Callable[[], object] = lambda: None) -> Event:
        """The detail of the event with which this copy settled, and its type."""
        return self.wait_for(
            lambda event: (
                event["detail-type"] in ("CopyCompleted", "CopyFailed", "CopyCancelled")
                and event["detail"]["copy_id"] == copy_id
            ),
            meanwhile,
        )

    def of(self, copy_id: str) -> list[str]:
        """The types of all events about a copy."""
        return [event["detail-type"] for event in self.events if event["detail"]["copy_id"] == copy_id]

    def _take(self) -> None:
        for event in self._source:
            if event is None:
                return
            self.events.append(event)
            schema = json.loads((SCHEMAS / f"{SCHEMA_OF[event['detail-type']]}.schema.json").read_text())
            jsonschema.validate(event["detail"], schema)


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with local_stack(StackOptions(failure_rate=0.2, job_seconds="0.5:1.5", seed=7)) as stack:
        yield stack


@pytest.fixture(scope="session")
def subscriber(stack: LocalStack) -> Iterator[Subscriber]:
    with subscribed(stack) as events:
        yield Subscriber(events)
