"""Recheck: what of a settled copy is not in ICA any more as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Job
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome
from icav2_copy_batch.operators import recheck
from icav2_copy_batch.operators.control import Control
from icav2_copy_batch.operators.recheck import SECONDS_TO_ANSWER, Recheck
from tests import doubles
from tests.doubles import SmallIca

A, B, TREE = "icav2://from/run/a", "icav2://from/run/b", "icav2://from/run/tree/"
KEPT = {A: Fingerprint(7, "etag"), B: Fingerprint(7), TREE: Fingerprint(14)}


@dataclass(kw_only=True)
class World(doubles.World):
    """A copy of one job and its copies in ``/out 0/``, as they were found right."""

    ica: SmallIca = field(default_factory=SmallIca)
    seconds_left: float = 900.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ica.add("/out 0/b", "/out 0/tree/c", "/out 0/tree/deeper/d", "/out 0/tree/.iap_probe")
        self.ica.data["/out 0/a"] = IcaData("x", "/out 0/a", "AVAILABLE", 7, "etag")

    def settle(self, jobs: int = 1, kept: Mapping[str, Fingerprint] = KEPT) -> None:
        created = self.create(*(f"icav2://to/out {number}/" for number in range(jobs)), sources=[A, B, TREE])
        for job in created:
            running = self.run(job)
            ended = running.ended_attempt("SUCCEEDED", None, self.clock(), fingerprints=kept)
            assert self.table.mark_passed(running, ended, self.clock())

    def run(self, job: Job) -> Job:
        return doubles.run(self.table, self.now(job), self.clock(), f"ica-{job.job_id}")

    def ask(self, **request: str) -> dict[str, Any]:
        stage = Recheck(table=self.table, ica=self.ica, spread=doubles.in_turn, seconds_left=lambda: self.seconds_left)
        control = Control(
            table=self.table,
            operate=None,  # type: ignore[arg-type]
            of_ica=SimpleNamespace(recheck=stage),
            submissions=None,  # type: ignore[arg-type]
            poller=doubles.Poller(),
            bucket_name="our-bucket",
            clock=self.clock,
        )
        answer = control.answer({"command": "verify", "copy_id": "run", **request})
        assert json.loads(json.dumps(answer)) == answer, "Lambda returns JSON"
        return answer

    def verify(self, **request: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask(**request)["ok"]
        return answer

    def changed(self) -> list[tuple[str, str, str]]:
        found = self.verify()
        assert found["same"] == found["copied"] - len(found["changed"])
        return [(each["copy"], each["change"], each["what"]) for each in found["changed"]]


@pytest.fixture
def world() -> World:
    return World()


def test_a_copy_that_is_as_it_was_is_the_same(world: World) -> None:
    world.settle()
    assert world.verify() == {"copied": 3, "same": 3, "unknown": 0, "changed": []}


def test_the_sources_may_be_gone(world: World) -> None:
    world.settle()
    assert not any(path.startswith("/run/") for path in world.ica.data)
    assert world.changed() == []


@pytest.mark.parametrize(
    ("now", "change", "what"),
    [
        (None, "GONE", "is not there any more"),
        (IcaData("x", "/out 0/a", "DELETING", 7, "etag"), "GONE", "is being deleted"),
        (IcaData("y", "/out 0/a", "AVAILABLE", 8, "etag"), "CHANGED", "has 8 bytes, it had 7"),
        (IcaData("y", "/out 0/a", "AVAILABLE", 7, "other"), "CHANGED", "has the ETag other, it had etag"),
    ],
)
def test_what_has_changed_or_gone_is_told(world: World, now: IcaData | None, change: str, what: str) -> None:
    world.settle()
    del world.ica.data["/out 0/a"]
    if now:
        world.ica.data["/out 0/a"] = now
    assert world.changed() == [("icav2://to/out 0/a", change, what)]


def test_a_file_that_was_archived_since_or_of_which_no_etag_was_kept_is_the_same(world: World) -> None:
    world.settle()
    world.ica.data["/out 0/a"] = IcaData("x", "/out 0/a", "ARCHIVED", 7, "etag")
    world.ica.data["/out 0/b"] = IcaData("x", "/out 0/b", "AVAILABLE", 7, "new")
    assert world.changed() == []


def test_a_folder_is_compared_by_its_bytes(world: World) -> None:
    world.settle()
    del world.ica.data["/out 0/tree/c"]
    assert world.changed() == [("icav2://to/out 0/tree/", "CHANGED", "holds 7 bytes, and 14 were copied into it")]
    world.ica.add("/out 0/tree/deeper/d", status="DELETING")
    assert world.changed() == [("icav2://to/out 0/tree/", "GONE", "holds no file any more")]


def test_a_folder_may_hold_more_than_was_copied_into_it(world: World) -> None:
    world.settle()
    world.ica.add("/out 0/tree/of another copy")
    assert world.changed() == []


def test_a_folder_that_takes_too_long_is_unknown_and_the_next_answer_goes_on_after_its_job(world: World) -> None:
    world.settle(jobs=2)
    list_tree = world.ica.tree_pages

    def slow(project_id: str, folder: str) -> Iterator[list[IcaData]]:
        for page in list_tree(project_id, folder):
            world.seconds_left -= 900
            yield page

    world.ica.tree_pages = slow  # type: ignore[method-assign]
    assert world.verify() == {"copied": 3, "same": 2, "unknown": 1, "changed": [], "next_after": "000001"}


def test_a_folder_for_which_others_have_left_too_little_time_is_compared_in_the_next_answer(world: World) -> None:
    world.settle(jobs=2)
    world.ica.add("/out 1/b", "/out 1/tree/c", "/out 1/tree/d")
    world.ica.data["/out 1/a"] = IcaData("x1", "/out 1/a", "AVAILABLE", 7, "etag")
    list_tree = world.ica.tree_pages

    def slow(project_id: str, folder: str) -> Iterator[list[IcaData]]:
        for page in list_tree(project_id, folder):
            world.seconds_left -= 450
            yield page

    world.ica.tree_pages = slow  # type: ignore[method-assign]
    assert world.verify() == {"copied": 3, "same": 3, "unknown": 0, "changed": [], "next_after": "000001"}
    world.seconds_left = 900
    assert world.verify(after="000001") == {"copied": 3, "same": 3, "unknown": 0, "changed": []}


def test_of_what_nothing_was_kept_nothing_is_said(world: World) -> None:
    world.settle(kept={A: Fingerprint(7, "etag")})
    assert world.verify() == {"copied": 3, "same": 1, "unknown": 2, "changed": []}


def test_what_was_not_copied_is_not_looked_for(world: World) -> None:
    job = world.create("icav2://to/out 0/", sources=[A, B])[0]
    running = world.run(job)
    missing = [SourceOutcome(B, "FAILED", "disk full")]
    ended = running.ended_attempt("FAILED", "disk full", world.clock(), missing, {A: Fingerprint(7, "etag")})
    assert world.table.give_up(running, ended, world.clock())
    assert world.verify() == {"copied": 1, "same": 1, "unknown": 0, "changed": []}


@pytest.mark.parametrize("seconds_left", [900.0, SECONDS_TO_ANSWER - 1])
def test_an_answer_is_of_as_many_jobs_as_it_has_room_and_time_for(
    world: World, seconds_left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.seconds_left = seconds_left
    monkeypatch.setattr(recheck, "MOST_SOURCES", 5 if seconds_left == 900 else 1000)
    world.settle(jobs=5)
    pages: list[dict[str, Any]] = []
    after = None
    while not pages or after:
        page = world.verify(**({"after": after} if after else {}))
        pages.append(page)
        after = page.get("next_after")
    assert sum(page["copied"] for page in pages) == 15
    assert sum(page["same"] for page in pages) == 3, "of the first job"
    assert len([each for page in pages for each in page["changed"]]) == 12
    assert len(pages) == (3 if seconds_left == 900 else 5)


def test_sources_and_copies_are_spelled_as_the_client_does(world: World) -> None:
    world.settle()
    row = world.table.copies["run"]
    row.copy = replace(row.copy, project_names={"from": "Run Project", "to": "Archive"})
    del world.ica.data["/out 0/a"]
    ((changed),) = world.verify()["changed"]
    assert (changed["source"], changed["copy"]) == ("icav2://Run Project/run/a", "icav2://Archive/out 0/a")


def test_a_copy_that_is_open_or_not_there_is_not_verified(world: World) -> None:
    assert world.ask()["error"]["kind"] == "no_such_copy"
    world.create("icav2://to/out 0/", sources=[A])
    assert world.ask()["error"]["kind"] == "refused"


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(IcaUnavailable("ICA answered 503"), "unavailable"), (IcaRefused("no such project can be seen"), "refused")],
)
def test_a_project_that_cannot_be_read_says_nothing_of_its_files(
    world: World, trouble: IcaUnavailable | IcaRefused, kind: str
) -> None:
    world.settle()
    world.ica.trouble("find", trouble)
    assert world.ask()["error"]["kind"] == kind
