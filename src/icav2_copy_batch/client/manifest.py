"""Manifests: built source by source, read from files, and checked as ingest checks them, without any network."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icav2_copy_batch.client.answers import FileSummary
from icav2_copy_batch.client.errors import Refused, number
from icav2_copy_batch.client.globs import matcher
from icav2_copy_batch.client.table import read_table
from icav2_copy_batch.domain import problems
from icav2_copy_batch.domain.json_text import decode_b64gz, read_json
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, flip
from icav2_copy_batch.domain.problems import PROBLEMS_LISTED, Problem
from icav2_copy_batch.domain.projects import Projects
from icav2_copy_batch.domain.submit import is_message, read_submit


class Manifest:
    """What is to be copied where, built step by step::

    manifest = Manifest().add("icav2://run/Reports/report.html", "icav2://archive/run 42/")
    """

    def __init__(self, entries: Mapping[str, Sequence[str]] | None = None) -> None:
        self._entries: dict[str, list[str]] = {source: list(to) for source, to in (entries or {}).items()}

    @classmethod
    def from_files(
        cls,
        files: Iterable[FileSummary],
        to: str,
        *,
        keep_tree: bool = False,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> Manifest:
        """Files of ``CopyClient.files`` into the folder ``to``; to keep the tree, each into its own folder below that.

        ``include`` and ``exclude`` are patterns of paths (see ``client.globs``): without ``include`` all files are, and
        ``exclude`` wins. Raises ``Refused`` where no file is left, and where two would be one.
        """
        is_included, is_excluded = matcher(include or ["**"]), matcher(exclude)
        chosen = [each for each in files if is_included(each.path) and not is_excluded(each.path)]
        if not chosen:
            raise Refused("no file is left: all are excluded, or none is included")
        if not keep_tree:
            _refuse_equal_names(chosen)
        manifest = cls()
        for each in chosen:
            folder = each.path.rpartition("/")[0] if keep_tree else ""
            manifest.add(each.uri, f"{to}{folder}/" if folder else to)
        return manifest

    @classmethod
    def from_csv(cls, lines: Iterable[str], about: str = "the table") -> Manifest:
        """A table of sources and destinations, a line for each pair, its cells separated by a comma.

        A first line that names columns ``source`` and ``destination`` may have others beside them. ``lines`` are text:
        an open file, lines, or all in one; ``about`` is what the table is called where it is refused. Raises
        ``Refused`` with every problem, each with the number of its line.
        """
        try:
            pairs = read_table(io.StringIO(lines, newline="") if isinstance(lines, str) else lines)
        except problems.Refused as refused:
            raise Refused.by_check(refused, about) from None
        manifest = cls()
        for source, destination in pairs:
            manifest.add(source, destination)
        return manifest

    def add(self, source: str, *destinations: str) -> Manifest:
        """Copy a source into these folders too. Returns this manifest."""
        self._entries.setdefault(source, []).extend(destinations)
        return self

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, source: object) -> bool:
        return source in self._entries

    def to_dict(self) -> dict[str, list[str]]:
        return {source: list(destinations) for source, destinations in self._entries.items()}

    def to_json(self) -> str:
        return json.dumps(self._entries)

    def check(self, *, allow_same_project: bool = False) -> list[PlannedJob]:
        """The jobs that this becomes. Raises ``Refused`` with every problem; projects' names are not looked up."""
        try:
            return flip(self._entries, Limits(allow_same_project=allow_same_project))
        except problems.Refused as refused:
            raise Refused.by_check(refused, "the manifest") from None


def _refuse_equal_names(files: Iterable[FileSummary]) -> None:
    """Raise ``Refused`` for files that would overwrite each other in one folder."""
    first: dict[str, FileSummary] = {}
    found = []
    for each in files:
        other = first.setdefault(each.path.rpartition("/")[2], each)
        if other is not each:
            found.append(Problem(each.uri, f"has the same name as {other.uri}; one of the two would be lost"))
    if found:
        what = f"{number(len(found), 'file')} would overwrite another of the same name: keep the tree (--keep-tree)"
        raise Refused(what, found[:PROBLEMS_LISTED], len(found))


@dataclass(frozen=True, slots=True)
class Checked:
    """A submission that has passed the checks which need no network."""

    jobs: int
    sources: int
    """Pairs of a source and a folder."""
    names_projects: bool
    """Whether projects are called by names, which only ICA can find."""


def read_message(data: bytes, about: str) -> dict[str, Any]:
    """A file's message, with its manifest inside: the file may be either, plain or gzipped. Raises ``Refused``."""
    try:
        parsed = read_json(data, about, Limits().max_manifest_bytes)
    except problems.Refused as refused:
        raise Refused.by_check(refused, about) from None
    return parsed if isinstance(parsed, dict) and is_message(parsed) else {"manifest": parsed}


def check_message(message: Mapping[str, Any], about: str, *, allow_same_project: bool = False) -> Checked | None:
    """Check a message as ingest does. Raises ``Refused`` with every problem.

    None where its manifest lies in S3: then there is more to check than can be seen from here.
    """
    limits = Limits(allow_same_project=allow_same_project)
    try:
        read_submit(dict(message), about)
        if "manifest_uri" in message:
            return None
        text = message.get("manifest_b64gz")
        manifest = message.get("manifest") if text is None else decode_b64gz(text, limits.max_manifest_bytes)
        names: list[str] = []

        def note(name: str) -> str:
            names.append(name)
            return name

        jobs = flip(manifest, limits, Projects(note))
    except problems.Refused as refused:
        raise Refused.by_check(refused, about) from None
    return Checked(len(jobs), sum(len(job.sources) for job in jobs), bool(names))
