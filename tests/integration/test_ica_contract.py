"""The double of ICA in the simulated world answers as our client does over HTTP: the same tests for both."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import pytest

from icav2_copy_batch.adapters.ica import IcaClient
from icav2_copy_batch.domain.ica import CopyBatch, CopyBatchItem, IcaRefused, IcaUnavailable, StartedCopyBatch
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.manifest import CopyOptions
from local.simulator.bodies import moment
from local.simulator.model import DataStatus
from tests import fake_ica
from tests.integration.simulated_ica import SimulatedIca


@dataclass
class Wire(fake_ica.Wire):
    simulated: SimulatedIca

    def sleep(self, seconds: float) -> None:
        self.simulated.sleep(seconds)


EitherIca = IcaClient | fake_ica.Ica


@pytest.fixture(params=["over HTTP", "double"])
def either(request: pytest.FixtureRequest, ica: SimulatedIca) -> EitherIca:
    return fake_ica.Ica(ica.world, Wire(ica)) if request.param == "double" else ica.client()


def start(either: EitherIca, ica: SimulatedIca, *paths: str, folder: str = "/to/") -> StartedCopyBatch:
    data_ids = [ica.file(path).id for path in paths]
    folder_id = either.ensure_folders(ica.destination, [folder])[folder]
    return either.start_copy_batch(ica.destination, folder_id, data_ids, CopyOptions())


def test_a_project_is_known_by_id_and_by_its_exact_name(either: EitherIca, ica: SimulatedIca) -> None:
    assert either.project_id(ica.source.upper()) == ica.source
    assert either.project_id("source") == ica.source
    with pytest.raises(IcaRefused):
        either.project_id("sourc")


def test_what_is_there_is_found_by_its_exact_path(either: EitherIca, ica: SimulatedIca) -> None:
    file = ica.file("/a/b.txt", size=7)
    ica.file("/a/b.txt.bai")
    found = either.find(ica.source, ["/a/b.txt", "/a/B.txt", "/a/", "/none"])
    assert found.keys() == {"/a/b.txt", "/a/"}
    assert (found["/a/b.txt"].data_id, found["/a/b.txt"].size, found["/a/b.txt"].etag) == (file.id, 7, file.etag)
    assert found["/a/"].size is None
    assert either.find(ica.source, []) == {}


def test_of_two_data_at_one_path_the_available_one_is_found(either: EitherIca, ica: SimulatedIca) -> None:
    gone = ica.file("/a/b.txt")
    ica.world.discard(gone)
    there = ica.file("/a/b.txt")
    assert either.find(ica.source, ["/a/b.txt"])["/a/b.txt"].data_id == there.id
    ica.world.delete(ica.source, there.id)
    assert either.find(ica.source, ["/a/b.txt"])["/a/b.txt"].status == "DELETING"


def test_in_a_project_that_is_not_there_nothing_is_found_but_a_refusal(either: EitherIca) -> None:
    with pytest.raises(IcaRefused) as refused:
        either.find(str(uuid4()), ["/a"])
    assert refused.value.http_status == 404


def test_a_tree_is_all_files_below_a_folder(either: EitherIca, ica: SimulatedIca) -> None:
    for path in ("/a/1", "/a/b/2", "/ab/3"):
        ica.file(path)
    assert sorted(data.path for data in either.list_tree(ica.source, "/a/")) == ["/a/1", "/a/b/2"]


def test_data_are_known_by_their_ids(either: EitherIca, ica: SimulatedIca) -> None:
    file, gone, elsewhere = ica.file("/a/1"), ica.file("/a/2"), ica.file("/a/1", ica.destination)
    ica.world.discard(gone)
    found = either.find_by_ids(ica.source, [file.id, gone.id, elsewhere.id])
    assert found == {file.id: either.read_data(ica.source, file.id)}
    assert found[file.id].created_at == moment(file.created)
    assert either.read_data(ica.source, gone.id) is None
    assert either.find_by_ids(ica.source, []) == {}


@pytest.mark.parametrize(("recursive", "expected"), [(False, {"/a/1"}), (True, {"/a/1", "/a/b/2"})])
def test_incomplete_files_are_found_in_a_folder(
    either: EitherIca, ica: SimulatedIca, recursive: bool, expected: set[str]
) -> None:
    for path in ("/a/1", "/a/b/2", "/ab/3"):
        ica.file(path, status=DataStatus.PARTIAL)
    ica.file("/a/4")
    assert {data.path for data in either.incomplete_files(ica.source, "/a/", recursive)} == expected


def test_a_tree_comes_in_pages(either: EitherIca, ica: SimulatedIca) -> None:
    for path in ("/a/1", "/a/b/2", "/ab/3"):
        ica.file(path)
    pages = either.tree_pages(ica.source, "/a/")
    assert sorted(data.path for page in pages for data in page) == ["/a/1", "/a/b/2"]


def test_folders_are_made_once_with_their_parents(either: EitherIca, ica: SimulatedIca) -> None:
    made = either.ensure_folders(ica.destination, ["/a/b/", "/"])
    assert made["/"] is None
    assert either.ensure_folders(ica.destination, ["/a/b/", "/a/"])["/a/b/"] == made["/a/b/"]
    assert ica.folders() == ["/a/", "/a/b/"]


def test_partial_files_of_ours_are_deleted_and_waited_for(either: EitherIca, ica: SimulatedIca) -> None:
    ica.set(delete_seconds=3)
    for path in ("/to/a", "/to/c", "/to/deep/a"):
        ica.file(path, ica.destination, status=DataStatus.PARTIAL)
    ica.file("/to/b", ica.destination)
    assert either.delete_partial_files(ica.destination, ["/to/a", "/to/b", "/to/deep/a", "/to/none"]) == 2
    assert ica.arrived().keys() == {"/to/b", "/to/c"}


def test_a_copy_batch_can_be_read_back(either: EitherIca, ica: SimulatedIca) -> None:
    before = timestamp(ica.clock())
    ica.script("/to/", "PARTIALLY_SUCCEEDED")
    batch = start(either, ica, "/a", "/b")
    folder = ica.world.at(ica.destination, "/to/")
    a, b = (ica.world.at(ica.source, path) for path in ("/a", "/b"))
    assert folder
    assert a
    assert b
    assert either.copy_batch(ica.destination, batch.batch_id) == CopyBatch(folder.id, frozenset({a.id, b.id}))
    assert either.jobs([batch.job_id, str(uuid4())]).keys() == {batch.job_id}
    assert either.jobs([batch.job_id])[batch.job_id].status == "INITIALIZED"
    ica.clock.forward(60)
    (job,) = either.jobs_created_since(before)
    assert (job.job_id, job.subject_id, job.project_id) == (batch.job_id, batch.batch_id, ica.destination)
    assert job.status == "PARTIALLY_SUCCEEDED"
    assert job.reason
    items = {item.data_id: item for item in either.copy_batch_items(ica.destination, batch.batch_id)}
    assert items.keys() == {a.id, b.id}
    assert sorted(item.is_copied for item in items.values()) == [False, True]
    assert all((item.reason is None) == item.is_copied for item in items.values())
    assert all(isinstance(item, CopyBatchItem) for item in items.values())
    assert [item.created.path for item in items.values() if item.created] == [
        path for path, status in ica.arrived().items() if status == "AVAILABLE"
    ]


def test_jobs_are_listed_from_a_moment_on_newest_first(either: EitherIca, ica: SimulatedIca) -> None:
    start(either, ica, "/a")
    ica.clock.forward(100)
    since = timestamp(ica.clock())
    second = start(either, ica, "/b")
    ica.clock.forward(1)
    third = start(either, ica, "/c")
    assert [job.job_id for job in either.jobs_created_since(since)] == [third.job_id, second.job_id]


def test_a_copy_batch_that_is_not_there_is_refused(either: EitherIca, ica: SimulatedIca) -> None:
    for read in (either.copy_batch, either.copy_batch_items):
        with pytest.raises(IcaRefused):
            read(ica.destination, str(uuid4()))


def test_an_id_that_is_none_is_refused(either: EitherIca, ica: SimulatedIca) -> None:
    """A job of another kind may have any subject."""
    with pytest.raises(IcaRefused):
        either.copy_batch(ica.destination, "no id")


def test_what_ica_does_not_copy_is_refused(either: EitherIca, ica: SimulatedIca) -> None:
    with pytest.raises(IcaRefused):
        either.start_copy_batch(ica.destination, None, ["fil.00000000000000000000000000000000"], CopyOptions())


def test_a_folder_that_is_being_deleted_is_a_conflict_which_may_pass(either: EitherIca, ica: SimulatedIca) -> None:
    ica.set(delete_seconds=10_000)
    folder = ica.made_folder("doomed")
    ica.world.delete(ica.destination, folder.id)
    with pytest.raises(IcaUnavailable) as conflict:
        either.start_copy_batch(ica.destination, folder.id, [ica.file("/a").id], CopyOptions())
    assert conflict.value.http_status == 409


def test_a_job_that_is_not_shown_any_more_is_left_out(either: EitherIca, ica: SimulatedIca) -> None:
    ica.set(job_readable_seconds=5)
    batch = start(either, ica, "/a")
    ica.clock.forward(3600)
    assert either.jobs([batch.job_id]) == {}
    assert either.jobs_created_since("2026-01-01T00:00:00.000Z") == []
