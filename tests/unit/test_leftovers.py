"""Leftovers: only what a job's own attempts have made is deleted."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Attempt, Job, JobStatus, timestamp
from icav2_copy_batch.stages.leftovers import MOST_BATCHES, Leftovers
from tests.doubles import SmallIca

BEGAN = datetime(2024, 5, 28, 3, 12, tzinfo=UTC)


def job(*sources: str, attempts: int = 1) -> Job:
    return Job(
        "run",
        "000001",
        JobStatus.LAUNCHING,
        attempts + 1,
        "icav2://to/x/",
        sources=tuple([f"icav2://from/run/{source}" for source in sources or ("a.txt", "b.txt")]),
        attempts=tuple(
            Attempt(
                number,
                "FAILED",
                at(3600 * (number - 1) + 1800),
                ica_job_id=f"ica-{number}",
                ica_batch_id=f"batch-{number}",
                ica_created_at=at(3600 * (number - 1)),
            )
            for number in range(1, attempts + 1)
        ),
        ica_project_id="id-of-to",
    )


@pytest.fixture
def ica() -> SmallIca:
    """With the copy batches of two attempts."""
    return SmallIca(items={"batch-1": [], "batch-2": []})


def at(seconds: float) -> str:
    return timestamp(BEGAN + timedelta(seconds=seconds))


def put(ica: SmallIca, path: str, status: str = "PARTIAL", created: float | None = 1) -> IcaData:
    ica.data[path] = IcaData(path, path, status, 0, created_at=None if created is None else at(created))
    return ica.data[path]


def deleted(ica: SmallIca) -> set[str]:
    return {path for _, *paths in ica.called("delete_data") for path in paths}


def test_what_ica_says_came_after_the_first_attempt_is_deleted(ica: SmallIca) -> None:
    put(ica, "/x/a.txt", created=1)
    put(ica, "/x/b.txt", created=4000)
    assert Leftovers(ica=ica).delete(job(attempts=2)) == []
    assert deleted(ica) == {"/x/a.txt", "/x/b.txt"}


def test_a_file_that_was_there_before_the_first_attempt_is_somebody_elses(ica: SmallIca) -> None:
    put(ica, "/x/a.txt", created=-60)
    put(ica, "/x/b.txt", created=1)
    assert Leftovers(ica=ica).delete(job()) == []
    assert deleted(ica) == {"/x/b.txt"}


def test_a_file_that_came_between_two_attempts_or_after_the_last_is_somebody_elses(ica: SmallIca) -> None:
    """An upload of a file of that name that somebody has begun meanwhile, say."""
    put(ica, "/x/a.txt", created=1810)
    put(ica, "/x/b.txt", created=5410)
    assert Leftovers(ica=ica).delete(job(attempts=2)) == []
    assert deleted(ica) == set()


def test_where_ica_does_not_tell_when_a_later_attempt_began_our_claim_tells(ica: SmallIca) -> None:
    first, second = job(attempts=2).attempts
    second = replace(second, ica_created_at=None, claimed_at=at(3590))
    put(ica, "/x/a.txt", created=3580)
    put(ica, "/x/b.txt", created=3601)
    assert Leftovers(ica=ica).delete(replace(job(attempts=2), attempts=(first, second))) == []
    assert deleted(ica) == {"/x/b.txt"}


def test_where_ica_does_not_tell_when_a_file_came_one_that_no_item_names_is_let_be(ica: SmallIca) -> None:
    put(ica, "/x/a.txt", created=None)
    assert Leftovers(ica=ica).delete(job()) == []
    put(ica, "/x/b.txt", created=1)
    silent = replace(job(), attempts=(replace(job().attempts[0], ica_created_at=None),))
    assert Leftovers(ica=ica).delete(silent) == []
    assert deleted(ica) == set()


def test_an_attempt_for_which_ica_started_nothing_made_nothing(ica: SmallIca) -> None:
    put(ica, "/x/a.txt", created=1)
    earlier = Attempt(1, "REFUSED", "")
    second = replace(job().attempts[0], number=2, ica_created_at=at(60))
    assert Leftovers(ica=ica).delete(replace(job(), attempt=3, attempts=(earlier, second))) == []
    assert deleted(ica) == set()


@pytest.mark.parametrize("created", [None, -60])
def test_a_file_that_an_item_of_any_attempt_names_is_ours(ica: SmallIca, created: float | None) -> None:
    """Also one that ICA has created long before, should OVERWRITE keep its id."""
    made = put(ica, "/x/a.txt", created=created)
    put(ica, "/x/b.txt", created=created)
    ica.items["batch-1"] = [CopyBatchItem("/run/a.txt", "FAILED", created=made)]
    assert Leftovers(ica=ica).delete(job(attempts=2)) == []
    assert deleted(ica) == {"/x/a.txt"}


def test_only_the_newest_copy_batches_are_read_however_many_attempts_there_were(ica: SmallIca) -> None:
    ica.items |= {f"batch-{number}": [] for number in range(1, 101)}
    put(ica, "/x/a.txt", created=None)
    assert Leftovers(ica=ica).delete(job(attempts=100)) == []
    read = [batch for *_, batch in ica.called("copy_batch_items")]
    assert read == [f"batch-{number}" for number in range(101 - MOST_BATCHES, 101)]


@pytest.mark.parametrize("error", [IcaUnavailable("503"), IcaRefused("404")], ids=str)
def test_items_that_cannot_be_read_name_nothing(ica: SmallIca, error: IcaUnavailable | IcaRefused) -> None:
    put(ica, "/x/a.txt", created=None)
    ica.trouble("copy_batch_items", error)
    assert Leftovers(ica=ica).delete(job()) == []
    assert deleted(ica) == set()


def test_of_a_file_only_the_one_of_its_name_in_the_folder_itself_is_meant(ica: SmallIca) -> None:
    for path in ("/x/a.txt", "/x/another.txt", "/x/A.txt", "/x/deeper/a.txt", "/a.txt", "/x2/a.txt"):
        put(ica, path)
    put(ica, "/x/b.txt", status="AVAILABLE")
    assert Leftovers(ica=ica).delete(job()) == []
    assert deleted(ica) == {"/x/a.txt"}


def test_of_a_folder_all_below_it_is_meant_and_its_source_is_not_listed(ica: SmallIca) -> None:
    for path in ("/x/sub/c.txt", "/x/sub/deeper/d.txt", "/x/sub2/e.txt", "/x/a.txt"):
        put(ica, path)
    assert Leftovers(ica=ica).delete(job("sub/")) == []
    assert deleted(ica) == {"/x/sub/c.txt", "/x/sub/deeper/d.txt"}
    assert {method for method, *_ in ica.calls} == {"incomplete_files", "delete_data"}


def test_a_name_that_ica_holds_in_another_unicode_form_is_the_same(ica: SmallIca) -> None:
    put(ica, unicodedata.normalize("NFD", "/x/é.txt"))
    assert Leftovers(ica=ica).delete(job("é.txt")) == []
    assert len(deleted(ica)) == 1


def test_what_is_not_gone_yet_is_handed_back_whoever_has_deleted_it(ica: SmallIca) -> None:
    """SKIP could take it for a file that is there."""
    put(ica, "/x/a.txt")
    put(ica, "/x/b.txt", status="DELETING", created=-60)
    ica.slow_to_delete = {"/x/a.txt"}
    leftovers = Leftovers(ica=ica)
    assert sorted(leftovers.delete(job())) == ["/x/a.txt", "/x/b.txt"]
    del ica.data["/x/a.txt"]
    assert leftovers.delete(job()) == ["/x/b.txt"]
    del ica.data["/x/b.txt"]
    assert leftovers.delete(job()) == []
    assert len(ica.called("delete_data")) == 1


def test_nothing_to_delete_takes_one_look(ica: SmallIca) -> None:
    assert Leftovers(ica=ica).delete(job()) == []
    assert ica.calls == [("incomplete_files", "id-of-to", "/x/", False)]


def test_of_very_many_leftovers_so_many_are_deleted_before_it_is_looked_again(
    ica: SmallIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icav2_copy_batch.stages.leftovers.MOST_AT_ONCE", 2)
    for number in range(3):
        put(ica, f"/x/sub/{number}")
    leftovers = Leftovers(ica=ica)
    assert len(leftovers.delete(job("sub/"))) == 1
    assert leftovers.delete(job("sub/")) == []
