"""Manifests that are built, and files that are checked without any network."""

from __future__ import annotations

import gzip
import io
import json
from base64 import b64encode

import pytest

from icav2_copy_batch.client import FileSummary, Manifest, Refused
from icav2_copy_batch.client.manifest import Checked, check_message, read_message
from icav2_copy_batch.domain import problems
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.problems import PROBLEMS_LISTED

SOURCE, DESTINATION = "icav2://b23fb516-d852-4985-adcc-831c12e8cd22", "icav2://7595e8f2-32d3-4c76-a324-c6a85dae87b5"


def manifest(files: int = 2) -> Manifest:
    built = Manifest()
    for number in range(files):
        built.add(f"{SOURCE}/run/{number}.txt", f"{DESTINATION}/to/")
    return built


# --- building --------------------------------------------------------------------------------------------------------


def test_a_source_is_added_with_all_its_folders() -> None:
    built = (
        Manifest().add(f"{SOURCE}/a", f"{DESTINATION}/x/").add(f"{SOURCE}/a", f"{DESTINATION}/y/", f"{DESTINATION}/z/")
    )
    assert json.loads(built.to_json()) == {f"{SOURCE}/a": [f"{DESTINATION}/{each}/" for each in "xyz"]}
    assert len(built) == 1
    assert len(built.check()) == 3


def test_a_manifest_keeps_nothing_of_the_mapping_that_it_was_made_of() -> None:
    entries = {f"{SOURCE}/a": [f"{DESTINATION}/x/"]}
    Manifest(entries).add(f"{SOURCE}/a", f"{DESTINATION}/y/")
    assert entries == {f"{SOURCE}/a": [f"{DESTINATION}/x/"]}


def test_checking_it_finds_the_problems_that_ingest_finds() -> None:
    built = manifest().add("nonsense", f"{DESTINATION}/to").add(f"{SOURCE}/other/1.txt", f"{DESTINATION}/to/")
    with pytest.raises(problems.Refused) as ingest:
        flip(built.to_dict(), Limits())
    with pytest.raises(Refused) as ours:
        built.check()
    assert list(ours.value.problems) == ingest.value.problems
    assert ours.value.total == ingest.value.total == 3
    assert str(ours.value) == "the manifest has 3 problems"


def test_one_project_is_refused_unless_the_stack_allows_it() -> None:
    built = Manifest().add(f"{SOURCE}/a", f"{SOURCE}/to/")
    with pytest.raises(Refused, match=r"the manifest has 1 problem$"):
        built.check()
    assert len(built.check(allow_same_project=True)) == 1


# --- of files that are there -----------------------------------------------------------------------------------------

TO = f"{DESTINATION}/archive/"


def files(*paths: str) -> list[FileSummary]:
    return [FileSummary(path, f"{SOURCE}/run/{path}") for path in paths]


def targets(built: Manifest) -> dict[str, list[str]]:
    """The manifest without what all of its URIs have in common."""
    return {
        source.removeprefix(f"{SOURCE}/run/"): [each.removeprefix(TO) for each in to]
        for source, to in built.to_dict().items()
    }


def test_files_go_into_one_folder_or_keep_their_tree() -> None:
    listed = files("a", "x/b", "x/y/c d")
    assert targets(Manifest.from_files(listed, TO)) == {"a": [""], "x/b": [""], "x/y/c d": [""]}
    kept = Manifest.from_files(listed, TO, keep_tree=True)
    assert targets(kept) == {"a": [""], "x/b": ["x/"], "x/y/c d": ["x/y/"]}
    assert [job.destination for job in kept.check()] == [TO, f"{TO}x/", f"{TO}x/y/"]


def test_the_source_is_called_as_its_folder_was() -> None:
    built = Manifest.from_files([FileSummary("x/b", "icav2://run by name/x/b")], "icav2://archive/to/", keep_tree=True)
    assert built.to_dict() == {"icav2://run by name/x/b": ["icav2://archive/to/x/"]}
    assert "icav2://run by name/x/b" in built


def test_files_are_included_and_excluded_by_patterns() -> None:
    listed = files("a.bam", "a.txt", "x/b.bam", "x/c.txt", "logs/d.bam")
    chosen = Manifest.from_files(listed, TO, include=["*.bam", "x/"], exclude=["logs/", "c.*"])
    assert list(targets(chosen)) == ["a.bam", "x/b.bam"]
    assert list(targets(Manifest.from_files(listed, TO, exclude=["*.bam"]))) == ["a.txt", "x/c.txt"]
    with pytest.raises(Refused, match="no file is left: all are excluded, or none is included"):
        Manifest.from_files(listed, TO, include=["*.cram"])


def test_two_files_that_would_be_one_are_refused_unless_the_tree_is_kept() -> None:
    listed = files("x/a", "y/a", "z/a", "z/b")
    advice = r"^2 files would overwrite another of the same name: keep the tree \(--keep-tree\)"
    with pytest.raises(Refused, match=advice) as refused:
        Manifest.from_files(listed, TO)
    problem = f"has the same name as {SOURCE}/run/x/a; one of the two would be lost"
    assert [str(each) for each in refused.value.problems] == [
        f"{SOURCE}/run/y/a: {problem}",
        f"{SOURCE}/run/z/a: {problem}",
    ]
    assert len(Manifest.from_files(listed, TO, keep_tree=True)) == 4
    assert len(Manifest.from_files(listed, TO, exclude=["/[yz]/a"])) == 2


# --- of a table ------------------------------------------------------------------------------------------------------

A, B = f"{SOURCE}/run/a", f"{SOURCE}/run/b,c"
X, Y = f"{DESTINATION}/x/", f"{DESTINATION}/y/"


@pytest.mark.parametrize(
    "text",
    [
        f'{A},{X}\n"{B}",{X}\n{A},{Y}\n',
        f'{A}, {X}\r\n\r\n"{B}",{X}\r\n{A},{Y}',
        f'\ufeffSource,Destination\n{A},{X}\n"{B}",{X}\n{A},{Y}\n',
        f'size,destination,note,source\n7,{X},,{A}\n,{X},"two\nlines","{B}"\n7,{Y},,{A}\n',
    ],
)
def test_a_table_is_read_with_or_without_a_header(text: str) -> None:
    for lines in (text, io.StringIO(text, newline=""), text.splitlines(keepends=True)):
        assert Manifest.from_csv(lines).to_dict() == {A: [X, Y], B: [X]}


def test_every_problem_of_a_table_has_its_line() -> None:
    text = f"{A},{X}\n{A};{X}\n{A},{X},more\nnonsense,{X}\n\n{A},{X[:-1]}\n{A},{Y}\n{A},{X}\n"
    with pytest.raises(Refused, match=r"^runs\.csv has 5 problems$") as refused:
        Manifest.from_csv(text.splitlines(), "runs.csv")
    two = "put a comma between source and destination, and quotes around a cell that has one in it"
    assert [str(each) for each in refused.value.problems] == [
        f"line 2: has 1 cell and not 2; {two}",
        f"line 3: has 3 cells and not 2; {two}",
        "line 4: has the source 'nonsense', which does not start with icav2://",
        f"line 6: has the destination '{X[:-1]}', which is no folder: end it with /",
        "line 8: is the same as line 1",
    ]


def test_a_header_that_names_only_one_of_the_two_is_a_line_like_others() -> None:
    with pytest.raises(Refused) as refused:
        Manifest.from_csv(f"source,target\n{A},{X}\n")
    assert str(refused.value.problems[0]).startswith("line 1: has the source 'source', which does not start")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "table: is empty: it names no source"),
        (["\n"], "table: is empty: it names no source"),
        (["source,destination\n"], "table: is empty: it names no source"),
        (['"icav2://a'], "line 1: is not CSV: unexpected end of data"),
        (['"a"b,c\n'], "line 1: is not CSV: "),
    ],
)
def test_what_is_no_table_is_said(lines: list[str], problem: str) -> None:
    with pytest.raises(Refused) as refused:
        Manifest.from_csv(lines)
    assert str(refused.value.problems[0]).startswith(problem)


def test_a_table_that_is_not_utf_8_is_said() -> None:
    binary = io.BytesIO(f"{A},{X}\n".encode() + b"\xe9,\n")
    with pytest.raises(Refused) as refused:
        Manifest.from_csv(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
    assert "is not UTF-8 text" in str(refused.value.problems[-1])


# --- files -----------------------------------------------------------------------------------------------------------


def check(message: object) -> Checked | None:
    return check_message(read_message(json.dumps(message).encode(), "file"), "file")


def test_a_file_is_a_manifest_or_a_message_plain_or_gzipped() -> None:
    entries = manifest().to_dict()
    for written in (entries, {"manifest": entries, "copy_id": "run-42"}):
        for data in (json.dumps(written).encode(), gzip.compress(json.dumps(written).encode())):
            message = read_message(data, "file")
            assert message["manifest"] == entries
            assert check_message(message, "file") == Checked(jobs=1, sources=2, names_projects=False)


def test_a_zipped_manifest_is_looked_into() -> None:
    zipped = b64encode(gzip.compress(json.dumps({"nonsense": []}).encode())).decode()
    with pytest.raises(Refused, match="file has 2 problems"):
        check({"manifest_b64gz": zipped})


def test_projects_by_name_are_left_to_ica() -> None:
    assert check({"icav2://run/a": ["icav2://archive/to/"]}) == Checked(jobs=1, sources=1, names_projects=True)


def test_a_manifest_in_s3_is_not_looked_at() -> None:
    assert check({"manifest_uri": "s3://bucket/key.json"}) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "file: is not JSON"),
        (b'{"a": 1, "a": 2}', "a: is a key more than once"),
        (b'{"manifest": {}, "nonsense": 1}', "nonsense: is not a known key"),
        (b'{"manifest": {}, "copy_id": "/"}', "copy_id: must be 1 to 128 letters"),
        (b'{"manifest_b64gz": "!"}', "manifest_b64gz: is not base64"),
        (b"[]", "manifest: must be an object"),
        (b"{}", "manifest: is empty"),
    ],
)
def test_what_ingest_refuses_is_refused_in_its_words(data: bytes, problem: str) -> None:
    with pytest.raises(Refused) as refused:
        check_message(read_message(data, "file"), "file")
    assert problem in str(refused.value.problems[0])


def test_the_first_hundred_problems_are_named_and_all_are_counted() -> None:
    with pytest.raises(Refused) as refused:
        check({f"nonsense {number}": ["icav2://archive/to/"] for number in range(250)})
    assert len(refused.value.problems) == PROBLEMS_LISTED
    assert refused.value.total == 250
    assert refused.value.problems[0].about == "nonsense 0"
