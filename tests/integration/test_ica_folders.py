"""Folders that our client makes in the simulated ICA: one of each path, whoever else makes it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier

import pytest

from icav2_copy_batch.adapters.ica.folders import FOLDER_PAUSES
from icav2_copy_batch.adapters.ica.http import MAX_TRIES
from icav2_copy_batch.domain.ica import (
    IcaError,
    IcaRefused,
    IcaUnavailable,
)
from tests.doubles import in_turn
from tests.doubles.simulated_ica import CREATE_FOLDER, DATA, SimulatedIca, Tokens, until
from tests.integration.ica_cases import SEVERAL, SPECIAL_NAMES, WORLDS, Form

ON_EXISTING = ["conflict", "duplicate", "return_existing"]


@pytest.mark.parametrize("on_existing", ON_EXISTING)
def test_folders_and_their_parents_are_made_where_they_are_missing(ica: SimulatedIca, on_existing: str) -> None:
    ica.set(create_folder_on_existing=on_existing)
    known = ica.folder("/run/")
    made = ica.client().ensure_folders(ica.destination, ["/run/a/b/", "/", "/run/", "/run/a/c/", "/run/a/b/"])
    assert ica.folders() == ["/run/", "/run/a/", "/run/a/b/", "/run/a/c/"]
    ids = {path: ica.folder(path).id for path in ("/run/a/b/", "/run/", "/run/a/c/")}
    assert made == {**ids, "/": None}
    assert made["/run/"] == known.id
    assert ica.calls("POST", CREATE_FOLDER) == 3


def test_folders_that_are_there_are_not_made_again(ica: SimulatedIca) -> None:
    folder = ica.folder("/run/a/")
    assert ica.client().ensure_folders(ica.destination, ["/run/a/", "/"]) == {"/run/a/": folder.id, "/": None}
    assert ica.calls("POST", CREATE_FOLDER) == 0


def test_a_folder_in_another_case_is_another_folder(ica: SimulatedIca) -> None:
    ica.folder("/Run/")
    ica.client().ensure_folders(ica.destination, ["/run/"])
    assert ica.folders() == ["/Run/", "/run/"]


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_folders_may_have_any_name(ica: SimulatedIca, name: str) -> None:
    made = ica.client().ensure_folders(ica.destination, [f"/{name}/in {name}/"])
    assert ica.folders() == [f"/{name}/", f"/{name}/in {name}/"]
    assert made == {f"/{name}/in {name}/": ica.folder(f"/{name}/in {name}/").id}


def test_no_folders_take_no_call(ica: SimulatedIca) -> None:
    assert ica.client().ensure_folders(ica.destination, ["/"]) == {"/": None}
    assert ica.client().ensure_folders(ica.destination, []) == {}
    assert ica.sim.calls.total() == 0


@dataclass
class MeetingTokens(Tokens):
    """Lets two clients make their third call, which is the first after a look, at the same moment."""

    meeting: Barrier = field(default_factory=lambda: Barrier(2))
    calls: int = 0

    def token(self, *, fresh: bool = False) -> str:
        self.calls += 1
        if self.calls == 3:
            self.meeting.wait(5)
        return super().token(fresh=fresh)


@pytest.mark.parametrize("on_existing", ON_EXISTING)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["/run/"], ["/run/"]),
        (["/run/a/b/"], ["/run/a/b/"]),
        (["/run/a/"], ["/run/b/"]),
        (["/run/a/x/", "/run/a/y/"], ["/run/a/y/", "/run/b/"]),
        (["/run/"], ["/run/a/"]),
    ],
    ids="+".join,
)
def test_two_who_make_folders_at_once_end_with_one_of_each_path(
    ica: SimulatedIca, first: list[str], second: list[str], on_existing: str
) -> None:
    """Both have looked and found nothing; then both create."""
    ica.set(create_folder_on_existing=on_existing, create_folder_seconds=0.03)
    meeting = Barrier(2)

    def ensure(folders: list[str]) -> dict[str, str | IcaError | None]:
        client = ica.client(tokens=MeetingTokens(meeting=meeting), sleep=lambda _: until(all_are_done))
        return client.ensure_folders(ica.destination, folders)

    def all_are_done() -> bool:
        return all(reply.answer for reply in list(ica.sim.replies.values()))

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(ensure, (first, second)))
    assert ica.folders() == sorted({path for folder in (*first, *second) for path in lineage(folder)})
    assert [*made] == [{path: ica.folder(path).id for path in folders} for folders in (first, second)]


def lineage(folder: str) -> Iterable[str]:
    names = folder.strip("/").split("/")
    return ["/" + "/".join(names[:depth]) + "/" for depth in range(1, len(names) + 1)]


@pytest.mark.parametrize("deletions", [1, 2, 3])
def test_a_folder_that_was_deleted_is_made_again_whatever_ica_remembers(ica: SimulatedIca, deletions: int) -> None:
    """ICA answers a key that it knows with the folder of then, as if it had just been made."""
    ids = []
    for _ in range(deletions):
        ids.append(ica.client().ensure_folders(ica.destination, ["/run/a/"])["/run/a/"])
        ica.world.discard(ica.folder("/run/"))
    folder_id = ica.client().ensure_folders(ica.destination, ["/run/a/"])["/run/a/"]
    assert folder_id == ica.folder("/run/a/").id
    assert folder_id not in ids
    assert ica.folders() == ["/run/", "/run/a/"]


def test_a_folder_that_another_is_making_is_waited_for(ica: SimulatedIca) -> None:
    finish = ica.begin_folder("run")

    def sleep(seconds: float) -> None:
        if not ica.slept:
            finish()
        ica.sleep(seconds)

    made = ica.client(sleep=sleep).ensure_folders(ica.destination, ["/run/a/"])
    assert made == {"/run/a/": ica.folder("/run/a/").id}
    assert ica.folders() == ["/run/", "/run/a/"]


def test_below_a_folder_that_another_is_making_nothing_is_made(ica: SimulatedIca) -> None:
    """ICA makes missing parents: it would make that folder a second time."""
    ica.set(create_folder_on_existing="duplicate", create_folder_seconds=0.2)
    with ThreadPoolExecutor(1) as pool:
        another = pool.submit(ica.client().ensure_folders, ica.destination, ["/run/"])
        until(lambda: ica.sim.replies)
        ica.set(create_folder_seconds=0)
        client = ica.client(sleep=lambda seconds: another.result() and None)
        made = client.ensure_folders(ica.destination, ["/run/a/"])
    assert ica.folders() == ["/run/", "/run/a/"]
    assert made == {"/run/a/": ica.folder("/run/a/").id}
    assert another.result() == {"/run/": ica.folder("/run/").id}


def test_a_folder_that_has_come_while_it_was_waited_for_is_not_made_again(ica: SimulatedIca) -> None:
    ica.set(create_folder_on_existing="duplicate")
    ica.fault("status", "POST", "createFolder", status=409, count=1)
    finish = ica.begin_folder("run")

    def sleep(seconds: float) -> None:
        if not ica.slept:
            finish()
        ica.sleep(seconds)

    made = ica.client(sleep=sleep).ensure_folders(ica.destination, ["/run/a/"])
    assert ica.folders() == ["/run/", "/run/a/"]
    assert made == {"/run/a/": ica.folder("/run/a/").id}


def trouble_with(made: dict[str, str | IcaError | None], folder: str) -> IcaError:
    trouble = made[folder]
    assert isinstance(trouble, IcaError)
    return trouble


@pytest.mark.parametrize(("seconds", "tries"), [(900, len(FOLDER_PAUSES) + 1), (21, 2)])
def test_a_folder_that_ica_never_makes_is_given_up_after_a_while_and_the_others_are_made(
    ica: SimulatedIca, seconds: float, tries: int
) -> None:
    ica.begin_folder("run")
    made = ica.client(seconds=seconds).ensure_folders(ica.destination, ["/a/b/", "/run/", "/run/below/", "/c/"])
    for folder in ("/run/", "/run/below/"):
        assert isinstance(made[folder], IcaUnavailable)
        assert "/run/ is not there yet" in str(made[folder])
    assert {folder: made[folder] for folder in ("/a/b/", "/c/")} == {
        folder: ica.folder(folder).id for folder in ("/a/b/", "/c/")
    }
    assert ica.folders() == ["/a/", "/a/b/", "/c/"]
    assert ica.sim.answers["409"] == tries
    assert ica.calls("GET", DATA) <= 30
    assert sum(ica.slept) == sum(FOLDER_PAUSES[: tries - 1])


@pytest.mark.parametrize("other", ["/out/run", "/out/Run/", "/OUT/run/"])
def test_a_folder_whose_name_is_taken_is_refused_with_what_is_there(ica: SimulatedIca, other: str) -> None:
    ica.folder("/out/")
    ica.world.add_folder(ica.destination, other) if other.endswith("/") else ica.file(other, ica.destination)
    ica.fault("status", "POST", "createFolder", status=409)
    trouble = trouble_with(ica.client().ensure_folders(ica.destination, ["/out/run/"]), "/out/run/")
    assert isinstance(trouble, IcaRefused)
    assert str(trouble) == f"the folder /out/run/ cannot be created, since {other} is there; ICA answers 409"


def test_a_folder_that_may_not_be_made_is_refused_with_icas_words(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=403, title="ICA_SEC_007", count=1)
    made = ica.client(spread=in_turn).ensure_folders(ica.destination, ["/1/", "/2/"])
    trouble = trouble_with(made, "/1/")
    assert isinstance(trouble, IcaRefused)
    assert "403 ICA_SEC_007 a fault made by the simulator" in str(trouble)
    assert made["/2/"] == ica.folder("/2/").id


def test_an_outage_is_found_out_with_one_folder_and_not_with_each(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=503)
    made = ica.client(spread=in_turn).ensure_folders(ica.destination, [f"/{number}/" for number in range(20)])
    assert {type(each) for each in made.values()} == {IcaUnavailable}
    assert ica.calls("POST", CREATE_FOLDER) == MAX_TRIES


@pytest.mark.parametrize("lag", [1, 5, 60])
def test_one_folder_of_each_path_is_made_although_lists_lag_behind(ica: SimulatedIca, lag: float) -> None:
    """ICA would make another for each new key."""
    ica.set(create_folder_on_existing="duplicate", data_lag_seconds=lag)
    wanted = ["/run/a/", "/run/b/c/"]
    made = ica.client().ensure_folders(ica.destination, wanted)
    assert ica.client().ensure_folders(ica.destination, wanted) == made, "another launch"
    assert ica.folders() == ["/run/", "/run/a/", "/run/b/", "/run/b/c/"]
    assert made == {path: ica.folder(path).id for path in wanted}
    assert ica.slept == []


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["as_given", "NFC", "NFD"])
def test_one_folder_of_each_path_is_made_whatever_unicode_form_ica_stores(
    ica: SimulatedIca, stored: str, asked: Form
) -> None:
    ica.set(create_folder_on_existing="duplicate", unicode_form=stored)
    forms: list[Form] = ["NFC", asked, "NFD", "NFC"]
    for given in forms:
        wanted = [unicodedata.normalize(given, path) for path in ("/é/ö/", "/é/ü/")]
        made = ica.client().ensure_folders(ica.destination, wanted)
        assert list(made) == wanted
        assert len(set(made.values())) == len(set(ica.folders())) - 1 == 2
    assert len(ica.folders()) == 3


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("on_existing", ON_EXISTING)
def test_one_folder_of_each_path_is_made_however_ica_searches_for_them(
    ica: SimulatedIca, world: str, on_existing: str
) -> None:
    for number in range(8):
        ica.folder(f"/other {number}/")
    ica.folder("/there/a/")
    ica.set(create_folder_on_existing=on_existing, **WORLDS[world])
    wanted = ["/there/a/", "/there/b/", "/new/a/b/", "/"]
    made = [ica.client().ensure_folders(ica.destination, wanted) for _ in range(3)]
    assert [folder for folder in ica.folders() if "other" not in folder] == [
        "/new/", "/new/a/", "/new/a/b/", "/there/", "/there/a/", "/there/b/"
    ]  # fmt: skip
    assert made == [{"/": None} | {path: ica.folder(path).id for path in wanted[:3]}] * 3


@dataclass
class ForestallingTokens(Tokens):
    """Has another make a folder after the first two calls, which are a look."""

    make: Callable[[], object] = lambda: None
    calls: int = 0

    def token(self, *, fresh: bool = False) -> str:
        self.calls += 1
        if self.calls == 3:
            self.make()
        return super().token(fresh=fresh)


@pytest.mark.parametrize("several", SEVERAL)
def test_folders_that_are_there_are_not_made_again_however_ica_takes_several_paths(
    ica: SimulatedIca, several: str
) -> None:
    ica.set(several_file_paths=several, create_folder_on_existing="duplicate")
    for path in ("/a/b/c/", "/a/b/d/"):
        ica.folder(path)
    ica.client().ensure_folders(ica.destination, ["/a/b/c/", "/a/b/d/", "/a/e/"])
    assert ica.folders() == ["/a/", "/a/b/", "/a/b/c/", "/a/b/d/", "/a/e/"]


def test_a_conflict_over_a_folder_is_answered_by_a_search_and_not_by_another_try(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=409)
    client = ica.client(tokens=ForestallingTokens(make=lambda: ica.folder("/run/")))
    assert client.ensure_folders(ica.destination, ["/run/"]) == {"/run/": ica.folder("/run/").id}
    assert ica.calls("POST", CREATE_FOLDER) == 1
    assert ica.slept == []


def test_a_lost_answer_to_a_new_folder_makes_no_second_one(ica: SimulatedIca) -> None:
    ica.set(create_folder_on_existing="duplicate")
    ica.fault("drop_after", "POST", "createFolder", count=1)
    made = ica.client().ensure_folders(ica.destination, ["/run/"])
    assert ica.folders() == ["/run/"]
    assert made == {"/run/": ica.folder("/run/").id}


def test_a_folder_that_is_being_deleted_is_not_taken_for_one_that_is_there(ica: SimulatedIca) -> None:
    """ICA turns a copy into it away (409)."""
    doomed = ica.folder("/run/")
    ica.world.delete(ica.destination, doomed.id)
    made = ica.client().ensure_folders(ica.destination, ["/run/"])
    ica.clock.forward(10)
    ica.world.settle()
    assert made["/run/"] != doomed.id
    assert ica.folders() == ["/run/"]
