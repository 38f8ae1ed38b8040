"""What has to be so before any test is imported."""

from __future__ import annotations

import libica.openapi.v3  # noqa: F401 # all of it, for the tests of the simulator: after us it cannot be had any more
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that no worker is left with it in the end."""
    items.sort(key=lambda item: item.path.name != "test_simulation.py")
