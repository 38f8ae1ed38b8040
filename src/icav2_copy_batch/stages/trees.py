"""Trees: folder sources compared with their copies, page by page, however large they are.

A tree is compared whole where it is small enough: eight bytes are kept for each file of the copy, a hash of its path
and size, and each file of the source is looked for among them. A larger tree is compared in portions: the files in its
folder, then each folder in that, in order. So a comparison can be left after any page, and another goes on from the
last portion that was as it should be.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.uri import IcaUri, nfc
from icav2_copy_batch.ports import Ica

MOST_FILES = 200_000
"""So many files has a portion: one invocation compares it also where ICA takes two seconds for a page of 1,000."""
MOST_SUSPECTS = 20
"""So many files that the listings do not show are looked up by their paths before they are taken for missing."""

FaultOf = Callable[[IcaData | None, IcaData | None], str | None]
"""What is wrong with a copy, given its source and itself; None where nothing is."""
Pages = Callable[[str, str], Iterable[list[IcaData]]]
"""Lists the files of a folder, given its project and path."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder source, by its number among the sources of its job, and where its copy has to be."""

    number: int
    source: IcaUri
    copy: IcaUri
    made_since: datetime | None = None
    """When the attempt began that has to have made each file of the copy; None where they may be older."""

    def below(self, folder: str) -> Tree:
        """A folder in it."""
        source, copy = self.source, self.copy
        return replace(
            self, source=IcaUri(source.project, source.path + folder), copy=IcaUri(copy.project, copy.path + folder)
        )

    def copy_of(self, data: IcaData) -> IcaUri:
        """Where the copy of a file of the source has to be."""
        return IcaUri(self.copy.project, self.copy.path + data.path[len(self.source.path) :])


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file of a copy."""

    copy: IcaUri
    what: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The files that a copy shows, as sorted hashes."""

    made: array[int]
    older: array[int]
    """Those that were made before the attempt that should have made them."""


class Walk:
    """A comparison of trees that is under way. It holds what it has seen of one portion, in some megabytes at most."""

    def __init__(
        self, ica: Ica, trees: Sequence[Tree], fault_of: FaultOf, with_etag: bool, up_to: str | None = None
    ) -> None:
        """``up_to`` is where an earlier walk over these trees had come."""
        self.faults: dict[int, Fault] = {}
        """The first fault of each source that has one, by the source's number."""
        self.older: dict[int, IcaUri] = {}
        """For each source the first file that is as it should be, but listed as made too early."""
        self.up_to = up_to
        """All before this is as it should be: a source's number and, after a colon, a folder in it. The files in that
        folder itself are; where a slash follows, so is all below it."""
        self.bytes: dict[int, int] = {}
        """Bytes of the source's files, by its number; of no source that an earlier walk has begun."""
        self.pages = 0
        """How many pages were listed."""
        self.number = 0
        """The number of the source that is being compared."""
        self._ica = ica
        self._fault_of = fault_of
        self._with_etag = with_etag
        self._is_empty = True
        """Whether no file of the source has been seen."""
        self._steps = self._compare_all(trees, up_to)

    def step(self) -> bool:
        """List another page; False once all is compared. Raises ``IcaError``."""
        self.pages += 1
        return next(self._steps, self) is not self

    def _compare_all(self, trees: Sequence[Tree], up_to: str | None) -> Iterator[None]:
        first, _, done = (up_to or "0:").partition(":")
        for tree in trees:
            if tree.number < int(first):
                continue
            is_begun = up_to is not None and tree.number == int(first)
            self.number = tree.number
            self._is_empty = not is_begun
            if not is_begun:
                self.bytes[tree.number] = 0
            yield from self._compare(tree, "", done if is_begun else None)
            if self._is_empty:
                self._note_fault(tree, tree.copy, "cannot be compared: its source holds no file any more")

    def _compare(self, tree: Tree, folder: str, done: str | None) -> Iterator[None]:
        """Compare a folder of a tree, up to the first fault. ``done`` is what an earlier walk has compared of it."""
        if done == f"{folder}/":
            return
        here = tree.below(folder)
        if done is None:
            compared = yield from self._compare_listed(here, self._ica.tree_pages, MOST_FILES)
            if compared is not None:
                self._note(tree, f"{folder}/")
                return
        names = sorted(
            path[len(here.source.path) :].strip("/")
            for path in self._ica.folders_in(here.source.project, here.source.path)
        )
        yield
        if done is None:
            yield from self._compare_files(here, bool(names))
            self._note(tree, folder)
        reached = done[len(folder) :].partition("/")[0] if done else ""
        for name in names:
            if name >= reached and tree.number not in self.faults:
                yield from self._compare(tree, f"{folder}{name}/", done if name == reached else None)

    def _compare_files(self, here: Tree, has_folders: bool) -> Iterator[None]:
        """Compare the files in a folder itself."""
        compared = yield from self._compare_listed(here, self._ica.file_pages, None)
        if not compared and not has_folders:
            # ICA does not list the inside of a linked folder by its parent: this tree cannot be divided.
            yield from self._compare_listed(here, self._ica.tree_pages, None)

    def _compare_listed(self, here: Tree, pages: Pages, most: int | None) -> Generator[None, None, int | None]:
        """Compare the files that are listed; how many they are, or None where they are more than ``most``."""
        shown = yield from self._shown(here, pages, most)
        if shown is None:
            return None
        compared = seen_bytes = 0
        suspects: list[IcaData] = []
        for page in pages(here.source.project, here.source.path):
            files = [data for data in page if not data.is_probe]
            compared += len(files)
            seen_bytes += sum(data.size or 0 for data in files)
            self._is_empty = self._is_empty and not files
            suspects += [data for data in files if not self._is_shown(data, shown, here)]
            if len(suspects) >= MOST_SUSPECTS:
                break
            yield
            if most and compared > most:
                return None
        self._look_up(here, suspects)
        if here.number in self.bytes:
            self.bytes[here.number] += seen_bytes
        return compared

    def _shown(self, here: Tree, pages: Pages, most: int | None) -> Generator[None, None, Shown | None]:
        """The files of the copy; None where they are more than ``most``."""
        made, older = array("Q"), array("Q")
        for page in pages(here.copy.project, here.copy.path):
            for data in page:
                if data.status == "AVAILABLE":
                    (older if data.is_older_than(here.made_since) else made).append(self._hash(here.copy, data))
            yield
            if most and len(made) + len(older) > most:
                return None
        return Shown(array("Q", sorted(made)), array("Q", sorted(older)))

    def _is_shown(self, data: IcaData, shown: Shown, here: Tree) -> bool:
        """Whether a file of the source is among those of the copy; notes where it is one that is too old."""
        wanted = self._hash(here.source, data)
        if _holds(shown.made, wanted):
            return True
        if is_older := _holds(shown.older, wanted):
            self._note_older(here, here.copy_of(data))
        return is_older

    def _look_up(self, here: Tree, suspects: Sequence[IcaData]) -> None:
        """Look up files that the listings do not show as they should be, and note the first that is at fault."""
        if not suspects:
            return
        copies = {data.path: here.copy_of(data) for data in suspects[:MOST_SUSPECTS]}
        there = self._ica.find(here.copy.project, [copy.path for copy in copies.values()])
        sources = self._ica.find(here.source.project, list(copies))
        for path, copy in copies.items():
            found = there.get(copy.path)
            if what := self._fault_of(sources.get(path), found):
                self._note_fault(here, copy, what)
                return
            if found and found.is_older_than(here.made_since):
                self._note_older(here, copy)
        if len(suspects) >= MOST_SUSPECTS:
            what = "is found by its path, but ICA does not list it, nor other files: not all can be compared"
            self._note_fault(here, copies[suspects[0].path], what)

    def _note(self, tree: Tree, marker: str) -> None:
        # Where nothing was seen yet, and beyond what is not as it should be, whoever goes on has to begin again.
        if not (self._is_empty or self.faults or self.older):
            self.up_to = f"{tree.number}:{marker}"

    def _note_fault(self, tree: Tree, copy: IcaUri, what: str) -> None:
        self.faults.setdefault(tree.number, Fault(copy, what))

    def _note_older(self, tree: Tree, copy: IcaUri) -> None:
        self.older.setdefault(tree.number, copy)

    def _hash(self, folder: IcaUri, data: IcaData) -> int:
        """Eight bytes of what a file and its copy have in common. ICA may hold a name in another Unicode form."""
        path = nfc(data.path[len(folder.path) :])
        text = f"{data.size} {data.etag if self._with_etag else ''} {path}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _holds(ordered: array[int], value: int) -> bool:
    index = bisect_left(ordered, value)
    return index < len(ordered) and ordered[index] == value
