"""What has to be so before any test is imported, and in which order the files of tests are run."""

from __future__ import annotations

import libica.openapi.v3  # noqa: F401 # all of it, for the tests of the simulator: after us it cannot be had any more
import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ONE_STACK = ("tests/e2e/test_pipeline.py", "tests/e2e/test_program.py")
"""These files share a stack: a second one takes longer to set up than they take."""


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """A worker has a file at a time, and the files of one stack together."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return ONE_STACK[0] if file in ONE_STACK else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Make xdist's scheduler."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that no worker is left with it in the end."""
    items.sort(key=lambda item: item.path.name != "test_simulation.py")
