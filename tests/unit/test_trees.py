"""Trees: whatever their size and shape, each file is compared, in portions that can be left after any page."""

from __future__ import annotations

import tracemalloc
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.uri import IcaUri
from icav2_copy_batch.stages import trees
from icav2_copy_batch.stages.trees import Tree, Walk
from tests.doubles import SmallIca

PATHS = ["a", "b", "x/a", "x/b", "x/y/a", "x/y/b", "x/y/c", "y/a", "z/a", "z/deeper/still/a"]


def tree(number: int = 0, name: str = "tree") -> Tree:
    return Tree(number, IcaUri("from", f"/run/{name}/"), IcaUri("to", f"/out/{name}/"))


def fault_of(source: IcaData | None, copy: IcaData | None) -> str | None:
    if not source or not copy:
        return "is not there"
    return None if (source.size, copy.status) == (copy.size, "AVAILABLE") else "is otherwise"


def walk(ica: SmallIca, *of: Tree, up_to: str | None = None) -> Walk:
    return Walk(ica, of or [tree()], fault_of, with_etag=False, up_to=up_to)


def to_the_end(walk: Walk) -> list[str]:
    """What is wrong, as paths."""
    while walk.step():
        pass
    return [fault.copy.path for fault in walk.faults.values()]


@pytest.fixture
def ica() -> SmallIca:
    ica = SmallIca(page_size=2)
    for path in PATHS:
        ica.add(f"/run/tree/{path}", f"/out/tree/{path}")
    return ica


@pytest.fixture(params=[1, 3, 1000])
def most_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many files a portion holds: fewer than most folders, than some, or all."""
    monkeypatch.setattr(trees, "MOST_FILES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("most_files")
def test_a_tree_that_is_copied_has_no_fault_however_it_is_divided(ica: SmallIca) -> None:
    ica.add("/out/tree/another", "/out/tree/x/another", "/run/tree/x/.iap_probe")
    assert to_the_end(walk(ica)) == []


@pytest.mark.usefixtures("most_files")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [None, "PARTIAL"])
def test_each_file_of_a_tree_is_compared_however_it_is_divided(ica: SmallIca, path: str, status: str | None) -> None:
    copy = f"/out/tree/{path}"
    del ica.data[copy]
    if status:
        ica.add(copy, status=status)
    assert to_the_end(walk(ica)) == [copy]


@pytest.mark.usefixtures("most_files")
def test_a_walk_that_was_left_anywhere_is_gone_on_with_by_another_and_ends(ica: SmallIca) -> None:
    """The other knows nothing but where it had come to."""
    del ica.data["/out/tree/z/deeper/still/a"]
    pages = 0
    first = walk(ica)
    while first.step():
        pages += 1
    for left_after in range(pages + 1):
        begun = walk(ica)
        for _ in range(left_after):
            begun.step()
        assert to_the_end(walk(ica, up_to=begun.up_to)) == ["/out/tree/z/deeper/still/a"]


def test_what_was_compared_is_not_listed_again(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    begun = walk(ica)
    while begun.step() and begun.up_to != "0:x/y//":
        pass
    assert begun.up_to == "0:x/y//", "all that is in the folder y of x"
    ica.calls.clear()
    assert to_the_end(walk(ica, up_to=begun.up_to)) == []
    listed = {folder for method, _, folder, *_ in ica.calls if method != "folders_in"}
    assert listed == {"/run/tree/y/", "/out/tree/y/", "/run/tree/z/", "/out/tree/z/"}


def test_beyond_a_fault_nothing_counts_as_compared(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever goes on would not see it."""
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    ica.add("/run/other/a", "/out/other/a")
    del ica.data["/out/tree/y/a"]
    both = [tree(0), tree(1, "other")]
    begun = walk(ica, *both)
    assert to_the_end(begun) == ["/out/tree/y/a"]
    assert to_the_end(walk(ica, *both, up_to=begun.up_to)) == ["/out/tree/y/a"]


def test_of_several_trees_each_is_compared_and_those_that_are_done_are_not_listed_again(ica: SmallIca) -> None:
    ica.add("/run/other/a", "/out/other/a")
    begun = walk(ica, tree(3), tree(5, "other"))
    while begun.step() and begun.up_to is None:
        pass
    assert begun.up_to == "3:/"
    ica.calls.clear()
    del ica.data["/out/other/a"]
    assert to_the_end(walk(ica, tree(3), tree(5, "other"), up_to=begun.up_to)) == ["/out/other/a"]
    assert {folder for method, _, folder, *_ in ica.calls if method == "tree_pages"} == {"/run/other/", "/out/other/"}


@pytest.mark.usefixtures("most_files")
@pytest.mark.parametrize("left", [[], ["/run/tree/.iap_probe"]])
def test_a_source_that_holds_no_file_any_more_passes_nothing(ica: SmallIca, left: list[str]) -> None:
    for path in PATHS:
        del ica.data[f"/run/tree/{path}"]
    ica.add(*left)
    first = walk(ica)
    assert to_the_end(first) == ["/out/tree/"]
    assert to_the_end(walk(ica, up_to=first.up_to)) == ["/out/tree/"]


def test_a_linked_folder_that_cannot_be_listed_by_its_parent_is_compared_as_a_whole(
    ica: SmallIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    monkeypatch.setattr(ica, "folders_in", lambda project, folder: [])
    monkeypatch.setattr(ica, "file_pages", lambda project, folder: [[]])
    assert to_the_end(walk(ica)) == []
    del ica.data["/out/tree/z/a"]
    assert to_the_end(walk(ica)) == ["/out/tree/z/a"]


def test_a_file_that_a_listing_does_not_show_yet_is_looked_up_by_its_path(
    ica: SmallIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_tree = ica.tree_pages

    def behind(project: str, folder: str) -> Iterable[list[IcaData]]:
        return ([it for it in page if it.path != "/out/tree/x/a"] for page in list_tree(project, folder))

    monkeypatch.setattr(ica, "tree_pages", behind)
    assert to_the_end(walk(ica)) == []


def test_a_listing_that_shows_too_little_is_not_taken_for_all(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_SUSPECTS", 3)
    list_tree = ica.tree_pages
    monkeypatch.setattr(
        ica, "tree_pages", lambda project, folder: list_tree(project, folder) if project == "from" else [[]]
    )
    assert len(to_the_end(walk(ica))) == 1


def test_names_that_ica_holds_in_two_unicode_forms_are_the_same(ica: SmallIca) -> None:
    ica.add("/run/tree/é", unicodedata.normalize("NFD", "/out/tree/é"))
    assert to_the_end(walk(ica)) == []


def test_etags_are_compared_where_that_is_asked_for(ica: SmallIca) -> None:
    ica.data["/run/tree/a"] = IcaData("x", "/run/tree/a", "AVAILABLE", 7, etag="one")
    ica.data["/out/tree/a"] = IcaData("x", "/out/tree/a", "AVAILABLE", 7, etag="two")
    compared = Walk(
        ica, [tree()], lambda source, copy: "differs" if source and copy and source.etag != copy.etag else None, True
    )
    assert to_the_end(compared) == ["/out/tree/a"]
    assert to_the_end(walk(ica)) == []


# --- what is older than the attempt that should have made it --------------------------------------------------------

BEGAN = datetime(2024, 5, 28, 3, 12, tzinfo=UTC)
OVERWRITTEN = Tree(0, IcaUri("from", "/run/tree/"), IcaUri("to", "/out/tree/"), made_since=BEGAN)


def list_as_made(ica: SmallIca, *paths: str, seconds: float) -> None:
    for path in paths:
        ica.data[path] = replace(ica.data[path], created_at=timestamp(BEGAN + timedelta(seconds=seconds)))


@pytest.mark.usefixtures("most_files")
@pytest.mark.parametrize("path", PATHS)
def test_each_file_that_is_older_than_its_attempt_is_seen_however_the_tree_is_divided(ica: SmallIca, path: str) -> None:
    list_as_made(ica, *(f"/out/tree/{path}" for path in PATHS), seconds=1)
    assert (to_the_end(compared := walk(ica, OVERWRITTEN)), compared.older) == ([], {})
    list_as_made(ica, copy := f"/out/tree/{path}", seconds=-1)
    assert (to_the_end(compared := walk(ica, OVERWRITTEN)), compared.older) == ([], {0: IcaUri("to", copy)})
    assert (to_the_end(compared := walk(ica)), compared.older) == ([], {}), "where it may be older"


@pytest.mark.usefixtures("most_files")
@pytest.mark.parametrize("path", PATHS[1:])
def test_what_is_wrong_is_found_beyond_what_is_older(ica: SmallIca, path: str) -> None:
    list_as_made(ica, f"/out/tree/{PATHS[0]}", seconds=-1)
    ica.data[f"/out/tree/{path}"] = replace(ica.data[f"/out/tree/{path}"], size=6)
    assert to_the_end(walk(ica, OVERWRITTEN)) == [f"/out/tree/{path}"]


def test_what_no_source_has_may_be_as_old_as_it_is(ica: SmallIca) -> None:
    ica.add("/out/tree/another", "/out/tree/x/another")
    list_as_made(ica, "/out/tree/another", "/out/tree/x/another", seconds=-1)
    assert (to_the_end(compared := walk(ica, OVERWRITTEN)), compared.older) == ([], {})


def test_a_file_that_is_looked_up_by_its_path_may_be_older_too(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    list_as_made(ica, "/out/tree/x/a", seconds=-1)
    list_tree = ica.tree_pages

    def behind(project: str, folder: str) -> Iterable[list[IcaData]]:
        return ([it for it in page if it.path != "/out/tree/x/a"] for page in list_tree(project, folder))

    monkeypatch.setattr(ica, "tree_pages", behind)
    assert to_the_end(compared := walk(ica, OVERWRITTEN)) == []
    assert compared.older == {0: IcaUri("to", "/out/tree/x/a")}


def test_beyond_what_is_older_nothing_counts_as_compared(ica: SmallIca, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not be there any more, which whoever goes on has to see."""
    monkeypatch.setattr(trees, "MOST_FILES", 3)
    list_as_made(ica, "/out/tree/y/a", seconds=-1)
    begun = walk(ica, OVERWRITTEN)
    assert to_the_end(begun) == []
    assert begun.up_to == "0:x/y//"
    del ica.data["/out/tree/y/a"]
    assert to_the_end(walk(ica, OVERWRITTEN, up_to=begun.up_to)) == ["/out/tree/y/a"]


@dataclass
class LargeIca:
    """Folders of very many files, made as they are listed."""

    folders: int
    files: int
    created_at: str | None = None
    pages: int = 0
    looked_up: list[str] = field(default_factory=list)

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        self.looked_up += paths
        return {}

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        if folder.count("/") > 3:
            yield from self._pages(folder)
        else:
            for number in range(self.folders):
                yield from self._pages(f"{folder}{number:04d}/")

    def file_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        yield []

    def folders_in(self, project_id: str, folder: str) -> list[str]:
        return [f"{folder}{number:04d}/" for number in range(self.folders)]

    def _pages(self, folder: str) -> Iterator[list[IcaData]]:
        for first in range(0, self.files, 1000):
            self.pages += 1
            yield [
                IcaData(
                    f"fil.{number:032x}",
                    f"{folder}s_{number:08d}.bcl.bgzf",
                    "AVAILABLE",
                    number,
                    created_at=self.created_at,
                )
                for number in range(first, min(first + 1000, self.files))
            ]


@pytest.mark.parametrize("created_at", [None, timestamp(BEGAN - timedelta(days=1))])
def test_what_a_walk_holds_does_not_grow_with_the_tree(created_at: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all of it is older than its attempt."""
    monkeypatch.setattr(trees, "MOST_FILES", 5_000)
    peaks = []
    for folders in (4, 16):
        ica = LargeIca(folders, files=4_000, created_at=created_at)
        tracemalloc.start()
        compared = walk(ica, OVERWRITTEN)  # type: ignore[arg-type]
        assert to_the_end(compared) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert ica.pages <= 2 * folders * 4 + 8, "each page once, and those of the try to take all at once"
        assert ica.looked_up == []
    assert peaks[1] < 1.5 * peaks[0]
