"""Copy batches that our client starts in the simulated ICA: never twice, and read with their items."""

from __future__ import annotations

from typing import Any

import pytest

from icav2_copy_batch.adapters.ica.http import MAX_TRIES
from icav2_copy_batch.domain.ica import (
    CopyBatchItem,
    IcaAnswerLost,
    IcaError,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
    StartedCopyBatch,
)
from icav2_copy_batch.domain.submit import CopyOptions
from tests.doubles.simulated_ica import SimulatedIca
from tests.integration.ica_cases import Prepared, said, timeless

# --- copying ----------------------------------------------------------------------------------------------------------


def test_a_copy_batch_copies_its_sources_into_its_folder(prepared: Prepared) -> None:
    batch_id, job_id = prepared.start()
    (job,) = prepared.ica.world.jobs.values()
    assert (batch_id, job_id) == (job.batch_id, job.id)
    prepared.ica.clock.forward(10)
    assert timeless(prepared.ica.client().jobs([job_id])) == {job_id: said(prepared.ica, job_id, "SUCCEEDED")}
    assert prepared.ica.arrived() == {"/to/a.txt": "AVAILABLE", "/to/b.txt": "AVAILABLE"}


def test_a_copy_batch_without_a_folder_copies_into_the_projects_root(ica: SimulatedIca) -> None:
    source = ica.file("/run/a.txt").id
    ica.client().start_copy_batch(ica.destination, None, [source], CopyOptions())
    ica.clock.forward(10)
    ica.world.settle()
    assert ica.arrived() == {"/a.txt": "AVAILABLE"}


@pytest.mark.parametrize(
    "options",
    [
        CopyOptions(),
        CopyOptions("OVERWRITE", copy_user_tags=False),
        CopyOptions("RENAME", copy_technical_tags=False),
        CopyOptions("SKIP", copy_instrument_info=False),
    ],
    ids=str,
)
def test_a_copy_batch_is_started_with_the_options_of_its_job(prepared: Prepared, options: CopyOptions) -> None:
    prepared.start(options)
    (job,) = prepared.ica.world.jobs.values()
    asked = job.request
    assert options == CopyOptions(
        asked.action_on_exist.value, asked.copy_user_tags, asked.copy_technical_tags, asked.copy_instrument_info
    )


LOST: dict[str, dict[str, Any]] = {
    "dropped after it was carried out": {"kind": "drop_after"},
    "dropped before it was carried out": {"kind": "drop_before"},
    "302": {"kind": "status", "status": 302},
    "408": {"kind": "status", "status": 408},
    "500": {"kind": "status", "status": 500},
    "503 after it was carried out": {"kind": "status", "status": 503, "processed": True},
    "504 as HTML": {"kind": "html", "status": 504},
    "200 as HTML": {"kind": "html", "status": 200, "processed": True},
    "403 as HTML": {"kind": "html", "status": 403},
    "404 as HTML after it was carried out": {"kind": "html", "status": 404, "processed": True},
}


@pytest.mark.parametrize("fault", LOST)
def test_a_copy_batch_of_which_the_answer_is_lost_is_not_started_again(prepared: Prepared, fault: str) -> None:
    prepared.ica.fault(**LOST[fault], method="POST", path="dataCopyBatch")
    with pytest.raises(IcaAnswerLost):
        prepared.start()
    assert prepared.posts == 1


@pytest.mark.parametrize("status", [409, 425, 429])
@pytest.mark.parametrize("times", [1, MAX_TRIES - 1])
def test_a_copy_batch_that_was_turned_away_is_started_once_there_is_room(
    prepared: Prepared, times: int, status: int
) -> None:
    prepared.ica.fault("status", "POST", "dataCopyBatch", status=status, count=times)
    prepared.start()
    assert prepared.posts == times + 1
    assert len(prepared.ica.world.jobs) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_copy_batch_that_ica_refuses_is_refused_in_icas_words(prepared: Prepared, status: int) -> None:
    prepared.ica.fault("status", "POST", "dataCopyBatch", status=status, title="ICA_COPY_001")
    with pytest.raises(IcaRefused, match=f"ICA answered {status} ICA_COPY_001 a fault made by the simulator") as raised:
        prepared.start()
    assert raised.value.http_status == status
    assert prepared.posts == 1


@pytest.mark.parametrize("kind", ["status", "html"])
def test_a_copy_batch_that_is_too_large_is_refused_as_one_with_the_parameter_that_makes_it_smaller(
    prepared: Prepared, kind: Any
) -> None:
    prepared.ica.fault(kind, "POST", "dataCopyBatch", status=413)
    with pytest.raises(IcaRefusedBatch, match="it was to copy 2 sources; if these are too many, set MaxSources"):
        prepared.start()
    assert prepared.posts == 1


def test_ica_itself_says_why_it_refuses(prepared: Prepared) -> None:
    prepared.sources.append("fil.none")
    with pytest.raises(IcaRefused, match=r"404 ICA_API_404 no data fil\.none to copy"):
        prepared.start()


def test_a_folder_that_is_being_deleted_is_a_conflict_which_may_pass(prepared: Prepared) -> None:
    prepared.ica.set(delete_seconds=10_000)
    prepared.ica.world.delete(prepared.ica.destination, prepared.folder_id)
    with pytest.raises(IcaUnavailable) as conflict:
        prepared.start()
    assert conflict.value.http_status == 409


# --- what was remembered ----------------------------------------------------------------------------------------------


def known(folder_id: str | IcaError | None) -> str | None:
    assert not isinstance(folder_id, IcaError)
    return folder_id


@pytest.mark.parametrize("gone", ["folder", "source"])
def test_what_was_remembered_and_is_gone_is_looked_up_anew_and_no_reason_to_fail(ica: SimulatedIca, gone: str) -> None:
    ica.file("/a")
    client = ica.client()

    def start() -> object:
        data_ids = [data.data_id for data in client.find_sources(ica.source, ["/a"]).values()]
        folder_id = known(client.ensure_folders(ica.destination, ["/to/"])["/to/"])
        return client.start_copy_batch(ica.destination, folder_id, data_ids, CopyOptions())

    assert start()
    doomed = ica.world.at(ica.destination, "/to/") if gone == "folder" else ica.world.at(ica.source, "/a")
    assert doomed
    ica.world.discard(doomed)
    ica.file("/a")
    with pytest.raises(IcaUnavailable, match="looked up anew"):
        start()
    assert start()


def test_what_was_remembered_and_is_seen_since_is_not_looked_up_anew_for_ever(ica: SimulatedIca) -> None:
    """A job that is tried again looks its sources up afresh, whatever another has recalled of them."""
    ica.set(max_items=1)
    client, paths = ica.client(), [ica.file("/a").path, ica.file("/b").path]
    for _ in range(2):
        recalled = [data.data_id for data in client.find_sources(ica.source, paths).values()]
    with pytest.raises(IcaUnavailable, match="looked up anew"):
        client.start_copy_batch(ica.destination, None, recalled, CopyOptions())
    found = [data.data_id for data in client.find(ica.source, paths).values()]
    with pytest.raises(IcaRefusedBatch):
        client.start_copy_batch(ica.destination, None, found, CopyOptions())


def test_all_that_was_remembered_of_a_folder_that_is_gone_is_looked_up_anew(ica: SimulatedIca) -> None:
    """A launch looks up for several jobs together, and starts one after the other."""
    client, folders = ica.client(), ["/to/1/", "/to/2/"]
    data_ids = [client.find_sources(ica.source, [ica.file("/a").path])["/a"].data_id]

    def start_all() -> list[object]:
        started: list[object] = []
        for folder_id in map(known, client.ensure_folders(ica.destination, folders).values()):
            try:
                started.append(client.start_copy_batch(ica.destination, folder_id, data_ids, CopyOptions()))
            except IcaUnavailable as error:
                started.append(error)
        return started

    client.ensure_folders(ica.destination, folders)
    ica.world.discard(ica.folder("/to/"))
    assert [type(each) for each in start_all()] == [IcaUnavailable, IcaUnavailable]
    assert [type(each) for each in start_all()] == [StartedCopyBatch, StartedCopyBatch]


def test_a_refusal_of_what_was_just_looked_up_is_final(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "dataCopyBatch", status=403)
    client = ica.client()
    data_ids = [client.find_sources(ica.source, [ica.file("/a").path])["/a"].data_id]
    with pytest.raises(IcaRefused, match="403"):
        client.start_copy_batch(ica.destination, None, data_ids, CopyOptions())


# --- what a copy batch says -------------------------------------------------------------------------------------------


def test_a_copy_batch_says_where_to_it_copies(prepared: Prepared) -> None:
    batch_id, _ = prepared.start()
    client = prepared.ica.client()
    assert client.copy_batch_folder(prepared.ica.destination, batch_id) == prepared.folder_id


def test_the_items_of_many_sources_are_read_to_the_end_of_their_pages(prepared: Prepared) -> None:
    prepared.sources[:] = [prepared.ica.file(f"/run/{number}").id for number in range(1001)]
    batch_id, _ = prepared.start()
    found = prepared.ica.client().copy_batch_items(prepared.ica.destination, batch_id)
    assert {item.data_id for item in found} == set(prepared.sources)


def test_a_copy_batch_says_what_has_become_of_each_of_its_sources(prepared: Prepared) -> None:
    prepared.ica.script("/to/", "PARTIALLY_SUCCEEDED")
    batch_id, job_id = prepared.start()
    prepared.ica.clock.forward(10)
    prepared.ica.world.settle()
    ica, client = prepared.ica, prepared.ica.client()
    found = client.copy_batch_items(ica.destination, batch_id)
    items = ica.world.jobs[job_id].items
    assert found == [
        CopyBatchItem(
            item.source.id,
            item.status.value,
            item.reason,
            client.read(ica.destination, item.made.id) if item.made else None,
        )
        for item in items
    ]
    assert {item.created.path for item in found if item.created} == {
        path for path, status in ica.arrived().items() if status == "AVAILABLE"
    }
    assert {item.is_copied for item in found} == {True, False}
    assert [item.data_id for item in found] == prepared.sources


def test_a_copy_batch_into_the_root_has_no_folder(ica: SimulatedIca) -> None:
    source = ica.file("/run/a.txt").id
    started = ica.client().start_copy_batch(ica.destination, None, [source], CopyOptions())
    assert ica.client().copy_batch_folder(ica.destination, started.batch_id) is None


def test_something_that_is_no_copy_batch_is_a_refusal(prepared: Prepared) -> None:
    batch_id, job_id = prepared.start()
    for project_id, some_id in ((prepared.ica.destination, job_id), (prepared.ica.source, batch_id)):
        with pytest.raises(IcaRefused, match="404"):
            prepared.ica.client().copy_batch_folder(project_id, some_id)


def test_an_id_that_is_none_is_refused(ica: SimulatedIca) -> None:
    """A job of another kind may have any subject."""
    for read in (ica.client().copy_batch_folder, ica.client().copy_batch_items):
        with pytest.raises(IcaRefused):
            read(ica.destination, "no id")
