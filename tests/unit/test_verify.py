"""Verify: what has to be at a destination before a job has passed, and whose fault it is where ICA will not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Attempt, Job, JobKey, JobStatus, timestamp
from icav2_copy_batch.domain.outcomes import Finding, Fingerprint, SourceOutcome
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages import trees
from icav2_copy_batch.stages.verify import (
    PATIENCE,
    TreesCompared,
    Verification,
    Verify,
)
from tests import doubles
from tests.doubles import SmallIca


def job(number: int, *sources: str, project: str = "to", action_on_exist: str = "SKIP") -> Job:
    uris = [f"icav2://from{source}" for source in sources or ("/run/a", "/run/b")]
    return Job(
        "run",
        f"{number:06d}",
        JobStatus.RUNNING,
        1,
        f"icav2://{project}/out {number}/",
        sources=tuple(uris),
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


def verifier(
    ica: SmallIca, verification: Verification = Verification.SIZE, clock: doubles.Clock | None = None
) -> Verify:
    return Verify(ica=ica, verification=verification, clock=clock or doubles.Clock(), spread=doubles.in_turn)


def faults(ica: SmallIca, *jobs: Job, verification: Verification = Verification.SIZE) -> dict[JobKey, list[str]]:
    """By job what is wrong with each source."""
    verify = verifier(ica, verification)
    found = verify.faults(jobs).wrong
    for job in jobs:
        if verify.has_trees(job, succeeded=True):
            found[job.copy_id, job.job_id] += whole(verify.compare_trees(job, lambda: True))
    assert all(
        isinstance(each, SourceOutcome) and each.outcome == Finding.MISMATCH for them in found.values() for each in them
    )
    return {key: [f"{each.source}: {each.reason}" for each in them] for key, them in found.items()}


def whole(compared: TreesCompared) -> list[SourceOutcome]:
    """What is wrong, once all is compared."""
    assert compared.wrong is not None
    return compared.wrong


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


def test_nothing_is_asked_where_icas_word_is_taken(ica: SmallIca) -> None:
    ica.data.clear()
    assert faults(ica, job(1, "/run/a", "/run/tree/"), verification=Verification.NONE) == {FIRST: []}
    assert ica.calls == []


# --- RENAME ----------------------------------------------------------------------------------------------------------


def renamed(*sources: str) -> Job:
    return replace(
        job(1, *sources, action_on_exist="RENAME"), ica_project_id="to", ica_job_id="ica-1", ica_batch_id="batch-1"
    )


@pytest.mark.parametrize(
    ("there", "fault"),
    [
        (IcaData("made", "/out 1/a (1)", "AVAILABLE", 7), None),
        (IcaData("made", "/out 1/a (1)", "PARTIAL", 7), "is PARTIAL"),
        (IcaData("made", "/out 1/a (1)", "AVAILABLE", 6), "has 6 bytes, its source 7"),
        (None, "is not there"),
    ],
)
def test_a_renamed_copy_is_compared_where_ica_says_what_it_has_made(
    ica: SmallIca, there: IcaData | None, fault: str | None
) -> None:
    """As it is now, and not as its item showed it."""
    ica.items["batch-1"] = [
        CopyBatchItem("/run/a", "COPIED", created=IcaData("made", "/out 1/a (1)", "PARTIAL", 0)),
        CopyBatchItem("/run/b", "COPIED"),
    ]
    if there:
        ica.data[there.path] = there
    told = [f"icav2://from/run/a: icav2://to/out 1/a (1) {fault}"] if fault else []
    assert faults(ica, renamed()) == {FIRST: told}


@pytest.mark.parametrize("said", ["no such copy batch", "nothing of what was made", "items of other data"])
def test_of_renamed_copies_icas_word_is_taken_where_it_does_not_say_what_it_has_made(ica: SmallIca, said: str) -> None:
    if said != "no such copy batch":
        made = IcaData("made", "/out 1/a (1)", "PARTIAL", 0)
        ica.items["batch-1"] = [
            CopyBatchItem("/run/a", "COPIED")
            if said == "nothing of what was made"
            else CopyBatchItem("/run/c", "COPIED", created=made)
        ]
    assert faults(ica, renamed("/run/a", "/run/tree/")) == {FIRST: []}


@pytest.mark.parametrize(
    ("source", "there", "fault"),
    [
        (None, IcaData("made", "/out 1/a (1)", "PARTIAL", 7), "is PARTIAL"),
        (None, IcaData("made", "/out 1/a (1)", "AVAILABLE", 7), "cannot be compared: its source is not there any more"),
        (IcaData("anew", "/run/a", "AVAILABLE", 7), IcaData("made", "/out 1/a (1)", "PARTIAL", 7), "is PARTIAL"),
        (
            IcaData("anew", "/run/a", "AVAILABLE", 8),
            IcaData("made", "/out 1/a", "AVAILABLE", 7),
            "has 7 bytes, its source 8",
        ),
        (IcaData("anew", "/run/a", "AVAILABLE", 7), IcaData("made", "/out 1/a (1)", "AVAILABLE", 7), None),
    ],
)
def test_a_renamed_copy_whose_source_is_gone_or_another_by_now_is_not_believed(
    ica: SmallIca, source: IcaData | None, there: IcaData, fault: str | None
) -> None:
    ica.items["batch-1"] = [CopyBatchItem("the former", "COPIED", created=there)]
    ica.data[there.path] = there
    if source:
        ica.data["/run/a"] = source
    else:
        del ica.data["/run/a"]
    told = [f"icav2://from/run/a: icav2://to/out 1/ {fault}"] if fault else []
    assert faults(ica, renamed("/run/a")) == {FIRST: told}


def test_renamed_copies_whose_items_ica_does_not_list_yet_are_awaited_and_then_its_word_is_taken(ica: SmallIca) -> None:
    ica.items["batch-1"] = []
    verify = verifier(ica)
    since = doubles.Clock()()
    for passed, told in ((PATIENCE - timedelta(seconds=1), [Finding.UNLISTED]), (PATIENCE, [])):
        awaited = replace(renamed(), mismatch_since=timestamp(since - passed))
        assert [each.outcome for each in verify.faults([awaited]).wrong[FIRST]] == told
    assert [each.outcome for each in verify.faults([renamed()]).wrong[FIRST]] == [Finding.UNLISTED]


def test_renamed_copies_of_which_ica_cannot_be_asked_now_are_looked_at_again(ica: SmallIca) -> None:
    ica.trouble("copy_batch_items", IcaUnavailable("503"))
    assert faults(ica, renamed(), job(2)) == {SECOND: []}


# --- of a job that ICA does not call succeeded -----------------------------------------------------------------------


def test_of_a_failed_job_what_skip_would_skip_is_not_missing(ica: SmallIca) -> None:
    ica.data["/out 1/b"] = IcaData("x", "/out 1/b", "PARTIAL", 7)
    told = [SourceOutcome("icav2://from/run/b", Finding.MISMATCH, "icav2://to/out 1/b is PARTIAL")]
    assert verifier(ica, Verification.NONE).missing([job(1), job(2)]).wrong == {
        FIRST: told,
        SECOND: [],
    }


def test_of_a_job_that_is_copied_part_by_part_only_what_should_be_there_by_now_is_compared(ica: SmallIca) -> None:
    part = replace(job(1), batch_limit=1)
    del ica.data["/out 1/b"]
    assert verifier(ica).faults([part]).wrong == {FIRST: []}
    last = replace(part, copied=frozenset(part.due_by_now))
    del ica.data["/out 1/a"]
    (found,) = verifier(ica).faults([last]).wrong.values()
    assert [each.source for each in found] == list(part.sources)


@pytest.mark.parametrize(
    ("action", "succeeded", "verification", "compared"),
    [
        ("SKIP", True, Verification.SIZE, True),
        ("OVERWRITE", True, Verification.SIZE, True),
        ("RENAME", True, Verification.SIZE, False),
        ("SKIP", True, Verification.NONE, False),
        ("SKIP", False, Verification.NONE, True),
        ("OVERWRITE", False, Verification.SIZE, False),
        ("RENAME", False, Verification.SIZE, False),
    ],
)
def test_trees_are_compared_where_that_tells_something(
    ica: SmallIca, action: str, succeeded: bool, verification: Verification, compared: bool
) -> None:
    verify = verifier(ica, verification)
    assert verify.has_trees(job(1, "/run/a", "/run/tree/", action_on_exist=action), succeeded) is compared
    assert not verify.has_trees(job(1, action_on_exist=action), succeeded)


@pytest.mark.parametrize("action", ["OVERWRITE", "RENAME"])
def test_what_is_there_is_told_of_skip_alone_where_a_job_has_failed(ica: SmallIca, action: str) -> None:
    """With OVERWRITE a file of the same size may be the one that was to be overwritten."""
    assert verifier(ica).missing([job(1, action_on_exist=action)]).wrong == {}


# --- what is listed as made before its attempt -----------------------------------------------------------------------

BEFORE, BEGAN, SINCE = "2024-05-28T03:11:00.000Z", "2024-05-28T03:12:00.000Z", "2024-05-28T03:12:05.000Z"


def began(job: Job, attempt: int = 1, **changes: Any) -> Job:
    """In this attempt, after others that failed."""
    failed = tuple(Attempt(number, "FAILED", BEFORE) for number in range(1, attempt))
    return replace(job, ica_job_id="ica-1", ica_created_at=BEGAN, attempt=attempt, attempts=failed, **changes)


def list_as_made(ica: SmallIca, at: dict[str, str]) -> None:
    for path, created_at in at.items():
        ica.data[path] = replace(ica.data[path], created_at=created_at)


@pytest.mark.parametrize(("action", "attempt", "older"), [("OVERWRITE", 1, ["b"]), ("SKIP", 1, []), ("SKIP", 2, ["b"])])
def test_a_file_that_was_there_before_an_attempt_that_should_have_made_it_is_told_as_older(
    ica: SmallIca, action: str, attempt: int, older: list[str]
) -> None:
    """ICA's lists may still show what is not there any more."""
    list_as_made(ica, {"/out 1/a": SINCE, "/out 1/b": BEFORE})
    verify = verifier(ica)
    (found,) = verify.faults([began(job(1, action_on_exist=action), attempt=attempt)]).wrong.values()
    assert [(each.source[-1], each.outcome) for each in found] == [(name, Finding.OLDER) for name in older]


@pytest.mark.parametrize(
    ("action", "attempt", "older"),
    [("OVERWRITE", 1, True), ("OVERWRITE", 2, True), ("SKIP", 1, False), ("SKIP", 2, False)],
)
def test_a_tree_that_is_overwritten_has_to_be_of_this_attempts_making(
    ica: SmallIca, action: str, attempt: int, older: bool
) -> None:
    """With SKIP a later attempt finds in it what the earlier ones have made."""
    list_as_made(ica, {"/out 1/tree/c": SINCE, "/out 1/tree/deeper/d": BEFORE})
    overwritten = began(job(1, "/run/tree/", action_on_exist=action), attempt=attempt)
    verify = verifier(ica)
    reason = "icav2://to/out 1/tree/deeper/d is listed as created before this attempt"
    told = [SourceOutcome("icav2://from/run/tree/", Finding.OLDER, reason)] if older else []
    assert verify.compare_trees(overwritten, lambda: True).wrong == told


def test_of_sources_that_an_earlier_attempt_has_copied_nothing_is_told_as_older(ica: SmallIca) -> None:
    ica.add("/run/other/e", "/out 1/other/e")
    list_as_made(ica, dict.fromkeys(["/out 1/a", "/out 1/b", "/out 1/tree/c", "/out 1/other/e"], BEFORE))
    sources = ("/run/a", "/run/b", "/run/tree/", "/run/other/")
    second = began(job(1, *sources, action_on_exist="OVERWRITE"), attempt=2)
    left = ["icav2://from/run/b", "icav2://from/run/other/"]
    second = replace(second, copied=frozenset(second.sources) - set(left))
    verify = verifier(ica)
    found = verify.faults([second]).wrong[FIRST] + whole(verify.compare_trees(second, lambda: True))
    assert [(each.source, each.outcome) for each in found] == [(source, Finding.OLDER) for source in left]


def test_nothing_is_told_as_older_once_icas_lists_cannot_be_behind(ica: SmallIca) -> None:
    list_as_made(ica, {"/out 1/a": BEFORE, "/out 1/tree/c": BEFORE})
    clock = doubles.Clock()
    verify = verifier(ica, clock=clock)
    awaited = began(job(1, "/run/a", "/run/tree/", action_on_exist="OVERWRITE"), mismatch_since=timestamp(clock()))
    for passed, told in ((PATIENCE - timedelta(seconds=1), [Finding.OLDER]), (PATIENCE, [])):
        clock.now = datetime.fromisoformat(str(awaited.mismatch_since)) + passed
        assert [each.outcome for each in verify.faults([awaited]).wrong[FIRST]] == told
        assert [each.outcome for each in whole(verify.compare_trees(awaited, lambda: True))] == told


def test_what_is_wrong_with_a_tree_is_told_before_what_is_older_in_it(ica: SmallIca) -> None:
    list_as_made(ica, {"/out 1/tree/c": BEFORE})
    del ica.data["/out 1/tree/deeper/d"]
    overwritten = began(job(1, "/run/tree/", action_on_exist="OVERWRITE"))
    verify = verifier(ica)
    assert [each.outcome for each in whole(verify.compare_trees(overwritten, lambda: True))] == [
        Finding.MISMATCH,
        Finding.OLDER,
    ]


def test_that_something_is_older_is_told_while_a_tree_is_compared(ica: SmallIca) -> None:
    """Else a tree of hours that is older as a whole would be compared from its beginning by each poller."""
    ica.page_size = 1
    list_as_made(ica, {"/out 1/tree/c": BEFORE})
    overwritten = began(job(1, "/run/tree/", action_on_exist="OVERWRITE"))
    verify = verifier(ica)
    told = []
    while (compared := verify.compare_trees(overwritten, iter([True, False]).__next__)).wrong is None:
        told.append(compared.has_older)
    assert told == [False, False, True, True], "two pages of the copy, two of its source"


# --- trees that take more than one look ------------------------------------------------------------------------------


def test_a_tree_is_gone_on_with_where_it_was_left(ica: SmallIca) -> None:
    ica.page_size = 1
    verify = verifier(ica)
    tree = replace(job(1, "/run/tree/"), ica_job_id="ica-1")
    looks = 0
    while verify.compare_trees(tree, iter([True, False]).__next__).wrong is None:
        looks += 1
    assert looks > 2
    pages = ica.called("tree_pages")
    assert len(pages) == len({tuple(arguments) for arguments in pages}), "no page is listed twice"


def test_a_listing_that_ica_does_not_go_on_with_is_begun_again_and_no_fault(ica: SmallIca) -> None:
    ica.page_size = 1
    verify = verifier(ica)
    tree = replace(job(1, "/run/tree/"), ica_job_id="ica-1")
    assert verify.compare_trees(tree, iter([True, False]).__next__).wrong is None
    ica.trouble("tree_pages", IcaRefused("no such page token"))
    with pytest.raises(IcaUnavailable):
        verify.compare_trees(tree, lambda: True)
    ica.troubles.clear()
    assert verify.compare_trees(tree, lambda: True).wrong == []


def test_what_ica_refuses_to_list_is_the_fault_of_its_source(ica: SmallIca) -> None:
    ica.trouble("tree_pages", IcaRefused("not permitted"), only="/run/tree/")
    told = "icav2://from/run/tree/: icav2://to/out 1/tree/ cannot be compared: not permitted"
    assert faults(ica, job(1, "/run/a", "/run/tree/")) == {FIRST: [told]}


def test_a_tree_of_which_ica_cannot_be_asked_now_is_looked_at_again(ica: SmallIca) -> None:
    ica.trouble("tree_pages", IcaUnavailable("503"))
    verify = verifier(ica)
    with pytest.raises(IcaUnavailable):
        verify.compare_trees(job(1, "/run/tree/"), lambda: True)


# --- together --------------------------------------------------------------------------------------------------------


def test_all_jobs_of_a_look_are_asked_for_together(ica: SmallIca) -> None:
    faults(ica, job(1), job(2))
    assert [len(paths) for _, *paths in ica.called("find")] == [2, 4], "sources, and copies"


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


# --- what was found right --------------------------------------------------------------------------------------------


def test_a_copy_that_is_as_it_should_be_is_known_by_its_own_size_and_etag(ica: SmallIca) -> None:
    ica.data["/out 1/a"] = IcaData("x", "/out 1/a", "AVAILABLE", 7, "an ETag of its own")
    ica.data["/out 1/b"] = IcaData("y", "/out 1/b", "PARTIAL", 7)
    found = {"icav2://from/run/a": Fingerprint(7, "an ETag of its own")}
    assert verifier(ica).faults([job(1)]).right == {FIRST: found}
    assert verifier(ica).missing([job(1)]).right == {FIRST: found}


def test_a_tree_that_is_as_it_should_be_is_known_by_its_bytes(ica: SmallIca) -> None:
    ica.add("/run/other/", "/run/other/e")
    verify, both = verifier(ica), job(1, "/run/tree/", "/run/other/")
    assert verify.compare_trees(both, lambda: True).right == {"icav2://from/run/tree/": Fingerprint(14)}


def test_a_tree_that_is_compared_in_portions_is_known_by_the_bytes_of_all(
    ica: SmallIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MOST_FILES", 1)
    assert verifier(ica).compare_trees(job(1, "/run/tree/"), lambda: True).right == {
        "icav2://from/run/tree/": Fingerprint(14)
    }


def test_of_a_tree_of_which_another_has_compared_a_part_the_bytes_are_not_known(ica: SmallIca) -> None:
    begun = replace(job(1, "/run/tree/"), verified_up_to="0:deeper/")
    compared = verifier(ica).compare_trees(begun, lambda: True)
    assert (compared.wrong, compared.right) == ([], {})
