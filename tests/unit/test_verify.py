"""Verify: what has to be at a destination before a job has passed, and whose fault it is where ICA will not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icav2_copy_batch.domain.ica import IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Job, JobStatus
from icav2_copy_batch.domain.manifest import CopyOptions, pack_sources
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.verify import MISMATCH, JobKey, Verification, Verify
from tests.unit.small_ica import SmallIca


def job(number: int, *sources: str, project: str = "to", action_on_exist: str = "SKIP") -> Job:
    uris = [f"icav2://from{source}" for source in sources or ("/run/a", "/run/b")]
    return Job(
        "run",
        f"{number:06d}",
        JobStatus.RUNNING,
        1,
        f"icav2://{project}/out {number}/",
        pack_sources(uris),
        options=CopyOptions(action_on_exist),
    )


@pytest.fixture
def ica() -> SmallIca:
    """Two files and a folder, and what copying them into ``/out 1/`` and ``/out 2/`` makes."""
    ica = SmallIca()
    ica.add("/run/a", "/run/b", "/run/tree/", "/run/tree/c", "/run/tree/deeper/d")
    for number in (1, 2):
        ica.add(f"/out {number}/a", f"/out {number}/b", f"/out {number}/tree/c", f"/out {number}/tree/deeper/d")
    return ica


def faults(ica: SmallIca, *jobs: Job, verification: Verification = Verification.SIZE) -> dict[JobKey, list[str]]:
    """By job what is wrong with each source, without its destination's name."""
    found = Verify(ica, verification).faults(jobs)
    assert all(isinstance(each, SourceOutcome) and each.outcome == MISMATCH for them in found.values() for each in them)
    return {key: [f"{each.source}: {each.reason}" for each in them] for key, them in found.items()}


FIRST, SECOND = ("run", "000001"), ("run", "000002")


def test_what_is_there_as_it_should_be_has_no_fault(ica: SmallIca) -> None:
    assert faults(ica, job(1), job(2, "/run/tree/")) == {FIRST: [], SECOND: []}


@pytest.mark.parametrize(
    ("copy", "fault"),
    [
        (None, "is not there"),
        (IcaData("x", "/out 1/b", "PARTIAL", 7), "is PARTIAL"),
        (IcaData("x", "/out 1/b", "AVAILABLE", 6), "has 6 bytes, its source 7"),
    ],
)
def test_each_fault_is_told_of_the_source_that_has_it(ica: SmallIca, copy: IcaData | None, fault: str) -> None:
    del ica.data["/out 1/b"]
    if copy:
        ica.data["/out 1/b"] = copy
    assert faults(ica, job(1), job(2)) == {FIRST: [f"icav2://from/run/b: icav2://to/out 1/b {fault}"], SECOND: []}


def test_a_source_that_is_gone_leaves_nothing_to_compare_with(ica: SmallIca) -> None:
    del ica.data["/run/a"]
    told = "icav2://from/run/a: icav2://to/out 1/a cannot be compared: its source is not there any more"
    assert faults(ica, job(1)) == {FIRST: [told]}


def test_of_a_folder_each_file_of_its_tree_is_compared_but_for_icas_probes(ica: SmallIca) -> None:
    ica.add("/run/tree/.iap_probe")
    assert faults(ica, job(1, "/run/tree/")) == {FIRST: []}
    del ica.data["/out 1/tree/deeper/d"]
    told = "icav2://from/run/tree/: icav2://to/out 1/tree/deeper/d is not there"
    assert faults(ica, job(1, "/run/tree/")) == {FIRST: [told]}


def test_a_folder_whose_source_holds_no_file_any_more_is_not_taken_for_copied(ica: SmallIca) -> None:
    """Nothing is at the destination, and nothing is there to compare it with."""
    for path in [path for path in ica.data if "tree" in path]:
        del ica.data[path]
    told = "icav2://from/run/tree/: icav2://to/out 1/tree/ cannot be compared: its source holds no file any more"
    assert faults(ica, job(1, "/run/tree/")) == {FIRST: [told]}
    ica.add("/run/tree/", "/run/tree/.iap_probe")
    assert faults(ica, job(1, "/run/tree/")) == {FIRST: [told]}


def test_sizes_are_compared_with_what_the_sources_are_now(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of them may be the very cause of the trouble."""
    monkeypatch.setattr(ica, "find_sources", lambda project_id, paths: pytest.fail("remembered"))
    assert faults(ica, job(1)) == {FIRST: []}


def test_etags_are_compared_where_that_is_asked_for(ica: SmallIca) -> None:
    ica.data["/run/a"] = replace(ica.data["/run/a"], etag="one")
    ica.data["/out 1/a"] = replace(ica.data["/out 1/a"], etag="other")
    assert faults(ica, job(1)) == {FIRST: []}
    told = "icav2://from/run/a: icav2://to/out 1/a has the ETag other, its source one"
    assert faults(ica, job(1), verification=Verification.ETAG) == {FIRST: [told]}


@pytest.mark.parametrize(
    ("action_on_exist", "verification"), [("RENAME", Verification.SIZE), ("SKIP", Verification.NONE)]
)
def test_nothing_is_asked_where_nothing_can_or_is_to_be_compared(
    ica: SmallIca, action_on_exist: str, verification: Verification
) -> None:
    ica.data.clear()
    assert faults(ica, job(1, action_on_exist=action_on_exist), verification=verification) == {FIRST: []}
    assert ica.called("find") == []


def test_all_jobs_of_a_look_are_asked_for_together(ica: SmallIca) -> None:
    faults(ica, job(1), job(2))
    assert [len(paths) for _, *paths in ica.called("find") if paths] == [2, 4], "sources, and copies"


def test_a_job_that_ica_cannot_be_asked_about_now_is_left_out(ica: SmallIca) -> None:
    ica.trouble("find", IcaUnavailable("ICA answered 503"), only="other")
    assert faults(ica, job(1), job(2, project="other")) == {FIRST: []}


def test_what_ica_refuses_is_the_fault_of_the_job_that_it_is_refused_for(ica: SmallIca) -> None:
    ica.trouble("find", IcaRefused("no such path"), only="/out 1/a")
    (first, second) = faults(ica, job(1), job(2)).values()
    assert second == []
    assert first == [
        f"icav2://from/run/{name}: icav2://to/out 1/{name} cannot be compared: no such path" for name in "ab"
    ]


def test_a_project_of_which_ica_refuses_everything_is_the_fault_of_each_job_in_it(ica: SmallIca) -> None:
    ica.trouble("find", IcaRefused("there is no project other"), only="other")
    found = faults(ica, job(1), job(2, project="other"))
    assert found[FIRST] == []
    assert len(found[SECOND]) == 2
