"""Items: what a failed copy batch has copied nevertheless."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Job, JobStatus
from icav2_copy_batch.domain.outcomes import Finding, SourceOutcome
from icav2_copy_batch.stages.items import BatchItems
from tests.doubles import SmallIca

SOURCES = ["icav2://from/a", "icav2://from/b", "icav2://other/c"]
FAILURES = [IcaUnavailable("503"), IcaRefused("404")]


def job(number: int = 1, sources: list[str] = SOURCES, copied: Collection[str] = ()) -> Job:
    return Job(
        "run",
        f"{number:06d}",
        JobStatus.RUNNING,
        attempt=1,
        destination="icav2://to/x/",
        sources=tuple(sources),
        copied=frozenset(copied),
        ica_project_id="to",
        ica_job_id=f"ica-{number}",
        ica_batch_id=f"batch-{number}",
    )


def stocked() -> SmallIca:
    ica = SmallIca()
    ica.add("/a", "/b", "/c")
    return ica


def uncopied(ica: SmallIca, *jobs: Job) -> dict[tuple[str, str], list[SourceOutcome]]:
    items = BatchItems(ica=ica)
    return items.uncopied(jobs, items.read(jobs), {})


def items(**said: str) -> list[CopyBatchItem]:
    """Of the sources of these names, with what ICA says of each."""
    return [CopyBatchItem(f"/{name}", it, None if it == "COPIED" else "disk full") for name, it in said.items()]


def test_a_source_is_copied_when_its_item_is() -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b="FAILED", c="PARTIALLY_COPIED")
    assert uncopied(ica, job()) == {
        ("run", "000001"): [
            SourceOutcome(SOURCES[1], "FAILED", "disk full"),
            SourceOutcome(SOURCES[2], "PARTIALLY_COPIED", "disk full"),
        ]
    }
    assert ica.called("copy_batch_items") == [["to", "batch-1"]]


@pytest.mark.parametrize("status", ["QUEUED", "COPYING", "NEW_TO_US"])
def test_an_item_that_was_not_ended_is_not_copied(status: str) -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b=status, c="COPIED")
    assert [each.source for each in uncopied(ica, job())["run", "000001"]] == SOURCES[1:2]


def test_a_source_that_is_not_among_the_items_is_not_copied() -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED")
    assert uncopied(ica, job())["run", "000001"] == [
        SourceOutcome(source, Finding.NOT_AN_ITEM) for source in SOURCES[1:]
    ]


def test_a_source_that_is_gone_is_not_copied() -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b="COPIED", c="COPIED")
    del ica.data["/b"]
    assert [each.source for each in uncopied(ica, job())["run", "000001"]] == SOURCES[1:2]


def test_an_id_that_is_remembered_is_not_taken_for_that_of_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source may have been replaced before the copy batch was started."""
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b="COPIED", c="COPIED")
    former = {"/a": IcaData("former id", "/a", "AVAILABLE", 7)}
    monkeypatch.setattr(ica, "find_sources", lambda project_id, paths: former)
    assert uncopied(ica, job()) == {("run", "000001"): []}


def test_what_an_earlier_attempt_has_copied_is_not_asked_for() -> None:
    """It is no item of this copy batch."""
    ica = stocked()
    ica.items["batch-1"] = items(b="COPIED", c="FAILED")
    earlier = SOURCES[:1]
    assert [each.source for each in uncopied(ica, job(copied=earlier))["run", "000001"]] == SOURCES[2:]
    assert ["from", "/b"] in ica.called("find")


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_job_whose_items_cannot_be_read_is_left_out_and_the_others_are_not(error: IcaError) -> None:
    ica = stocked()
    ica.items |= {"batch-1": items(a="COPIED"), "batch-2": items(a="FAILED")}
    ica.trouble("copy_batch_items", error, only="batch-1")
    found = uncopied(ica, job(1, SOURCES[:1]), job(2, SOURCES[:1]))
    assert found == {("run", "000002"): [SourceOutcome(SOURCES[0], "FAILED", "disk full")]}


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_sources_of_a_project_that_cannot_be_read_are_not_copied_and_those_of_another_are(error: IcaError) -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b="COPIED", c="COPIED")
    ica.trouble("find", error, only="other")
    assert uncopied(ica, job())["run", "000001"] == [SourceOutcome(SOURCES[2], Finding.NOT_AN_ITEM)]


def test_sources_of_many_jobs_are_looked_up_together() -> None:
    ica = stocked()
    ica.items |= {f"batch-{number}": items(a="COPIED", b="COPIED", c="COPIED") for number in range(1, 6)}
    assert set(map(len, uncopied(ica, *map(job, range(1, 6))).values())) == {0}
    assert len(ica.called("find")) == 2, "one for each project"


def test_sources_that_were_looked_up_in_the_same_look_are_not_looked_up_again() -> None:
    ica = stocked()
    ica.items["batch-1"] = items(a="COPIED", b="COPIED", c="COPIED")
    reader = BatchItems(ica=ica)
    read = reader.read([job()])
    assert reader.uncopied([job()], read, {SOURCES[0]: "/a", SOURCES[1]: "/b"})["run", "000001"] == []
    assert ica.called("find") == [["other", "/c"]]


def test_nothing_takes_no_call() -> None:
    ica = stocked()
    assert uncopied(ica) == {}
    assert ica.calls == []
