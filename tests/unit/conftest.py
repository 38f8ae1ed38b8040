"""Unit tests: everything in memory. None of them can open a socket, and none measures time."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_sockets(socket_disabled: None) -> None:
    """A unit test that opens a socket fails."""
