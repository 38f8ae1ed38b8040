"""The newest copies, read page by page."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from icav2_copy_batch.domain.job import Copy, timestamp
from icav2_copy_batch.stages import newest
from icav2_copy_batch.stages.newest import newest_copies
from tests import doubles


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> doubles.World:
    """Seven copies, a minute apart, read two at a time."""
    monkeypatch.setattr(newest, "PAGE", 2)
    world = doubles.World()
    for number in range(7):
        copy = Copy(f"copy-{number}", "digest", timestamp(world.clock()), 1, 1, "s3://b/m")
        world.table.create_copy(copy)
        world.clock.forward(seconds=60)
    return world


def found(world: doubles.World, most: int) -> list[str]:
    now = world.clock()
    return [copy.copy_id for copy in newest_copies(world.table, now - timedelta(days=1), now, most)]


@pytest.mark.parametrize("most", [0, 1, 2, 3, 6, 7, 8, 100])
def test_the_newest_come_first_and_never_more_than_are_wanted(world: doubles.World, most: int) -> None:
    assert found(world, most) == [f"copy-{number}" for number in reversed(range(7))][:most]


def test_only_the_pages_that_are_needed_are_read(world: doubles.World) -> None:
    now = world.clock()
    newest_first = newest_copies(world.table, now - timedelta(days=1), now, 100)
    assert next(newest_first).copy_id == "copy-6"
    later = world.table.copies["copy-3"]
    later.copy = replace(later.copy, open_jobs=0)
    assert [copy.is_settled for copy in newest_first] == [False, False, True, False, False, False]
