"""The small ICA of the unit tests answers as our client does of the simulated ICA: each test runs on both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from icav2_copy_batch.domain.ica import IcaData, IcaRefused, StartedCopyBatch, Verdict, verdict_of
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.ports import Ica, IcaSearch
from local.simulator.model import DataStatus
from tests import doubles
from tests.doubles.simulated_ica import SimulatedIca

NOBODY = "5fa5cdd5-9e8f-4ab2-8a0c-3a0f3f4d5a11"


class Port(Ica, IcaSearch, Protocol):
    """All that the stages ask of ICA."""


class Either(ABC):
    """An ICA with two projects, and what a test does to it."""

    ica: Port
    source: str
    destination: str

    @abstractmethod
    def put(self, *paths: str, status: str = "AVAILABLE") -> None:
        """Put files of 7 bytes, and folders, into the source project."""

    @abstractmethod
    def refuse_folder(self, folder: str) -> None:
        """Have ICA refuse to make this folder in the destination project, which is the next to be made."""

    @abstractmethod
    def delete_slowly(self, path: str) -> None:
        """Have this file of the source project stay DELETING."""

    @abstractmethod
    def forward(self) -> datetime:
        """Let some seconds pass; the moment that it is then."""

    def found(self, *paths: str) -> dict[str, IcaData]:
        return self.ica.find(self.source, paths)

    def ids(self, *paths: str) -> list[str]:
        found = self.found(*paths)
        return [found[path].data_id for path in paths]

    def start(self, *paths: str, folder: str = "/to/") -> StartedCopyBatch:
        """Start copying these files of the source project."""
        folder_id = self.ica.ensure_folders(self.destination, [folder])[folder]
        assert folder_id is None or isinstance(folder_id, str)
        return self.ica.start_copy_batch(self.destination, folder_id, self.ids(*paths), CopyOptions())


class Simulated(Either):
    def __init__(self, simulated: SimulatedIca) -> None:
        self.simulated, self.ica = simulated, simulated.client(spread=doubles.in_turn)
        self.source, self.destination = simulated.source, simulated.destination

    def put(self, *paths: str, status: str = "AVAILABLE") -> None:
        for path in paths:
            if path.endswith("/"):
                self.simulated.world.add_folder(self.source, path)
            else:
                self.simulated.file(path, size=7, status=DataStatus(status))

    def refuse_folder(self, folder: str) -> None:
        self.simulated.fault("status", "POST", "createFolder", status=403, count=1)

    def delete_slowly(self, path: str) -> None:
        self.simulated.set(delete_seconds=3600.0)

    def forward(self) -> datetime:
        self.simulated.clock.forward(5)
        return self.simulated.clock()


class Small(Either):
    def __init__(self) -> None:
        self.small = self.ica = doubles.SmallIca()
        self.source, self.destination = "source", "destination"
        self.clock = doubles.Clock()

    def put(self, *paths: str, status: str = "AVAILABLE") -> None:
        self.small.add(*paths, status=status)

    def refuse_folder(self, folder: str) -> None:
        self.small.folder_troubles[folder] = IcaRefused("403")

    def delete_slowly(self, path: str) -> None:
        self.small.slow_to_delete.add(path)

    def forward(self) -> datetime:
        self.clock.forward(5)
        return self.clock()


@pytest.fixture(params=["simulated", "double"])
def either(request: pytest.FixtureRequest) -> Either:
    return Small() if request.param == "double" else Simulated(request.getfixturevalue("ica"))


TREE = ["/run/a", "/run/b", "/run/sub/c", "/run/sub/deeper/d", "/run 2/e"]


def paths_in(pages: Iterator[list[IcaData]]) -> list[str]:
    return sorted(it.path for page in pages for it in page)


# --- data ------------------------------------------------------------------------------------------------------------


def test_what_is_at_a_path_is_found_and_a_path_where_nothing_is_is_left_out(either: Either) -> None:
    either.put("/run/a", "/run/sub/")
    either.put("/run/b", status="PARTIAL")
    wanted = ["/run/a", "/run/b", "/run/A", "/run", "/run/sub/", "/run/sub", "/none/"]
    for found in (either.ica.find(either.source, wanted), either.ica.find_sources(either.source, wanted)):
        told = {path: (it.path, it.status) for path, it in found.items()}
        assert told == {
            "/run/a": ("/run/a", "AVAILABLE"),
            "/run/b": ("/run/b", "PARTIAL"),
            "/run/sub/": ("/run/sub/", "AVAILABLE"),
        }
        assert (found["/run/a"].size, found["/run/sub/"].size) == (7, None)


def test_data_are_found_by_their_ids_and_one_that_is_not_there_is_left_out(either: Either) -> None:
    either.put(*TREE)
    first, second = ids = either.ids("/run/a", "/run/sub/deeper/d")
    found = either.ica.find_by_ids(either.source, [*ids, "fil.none"])
    assert {data_id: it.path for data_id, it in found.items()} == {first: "/run/a", second: "/run/sub/deeper/d"}


def test_a_tree_is_listed_with_all_files_below_it_and_no_folder(either: Either) -> None:
    either.put("/run/empty/", *TREE)
    assert paths_in(iter(either.ica.tree_pages(either.source, "/run/"))) == TREE[:4]
    assert paths_in(iter(either.ica.tree_pages(either.source, "/run/empty/"))) == []


def test_a_folder_is_listed_with_the_files_and_the_folders_in_it_alone(either: Either) -> None:
    either.put(*TREE)
    assert paths_in(iter(either.ica.file_pages(either.source, "/run/"))) == ["/run/a", "/run/b"]
    assert either.ica.folders_in(either.source, "/run/") == ["/run/sub/"]
    assert either.ica.folders_in(either.source, "/run/sub/deeper/") == []


@pytest.mark.parametrize(("recursive", "names"), [(False, ["b"]), (True, ["b", "sub/c"])])
def test_files_that_are_there_and_are_none_are_found_in_a_folder_or_below_it(
    either: Either, recursive: bool, names: list[str]
) -> None:
    either.put("/run/a", "/run/sub/deeper/d")
    either.put("/run/b", "/run/sub/c", "/run 2/e", status="PARTIAL")
    found = either.ica.incomplete_files(either.source, "/run/", recursive)
    assert sorted(it.path for it in found) == [f"/run/{name}" for name in names]


def test_what_is_deleted_is_gone_and_nothing_else_is(either: Either) -> None:
    either.put("/run/a", "/run/b", status="PARTIAL")
    either.ica.delete_data(either.source, either.ids("/run/a"))
    either.forward()
    assert either.found("/run/a", "/run/b").keys() == {"/run/b"}


def test_what_ica_takes_its_time_to_delete_is_deleting(either: Either) -> None:
    either.put("/run/a", status="PARTIAL")
    either.delete_slowly("/run/a")
    either.ica.delete_data(either.source, either.ids("/run/a"))
    assert [it.status for it in either.ica.incomplete_files(either.source, "/run/", recursive=False)] == ["DELETING"]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_each_folder_has_one_id_and_the_root_has_none(either: Either) -> None:
    first, again = (either.ica.ensure_folders(either.destination, ["/x/", "/y/", "/"]) for _ in range(2))
    assert first == again
    assert first["/"] is None
    assert first["/x/"] != first["/y/"]


def test_a_folder_that_ica_refuses_has_an_error_for_its_id_and_the_others_have_theirs(either: Either) -> None:
    either.refuse_folder("/refused/")
    made = either.ica.ensure_folders(either.destination, ["/refused/", "/x/"])
    assert isinstance(made["/refused/"], IcaRefused)
    assert isinstance(made["/x/"], str)


# --- copy batches ----------------------------------------------------------------------------------------------------


def test_a_copy_batch_that_was_started_runs_and_says_what_it_copies_and_where_to(either: Either) -> None:
    either.put("/run/a", "/run/b")
    started = either.start("/run/a", "/run/b")
    (job,) = either.ica.jobs([started.job_id, NOBODY]).values()
    assert (job.job_id, verdict_of(job.status), job.subject_id) == (
        started.job_id,
        Verdict.STILL_RUNNING,
        started.batch_id,
    )
    items = either.ica.copy_batch_items(either.destination, started.batch_id)
    assert sorted(it.data_id for it in items) == sorted(either.ids("/run/a", "/run/b"))
    assert not any(it.is_copied for it in items)
    folder_id = either.ica.copy_batch_folder(either.destination, started.batch_id)
    assert folder_id == either.ica.ensure_folders(either.destination, ["/to/"])["/to/"]


def test_a_copy_batch_into_the_root_has_no_folder(either: Either) -> None:
    either.put("/run/a")
    started = either.start("/run/a", folder="/")
    assert either.ica.copy_batch_folder(either.destination, started.batch_id) is None


def test_each_start_makes_another_copy_batch(either: Either) -> None:
    either.put("/run/a")
    one, two = either.start("/run/a"), either.start("/run/a", folder="/other/")
    assert len({one.batch_id, two.batch_id, one.job_id, two.job_id}) == 4


def test_a_copy_batch_that_is_none_is_refused_with_a_404(either: Either) -> None:
    for ask in (either.ica.copy_batch_items, either.ica.copy_batch_folder):
        with pytest.raises(IcaRefused) as refused:
            ask(either.destination, NOBODY)
        assert refused.value.http_status == 404


def test_jobs_are_listed_from_a_moment_on(either: Either) -> None:
    either.put("/run/a")
    before = either.forward() - timedelta(minutes=1)
    started = either.start("/run/a")
    assert [job.job_id for job in either.ica.recent_jobs(timestamp(before))] == [started.job_id]
