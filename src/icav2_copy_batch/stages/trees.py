"""Trees: folder sources compared with their copies, page by page, however large they are.

A tree is compared whole where it is small enough: of each file of the copy eight bytes are kept, a hash of its path and
size, and each file of the source is looked for among them. A larger tree is compared in portions: the files in its
folder, then each folder in that, in order. So it can be left after any page, and gone on with from the last portion
that was found as it should be.
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

NOISE_PREFIX = ".iap_"
"""ICA leaves probes of this name in folders that lie in a bucket of the customer's."""
MOST_FILES = 200_000
"""Of a portion: it is compared within one invocation also where a page of 1,000 takes ICA two seconds."""
MOST_SUSPECTS = 20
"""So many files that are not found in the listings are looked up each before they are taken for missing."""

FaultOf = Callable[[IcaData | None, IcaData | None], str | None]
"""What is wrong with a copy, given its source and itself; None where nothing is."""


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


@dataclass(frozen=True, slots=True)
class Fault:
    source: IcaUri
    """The folder source."""
    copy: IcaUri
    """The file that should be there."""
    what: str


class Walk:
    """A comparison of trees that is under way. It holds what it has seen of one portion, in some megabytes at most."""

    def __init__(
        self, ica: Ica, trees: Sequence[Tree], fault_of: FaultOf, with_etag: bool, up_to: str | None = None
    ) -> None:
        """``up_to`` is where an earlier walk over these trees has come to."""
        self.faults: list[Fault] = []
        """At most one of each source: the first that was found."""
        self.older: dict[int, IcaUri] = {}
        """Of each source, by its number, the first file that is as it should be, but listed as made too early."""
        self.up_to = up_to
        """All before this is as it should be: a source's number and, after a colon, a folder in it. The folder's own
        files are; where a slash follows, all that is in it."""
        self.pages = 0
        """How many pages were listed."""
        self.number = 0
        """Of the source that is being compared."""
        self._ica = ica
        self._fault_of = fault_of
        self._with_etag = with_etag
        self._is_empty = True
        self._steps = self._compare_all(trees, up_to)

    def step(self) -> bool:
        """List another page; False when all is compared."""
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
            faults = len(self.faults)
            yield from self._compare(tree, "", done if is_begun else None)
            if self._is_empty and len(self.faults) == faults:
                self.faults.append(
                    Fault(tree.source, tree.copy, "cannot be compared: its source holds no file any more")
                )

    def _compare(self, tree: Tree, folder: str, done: str | None) -> Iterator[None]:
        """Compare a folder of a tree, or what is left of it after what is ``done``, up to the first fault."""
        if done == f"{folder}/":
            return
        here, faults = tree.below(folder), len(self.faults)
        if done is None:
            compared = yield from self._compare_listed(tree, here, self._ica.tree_pages, MOST_FILES)
            if len(self.faults) > faults:
                return
            if compared is not None:
                self._note(tree, f"{folder}/")
                return
        names = sorted(path[len(here.source.path) :].strip("/") for path in self._folders_in(here.source))
        yield
        if done is None:
            compared = yield from self._compare_listed(tree, here, self._ica.file_pages, None)
            if not compared and not names:
                # ICA does not list the inside of a linked folder by its parent: this tree cannot be divided.
                yield from self._compare_listed(tree, here, self._ica.tree_pages, None)
            if len(self.faults) > faults:
                return
            self._note(tree, folder)
        reached = done[len(folder) :].partition("/")[0] if done else ""
        for name in names:
            if name >= reached:
                yield from self._compare(tree, f"{folder}{name}/", done if name == reached else None)
                if len(self.faults) > faults:
                    return

    def _folders_in(self, folder: IcaUri) -> list[str]:
        return self._ica.folders_in(folder.project, folder.path)

    def _note(self, tree: Tree, marker: str) -> None:
        # Where nothing was seen yet, and beyond what is not as it should be, whoever goes on has to begin again.
        if not (self._is_empty or self.faults or self.older):
            self.up_to = f"{tree.number}:{marker}"

    def _compare_listed(
        self, tree: Tree, here: Tree, pages: Callable[[str, str], Iterable[list[IcaData]]], most: int | None
    ) -> Generator[None, None, int | None]:
        """How many files were compared; None where there are more than may be."""
        copied, older = array("Q"), array("Q")
        for page in pages(here.copy.project, here.copy.path):
            for data in page:
                if data.status == "AVAILABLE":
                    (older if data.is_older_than(tree.made_since) else copied).append(self._hash(here.copy, data))
            yield
            if most and len(copied) + len(older) > most:
                return None
        copied, older = array("Q", sorted(copied)), array("Q", sorted(older))
        compared = 0
        suspects: list[IcaData] = []
        for page in pages(here.source.project, here.source.path):
            for data in page:
                if not data.path.rpartition("/")[2].startswith(NOISE_PREFIX):
                    compared += 1
                    wanted = self._hash(here.source, data)
                    if _holds(copied, wanted):
                        continue
                    if _holds(older, wanted):
                        self._note_older(tree, _copy_of(data.path, here))
                    else:
                        suspects.append(data)
            self._is_empty = self._is_empty and not compared
            if len(suspects) >= MOST_SUSPECTS:
                break
            yield
            if most and compared > most:
                return None
        if suspects:
            self._look_up(tree, here, suspects)
        return compared

    def _look_up(self, tree: Tree, here: Tree, suspects: Sequence[IcaData]) -> None:
        """Note the first fault, if there is one, of files of which the listings show no copy as it should be."""
        looked_up = suspects[:MOST_SUSPECTS]
        copies = {data.path: _copy_of(data.path, here) for data in looked_up}
        there = self._ica.find(here.copy.project, [copy.path for copy in copies.values()])
        sources = self._ica.find(here.source.project, list(copies))
        for path, copy in copies.items():
            found = there.get(copy.path)
            if what := self._fault_of(sources.get(path), found):
                self.faults.append(Fault(tree.source, copy, what))
                return
            if found and found.is_older_than(tree.made_since):
                self._note_older(tree, copy)
        if len(suspects) >= MOST_SUSPECTS:
            what = "is found by its path, but not listed, like others; not all is compared"
            self.faults.append(Fault(tree.source, copies[suspects[0].path], what))

    def _note_older(self, tree: Tree, copy: IcaUri) -> None:
        self.older.setdefault(tree.number, copy)

    def _hash(self, folder: IcaUri, data: IcaData) -> int:
        """Of what has to be the same of source and copy. ICA may hold a name in another Unicode form."""
        path = nfc(data.path[len(folder.path) :])
        text = f"{data.size} {data.etag if self._with_etag else ''} {path}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _copy_of(path: str, here: Tree) -> IcaUri:
    """Where the copy of a source's file has to be."""
    return IcaUri(here.copy.project, here.copy.path + path[len(here.source.path) :])


def _holds(ordered: array[int], value: int) -> bool:
    index = bisect_left(ordered, value)
    return index < len(ordered) and ordered[index] == value
