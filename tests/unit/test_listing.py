"""The files below a folder in ICA, as an operator is shown them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.requests import CannotDo, Failure, ListFiles
from icav2_copy_batch.operators import listing
from icav2_copy_batch.operators.listing import SECONDS_TO_ANSWER, Listing
from tests.doubles.ica import SmallIca


@dataclass
class World:
    ica: SmallIca = field(default_factory=SmallIca)
    seconds_left: float = 900.0

    def files(self, uri: str = "icav2://run/42/") -> dict[str, Any]:
        stage = Listing(ica=self.ica, project_id=self.project_id, seconds_left=lambda: self.seconds_left)
        return stage.files(ListFiles(uri=uri))

    def project_id(self, project: str) -> str:
        if project == "nobody":
            raise IcaRefused("no project named 'nobody' can be seen")
        return f"id of {project}"

    def refused(self) -> str:
        with pytest.raises(CannotDo) as refused:
            self.files()
        assert refused.value.failure is Failure.REFUSED
        return str(refused.value)


@pytest.fixture
def world() -> World:
    return World()


def test_the_files_below_a_folder_are_listed_in_order_with_what_is_known_of_them(world: World) -> None:
    world.ica.add("/42/x/b", "/42/x/", "/42/a", "/43/c")
    world.ica.data["/42/z"] = IcaData("z", "/42/z", "PARTIAL", 3, "etag")
    assert world.files() == {
        "uri": "icav2://run/42/",
        "project_id": "id of run",
        "files": [
            {"path": "a", "size": 7, "status": "AVAILABLE", "etag": None},
            {"path": "x/b", "size": 7, "status": "AVAILABLE", "etag": None},
            {"path": "z", "size": 3, "status": "PARTIAL", "etag": "etag"},
        ],
    }
    assert world.ica.called("tree_pages") == [["id of run", "/42/", 0]]


def test_a_whole_project_may_be_listed(world: World) -> None:
    world.ica.add("/42/a", "/b")
    assert [each["path"] for each in world.files("icav2://run/")["files"]] == ["42/a", "b"]


def test_probes_of_icas_own_are_left_out(world: World) -> None:
    world.ica.add("/42/.iap_probe", "/42/x/.iap_probe", "/42/.iap")
    assert [each["path"] for each in world.files()["files"]] == [".iap"]


@pytest.mark.parametrize("order", [("AVAILABLE", "DELETING"), ("DELETING", "AVAILABLE")])
def test_of_a_file_that_is_being_replaced_the_new_one_is_listed(
    world: World, order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pages(project_id: str, folder: str) -> Iterator[list[IcaData]]:
        yield [IcaData(status, "/42/a", status, 7) for status in order]

    monkeypatch.setattr(world.ica, "tree_pages", pages)
    assert [each["status"] for each in world.files()["files"]] == ["AVAILABLE"]


def test_where_there_is_no_file_one_is_told_to_check_the_spelling(world: World) -> None:
    world.ica.add("/43/a")
    assert world.refused().startswith("ICA shows no file below icav2://run/42/; check how project and path are spelled")


def test_too_many_files_are_refused_with_what_to_do_instead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ica.add(*(f"/42/{number}" for number in range(6)))
    monkeypatch.setattr(listing, "MOST_FILES", 6)
    assert len(world.files()["files"]) == 6
    world.ica.page_size = 2
    world.ica.add("/42/more", "/42/evenmore", "/42/muchmore")
    assert "icav2://run/42/ holds more than 6 files; name a folder in it, or give whole folders" in world.refused()
    assert len(world.ica.called("tree_pages")) == 1 + 4, "the last page is not asked for"


def test_a_list_that_takes_too_long_is_given_up_in_time_to_say_so(world: World) -> None:
    world.ica.add(*(f"/42/{number}" for number in range(6)))
    world.ica.page_size = 2
    world.seconds_left = SECONDS_TO_ANSWER - 1
    assert world.refused().startswith("the time was over when ICA had listed 2 files below icav2://run/42/; name a")


@pytest.mark.parametrize("error", [IcaUnavailable("down"), IcaRefused("no such project")])
def test_what_ica_says_instead_is_passed_on(world: World, error: Exception) -> None:
    world.ica.trouble("tree_pages", error)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        world.files()
    with pytest.raises(IcaRefused, match="nobody"):
        world.files("icav2://nobody/42/")
