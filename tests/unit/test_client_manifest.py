"""Manifests that are built, and files that are checked without any network."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode

import pytest

from icav2_copy_batch.client import Manifest, Refused
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
