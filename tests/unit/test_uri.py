"""ICA URIs: what is one, and what its parts are."""

from __future__ import annotations

import pytest

from icav2_copy_batch.domain.uri import (
    MAX_URI_CHARACTERS,
    IcaUri,
    UriError,
    copied_into,
    folder_fault,
    is_project_id,
    parent_path,
    parse_uri,
    uri_fault,
)

LONGEST = "icav2://p/" + "x" * (MAX_URI_CHARACTERS - len("icav2://p/"))


@pytest.mark.parametrize(
    ("text", "project", "path"),
    [
        ("icav2://project/a/b.txt", "project", "/a/b.txt"),
        ("icav2://project/a/b/", "project", "/a/b/"),
        ("icav2://project/", "project", "/"),
        ("icav2://1F2D0B0E-6f0c-4e0e-9d0a-3c5b7a9e1d42/a", "1F2D0B0E-6f0c-4e0e-9d0a-3c5b7a9e1d42", "/a"),
        ("icav2://My Project (2024)/a", "My Project (2024)", "/a"),
        (LONGEST, "p", LONGEST.removeprefix("icav2://p")),
    ],
)
def test_a_uri_is_taken_apart_into_project_and_path(text: str, project: str, path: str) -> None:
    assert parse_uri(text) == IcaUri(project, path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("icav2://p/a/", None), ("icav2://p/", None), ("icav2://p/a", "is no folder: end it with /"),
     ("icav2://p//", "has an empty path segment (//)"), ("p/", "does not start with icav2://")],
)  # fmt: skip
def test_a_folder_ends_with_a_slash(text: str, fault: str | None) -> None:
    assert folder_fault(text) == fault


@pytest.mark.parametrize(
    "name",
    ["a b", "#1", "a?b=c", "100%", "%20", "a+b", "ü–概要", "\U0001f9ec", "a:b@c", "...", ".a", "a.", "..a", "\xa0"],
)
def test_nothing_in_a_uri_is_decoded_or_cut(name: str) -> None:
    uri = parse_uri(f"icav2://{name}/folder/{name}")
    assert (uri.project, uri.path, uri.name) == (name, f"/folder/{name}", name)
    assert str(uri) == f"icav2://{name}/folder/{name}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "does not start with icav2://"),
        ("s3://project/a", "does not start with icav2://"),
        ("ICAV2://project/a", "does not start with icav2://"),
        (" icav2://project/a", "does not start with icav2://"),
        ("icav2:/project/a", "does not start with icav2://"),
        ("icav2://", "has no path: a slash must follow the project"),
        ("icav2://project", "has no path: a slash must follow the project"),
        ("icav2:///a", "names no project"),
        ("icav2://project//a", "has an empty path segment (//)"),
        ("icav2://project/a//b", "has an empty path segment (//)"),
        ("icav2://project/a//", "has an empty path segment (//)"),
        (LONGEST + "x", "is longer than 4096 characters"),
        ("icav2://project/a\nb", "contains a control character"),
        ("icav2://project/a\x00", "contains a control character"),
        ("icav2://pro\tject/a", "contains a control character"),
        ("icav2://project/a\x7f", "contains a control character"),
        ("icav2://project/\ud800", "contains an unpaired surrogate, which UTF-8 cannot express"),
        ("icav2://\udc00/a", "contains an unpaired surrogate, which UTF-8 cannot express"),
    ],
)
def test_what_is_no_uri_is_refused_with_its_fault(text: str, fault: str) -> None:
    assert uri_fault(text) == fault
    with pytest.raises(UriError) as refused:
        parse_uri(text)
    assert str(refused.value) == f"{text!r} {fault}"


@pytest.mark.parametrize(("path", "is_folder"), [("/a/b", False), ("/a/b/", True), ("/", True)])
def test_a_path_that_ends_in_a_slash_is_a_folder(path: str, is_folder: bool) -> None:
    assert IcaUri("project", path).is_folder is is_folder


@pytest.mark.parametrize(("path", "name"), [("/a/b.txt", "b.txt"), ("/a/b/", "b"), ("/b", "b"), ("/", "")])
def test_the_name_is_the_last_segment(path: str, name: str) -> None:
    assert IcaUri("project", path).name == name


@pytest.mark.parametrize(
    ("path", "parent"), [("/a/b", "/a/"), ("/a/b/", "/a/"), ("/a", "/"), ("/a/", "/"), ("/", "/"), ("/a/b/c", "/a/b/")]
)
def test_the_parent_is_the_folder_that_holds_the_path(path: str, parent: str) -> None:
    assert parent_path(path) == parent


@pytest.mark.parametrize(("source", "copy"), [("/run/a b", "/out/a b"), ("/run/sub/", "/out/sub/"), ("/a", "/out/a")])
def test_a_copy_keeps_its_sources_name_and_is_a_folder_where_that_is(source: str, copy: str) -> None:
    assert copied_into(IcaUri("to", "/out/"), IcaUri("from", source)) == IcaUri("to", copy)


@pytest.mark.parametrize(
    ("project", "is_id"),
    [
        ("1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d42", True),
        ("1F2D0B0E-6F0C-4E0E-9D0A-3C5B7A9E1D42", True),
        ("1f2d0b0e6f0c4e0e9d0a3c5b7a9e1d42", False),
        ("{1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d42}", False),
        ("urn:uuid:1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d42", False),
        ("1f2d0b0e-6f0c-4e0e-9d0a-3c5b7a9e1d4", False),
        ("primary-data", False),
    ],
)
def test_only_a_uuid_as_ica_writes_it_is_a_project_id(project: str, is_id: bool) -> None:
    assert is_project_id(project) is is_id
