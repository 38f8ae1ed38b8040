"""What a client submits: how it is read, which refusals there are, and what jobs become of it."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import unicodedata
import zlib
from base64 import b64encode, encodebytes
from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from icav2_copy_batch.domain.manifest import (
    MESSAGE_KEYS,
    PROBLEMS_LISTED,
    CopyOptions,
    Limits,
    Message,
    PlannedJob,
    Problem,
    Refused,
    decode_b64gz,
    digest,
    flip,
    is_message,
    pack_sources,
    read_json,
    read_message,
    readable_task_token,
    unpack_sources,
)
from icav2_copy_batch.domain.projects import MOST_NAMES, Projects, UnknownProject
from local.manifests import bclconvert_manifest
from tests.event_files import schema_faults

A, B = "icav2://from/a.txt", "icav2://from/b.txt"
TO, ELSEWHERE = "icav2://to/folder/", "icav2://to/elsewhere/"
TAGS = ("user_tags", "technical_tags", "instrument_info")
KNOWN_KEYS = (
    "manifest, manifest_b64gz, manifest_uri, copy_id, action_on_exist, "
    "copy_user_tags, copy_technical_tags, copy_instrument_info, task_token"
)


def refusal(call: Callable[[], object]) -> list[tuple[str, str]]:
    """What the call refuses, and why."""
    with pytest.raises(Refused) as refused:
        call()
    assert refused.value.total == len(refused.value.problems)
    return [(problem.about, problem.problem) for problem in refused.value.problems]


def read(data: bytes, max_bytes: int = 10_000) -> object:
    return read_json(data, "the file", max_bytes)


def b64gz(manifest: object) -> str:
    return b64encode(gzip.compress(json.dumps(manifest).encode(), mtime=0)).decode()


# --- reading JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"icav2://from/a.txt": ["icav2://to/folder/"]}',
        b'\n {"icav2://from/a.txt": [ "icav2://to/folder/" ] } \r\n',
        b'\xef\xbb\xbf{"icav2://from/a.txt": ["icav2://to/folder/"]}',
        b'{"icav2:\\/\\/from\\/a.txt": ["icav2:\\u002f/to/folder/"]}',
    ],
    ids=["plain", "white space", "byte order mark", "escapes"],
)
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["as it is", "gzipped"])
def test_json_is_read_plain_and_gzipped(data: bytes, packed: Callable[[bytes], bytes]) -> None:
    assert read(packed(data)) == {A: [TO]}


def test_gzip_of_several_members_is_read_to_its_end() -> None:
    whole = json.dumps({A: [TO], B: [TO]}).encode()
    members = gzip.compress(whole[:20]) + gzip.compress(b"") + gzip.compress(whole[20:])
    assert read(members) == {A: [TO], B: [TO]}


def test_zeros_behind_gzip_are_padding() -> None:
    assert read(gzip.compress(b"{}") + bytes(512)) == {}


def test_the_order_of_the_keys_is_kept() -> None:
    keys = [f"icav2://from/{number}" for number in (3, 1, 2)]
    assert list(read(json.dumps(dict.fromkeys(keys)).encode())) == keys  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"run this", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"a": ["b"]', "Expecting ',' delimiter: line 1 column 12 (char 11)"),
        (b'{"a": ["b"]} {}', "Extra data: line 1 column 14 (char 13)"),
        (b"{'a': 1}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["as it is", "gzipped"])
def test_what_is_not_json_is_refused_with_the_place(data: bytes, why: str, packed: Callable[[bytes], bytes]) -> None:
    assert refusal(lambda: read(packed(data))) == [("the file", f"is not JSON: {why}")]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000], ids=["lists", "objects", "digits"])
def test_json_beyond_what_a_parser_can_take_is_refused_as_not_json(text: str) -> None:
    ((about, problem),) = refusal(lambda: read(text.encode(), max_bytes=1_000_000))
    assert about == "the file"
    assert problem.startswith("is not JSON: ")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"\xff": 1}', "is not UTF-8 text: invalid start byte at byte 2"),
        ('{"a": "é"}'.encode("latin-1"), "is not UTF-8 text: invalid continuation byte at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text: invalid start byte at byte 0"),
        (b'"\xed\xa0\x80"', "is not UTF-8 text: invalid continuation byte at byte 1"),
    ],
    ids=["no text", "Latin-1", "UTF-16", "surrogate"],
)
def test_what_is_not_utf_8_is_refused_with_the_place(data: bytes, problem: str) -> None:
    assert refusal(lambda: read(data)) == [("the file", problem)]


@pytest.mark.parametrize("cut", [2, 9, 10, 30, -8, -4, -1])
def test_truncated_gzip_is_refused(cut: int) -> None:
    whole = gzip.compress(json.dumps(bclconvert_manifest()).encode())
    assert refusal(lambda: read(whole[:cut], 10**6)) == [("the file", "is gzip cut short: its end is missing")]


def test_gzip_whose_last_member_is_truncated_is_refused() -> None:
    members = gzip.compress(b"{}") + gzip.compress(b"          ")[:-1]
    assert refusal(lambda: read(members)) == [("the file", "is gzip cut short: its end is missing")]


def test_damaged_gzip_is_refused() -> None:
    data = bytearray(gzip.compress(json.dumps({A: [TO]}).encode()))
    data[-8] ^= 1  # the checksum
    ((about, problem),) = refusal(lambda: read(bytes(data)))
    assert about == "the file"
    assert problem.startswith("is damaged gzip: CRC check failed")


def test_something_else_behind_gzip_is_refused() -> None:
    ((_, problem),) = refusal(lambda: read(gzip.compress(b"{}") + b"more"))
    assert problem.startswith("is damaged gzip: ")


def test_a_text_up_to_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    text = json.dumps({A: [TO]}).encode()
    assert read(text, len(text)) == read(gzip.compress(text), len(text)) == {A: [TO]}
    assert refusal(lambda: read(text, len(text) - 1)) == [
        ("the file", f"holds more than {len(text) - 1} bytes of JSON; split it into several manifests")
    ]
    assert refusal(lambda: read(gzip.compress(text), len(text) - 1)) == [
        ("the file", f"decompresses to more than {len(text) - 1} bytes; split the manifest")
    ]


def test_a_gzip_bomb_is_refused_and_never_held_in_memory() -> None:
    bomb = gzip.compress(b" " * 400) + gzip.compress(b" " * 20_000_000)
    tracemalloc.start()
    try:
        problems = refusal(lambda: read(bomb, 1000))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert problems == [("the file", "decompresses to more than 1,000 bytes; split the manifest")]
    assert most < 1_000_000


def test_a_duplicate_source_key_is_refused_by_name() -> None:
    text = f'{{"{A}": ["{TO}"], "{B}": ["{TO}"], "{A}": ["{ELSEWHERE}"]}}'
    assert refusal(lambda: read(text.encode())) == [
        (A, "stands more than once as a key; list all its destinations under one")
    ]


def test_a_duplicate_key_is_refused_at_any_depth_and_however_it_is_escaped() -> None:
    text = '{"manifest": {"icav2://from/a": [], "icav2:\\/\\/from\\/a": []}, "copy_id": "1", "copy_id": "1"}'
    assert [about for about, _ in refusal(lambda: read(text.encode()))] == ["icav2://from/a", "copy_id"]


# --- a manifest in base64 of gzip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encode", [encodebytes, lambda data: b"\r\n\t " + b64encode(data) + b"\n"])
def test_base64_of_gzip_may_have_line_breaks_and_blanks(encode: Callable[[bytes], bytes]) -> None:
    """As ``base64`` and Python's ``encodebytes`` write it."""
    manifest = {f"icav2://from/{number * 7919:x}": [TO] for number in range(50)}
    text = encode(gzip.compress(json.dumps(manifest).encode())).decode()
    assert "\n" in text.strip() or text != text.strip()
    assert decode_b64gz(text, 10_000) == manifest
    assert schema_faults("message", {"manifest_b64gz": text}) == []


def test_base64_of_gzip_is_read() -> None:
    assert decode_b64gz(b64gz({A: [TO]}), 10_000) == {A: [TO]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not base64!", "is not base64: "),
        ("H4sIé", "is not base64: "),
        ("H4sIA", "is not base64: "),
        ("", "is base64, but not of gzipped data"),
        (b64encode(b'{"a": 1}').decode(), "is base64, but not of gzipped data"),
        ("H4sI", "is gzip cut short: its end is missing"),
        (b64gz({A: [TO]})[:40], "is gzip cut short: its end is missing"),
        (b64gz({A: [TO] * 1000}), "decompresses to more than 10,000 bytes; split the manifest"),
        (b64encode(gzip.compress(b"{'a': 1}", mtime=0)).decode(), "is not JSON: Expecting property name"),
        (b64encode(gzip.compress(b'"\xff"', mtime=0)).decode(), "is not UTF-8 text: invalid start byte at byte 1"),
    ],
)
def test_what_is_not_base64_of_gzipped_json_is_refused_under_its_key(text: str, problem: str) -> None:
    ((about, said),) = refusal(lambda: decode_b64gz(text, 10_000))
    assert about == "manifest_b64gz"
    assert said.startswith(problem)


def test_a_duplicate_source_key_in_base64_of_gzip_is_refused_by_name() -> None:
    text = b64encode(gzip.compress(f'{{"{A}": [], "{A}": []}}'.encode())).decode()
    assert [about for about, _ in refusal(lambda: decode_b64gz(text, 10_000))] == [A]


# --- a message -------------------------------------------------------------------------------------------------------


def test_a_message_is_read_with_all_its_keys() -> None:
    body = {
        "manifest": {A: [TO]},
        "copy_id": "run-288.1_b",
        "action_on_exist": "RENAME",
        "copy_user_tags": False,
        "copy_technical_tags": False,
        "copy_instrument_info": False,
        "task_token": "token",
    }
    assert read_message(body, "message") == Message(
        manifest={A: [TO]},
        copy_id="run-288.1_b",
        options=CopyOptions("RENAME", copy_user_tags=False, copy_technical_tags=False, copy_instrument_info=False),
        task_token="token",
    )


def test_what_a_message_leaves_out_is_as_in_the_replaced_tool() -> None:
    assert read_message({"manifest_b64gz": "H4sI"}, "message") == Message(
        manifest_b64gz="H4sI",
        copy_id=None,
        options=CopyOptions("SKIP", copy_user_tags=True, copy_technical_tags=True, copy_instrument_info=True),
        task_token=None,
    )


@pytest.mark.parametrize("what", TAGS)
def test_each_flag_sets_its_own_option(what: str) -> None:
    options = read_message({"manifest": {}, f"copy_{what}": False}, "message").options
    assert options == CopyOptions(**{f"copy_{what}": False})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/key", ("bucket", "key")),
        ("s3://b-1.c/folder/a b#?%20+ü.json", ("b-1.c", "folder/a b#?%20+ü.json")),
        ("s3://bucket//key/", ("bucket", "/key/")),
        ("s3://bucket/a\nb", ("bucket", "a\nb")),
    ],
)
def test_a_manifest_uri_is_taken_apart_and_nothing_decoded(uri: str, place: tuple[str, str]) -> None:
    assert read_message({"manifest_uri": uri}, "message").manifest_uri == place


@pytest.mark.parametrize(
    ("body", "type_name"),
    [([], "a list"), ("{}", "a string"), (1.5, "a number"), (True, "a boolean"), (None, "null")],
)
def test_a_message_that_is_no_object_is_refused(body: object, type_name: str) -> None:
    assert refusal(lambda: read_message(body, "message")) == [("message", f"must be a JSON object, not {type_name}")]


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ({}, "none"),
        ({"copy_id": "1"}, "none"),
        ({"manifest": {}, "manifest_b64gz": ""}, "manifest and manifest_b64gz"),
        ({"manifest_uri": "s3://bucket/key", "manifest": {}}, "manifest and manifest_uri"),
        (
            {"manifest_uri": "s3://bucket/key", "manifest_b64gz": "", "manifest": {}},
            "manifest and manifest_b64gz and manifest_uri",
        ),
    ],
)
def test_a_message_without_exactly_one_manifest_is_refused(body: object, has: str) -> None:
    assert refusal(lambda: read_message(body, "message 7")) == [
        ("message 7", f"must have exactly one of manifest, manifest_b64gz, manifest_uri, but has {has}")
    ]


@pytest.mark.parametrize("key", ["Manifest", "manifests", "copyid", "action-on-exist", "", "icav2://from/a.txt"])
def test_an_unknown_key_is_refused_by_name(key: str) -> None:
    body = {"manifest": {A: [TO]}, key: "x"}
    assert refusal(lambda: read_message(body, "message")) == [(key, f"is not a known key; known are {KNOWN_KEYS}")]


NO_BUCKETS = ["b", "Bucket", "-bucket", "bucket-", "a_b", "a b", "b" * 64, ""]
NO_STRINGS: list[object] = [None, 1, [], {}, True]
NO_FLAGS: list[object] = [None, "true", 1, 0, [], {}]
WRONG_VALUES: list[tuple[str, list[object], str]] = [
    ("manifest_b64gz", [*NO_STRINGS, ["H4sI"]], "must be a string: base64 of the gzipped JSON manifest"),
    (
        "manifest_uri",
        [
            *NO_STRINGS,
            "",
            "s3://bucket",
            "s3://bucket/",
            "https://bucket/key",
            *(f"s3://{it}/key" for it in NO_BUCKETS),
        ],
        "must be a string of the form s3://bucket/key, the key of at most 1024 bytes",
    ),
    (
        "copy_id",
        [*NO_STRINGS, "", "x" * 129, "a b", "a/b", "ü", "-a", ".a", "#a", "a\n", "\ud800"],
        "must be 1 to 128 letters, digits, '.', '_' or '-'",
    ),
    ("action_on_exist", [*NO_STRINGS, "", "skip", "SKIP ", ["SKIP"]], "must be one of SKIP, OVERWRITE, RENAME"),
    ("copy_user_tags", NO_FLAGS, "must be true or false"),
    ("copy_technical_tags", NO_FLAGS, "must be true or false"),
    ("copy_instrument_info", NO_FLAGS, "must be true or false"),
    ("task_token", [*NO_STRINGS, "", "x" * 2049], "must be a string of 1 to 2048 characters"),
]


@pytest.mark.parametrize(
    ("key", "value", "problem"), [(key, value, problem) for key, values, problem in WRONG_VALUES for value in values]
)
def test_a_key_with_a_wrong_value_is_refused_by_name(key: str, value: object, problem: str) -> None:
    body = {key: value} if key.startswith("manifest_") else {"manifest": {A: [TO]}, key: value}
    assert refusal(lambda: read_message(body, "message")) == [(key, problem)]


@pytest.mark.parametrize("copy_id", ["0", "A", "x" * 128, "a.b_c-D9"])
def test_a_copy_id_within_its_limits_is_taken(copy_id: str) -> None:
    assert read_message({"manifest": {}, "copy_id": copy_id}, "message").copy_id == copy_id


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE", "RENAME"])
def test_each_action_of_ica_can_be_chosen(action: str) -> None:
    assert read_message({"manifest": {}, "action_on_exist": action}, "message").options == CopyOptions(action)


def test_every_problem_of_a_message_is_named_at_once() -> None:
    body = {"copy_id": "", "action_on_exist": "", "copy_user_tags": 0, "task_token": "", "typo": 1}
    assert [about for about, _ in refusal(lambda: read_message(body, "message"))] == [
        "typo",
        "message",
        "copy_id",
        "action_on_exist",
        "copy_user_tags",
        "task_token",
    ]


def test_unknown_keys_are_named_in_the_order_in_which_they_stand() -> None:
    keys = [f"typo {number}" for number in range(50)]
    body = {"manifest": {A: [TO]}, **dict.fromkeys(keys)}
    assert [about for about, _ in refusal(lambda: read_message(body, "message"))] == keys


@pytest.mark.parametrize(
    ("body", "token"),
    [
        ({"task_token": "token"}, "token"),
        ({"task_token": "token", "typo": 1, "manifest": 3}, "token"),
        ({"task_token": ""}, None),
        ({"task_token": 1}, None),
        ({}, None),
        (["task_token"], None),
        (None, None),
    ],
)
def test_the_task_token_is_found_in_a_message_with_other_faults(body: object, token: str | None) -> None:
    assert readable_task_token(body) == token


@pytest.mark.parametrize("key", MESSAGE_KEYS)
def test_an_uploaded_object_with_a_key_of_a_message_is_a_message(key: str) -> None:
    assert is_message({key: None})


@pytest.mark.parametrize("body", [{}, {A: [TO]}, {"manifests": {}}, [], ["manifest"], "manifest", None])
def test_anything_else_that_is_uploaded_is_the_bare_map(body: object) -> None:
    assert not is_message(body)


# --- flipping --------------------------------------------------------------------------------------------------------


def jobs(manifest: object, **limits: Any) -> list[tuple[str, list[str]]]:
    return [(job.destination, unpack_sources(job.packed_sources)) for job in flip(manifest, Limits(**limits))]


def test_a_manifest_becomes_one_job_for_each_destination() -> None:
    manifest = {B: [TO], A: [ELSEWHERE, TO], "icav2://from/InterOp/": ["icav2://to/"]}
    assert jobs(manifest) == [("icav2://to/", ["icav2://from/InterOp/"]), (ELSEWHERE, [A]), (TO, [A, B])]


def test_the_manifest_of_a_run_becomes_as_many_jobs_as_it_has_folders() -> None:
    planned = jobs(bclconvert_manifest())
    assert (len(planned), sum(len(sources) for _, sources in planned)) == (44, 118)


@pytest.mark.parametrize(
    ("manifest", "type_name"),
    [([A, TO], "a list"), ("x", "a string"), (1, "a number"), (None, "null"), (True, "a boolean")],
)
def test_a_manifest_that_is_no_object_is_refused(manifest: object, type_name: str) -> None:
    assert refusal(lambda: jobs(manifest)) == [
        ("manifest", f"must be an object of source to destinations, not {type_name}")
    ]


def test_an_empty_manifest_is_refused() -> None:
    assert refusal(lambda: jobs({})) == [("manifest", "is empty: it names no source")]


@pytest.mark.parametrize("value", [[], None, TO, {TO: 1}, 1, True, {}, ""])
def test_a_source_without_a_list_of_destinations_is_refused_by_name(value: object) -> None:
    assert refusal(lambda: jobs({A: [TO], B: value})) == [(B, "must have a non-empty list of destination folders")]


@pytest.mark.parametrize(
    ("value", "type_name"),
    [(None, "null"), (1, "a number"), ([TO], "a list"), ({TO: 1}, "an object"), (False, "a boolean")],
)
def test_a_destination_that_is_no_string_is_refused_under_its_source(value: object, type_name: str) -> None:
    assert refusal(lambda: jobs({A: [TO, value]})) == [
        (A, f"has a destination that must be a string but is {type_name}")
    ]


BAD_URIS = [
    ("", "does not start with icav2://"),
    ("s3://else/a", "does not start with icav2://"),
    ("icav2:///a/", "names no project"),
    ("icav2://else", "has no path: a slash must follow the project"),
    ("icav2://else/a//b/", "has an empty path segment (//)"),
    ("icav2://else/a/../b/", "has a path segment . or .., which is no name"),
    ("icav2://else/./", "has a path segment . or .., which is no name"),
    ("icav2://../b/", "has a path segment . or .., which is no name"),
    ("icav2://else/" + "x" * 4096 + "/", "is longer than 4096 characters"),
    ("icav2://else/a\nb/", "contains a control character"),
    ("icav2://else/\ud800/", "contains an unpaired surrogate, which UTF-8 cannot express"),
]


@pytest.mark.parametrize(
    ("source", "fault"),
    [*BAD_URIS, ("icav2://from/", "is the root of a project; name a file or a folder in it")],
)
def test_a_bad_source_is_refused_by_name_with_its_fault(source: str, fault: str) -> None:
    assert refusal(lambda: jobs({A: [TO], source: [TO]})) == [(source, fault)]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/b", "has an empty path segment (//)"),
        ("..", "has a path segment . or .., which is no name"),
        (".", "has a path segment . or .., which is no name"),
        ("x" * 4096, "is longer than 4096 characters"),
        ("a\x7fb", "contains a control character"),
        ("é\n", "contains a control character"),
        ("\udfff", "contains an unpaired surrogate, which UTF-8 cannot express"),
    ],
)
def test_a_bad_source_is_refused_next_to_good_ones_of_its_folder(name: str, fault: str) -> None:
    source = A[: A.rindex("/") + 1] + name
    assert refusal(lambda: jobs({A: [TO], source: [TO], B: [TO]})) == [(source, fault)]


@pytest.mark.parametrize(
    ("destination", "fault"),
    [
        *BAD_URIS,
        ("icav2://to/folder", "is a destination, which must be a folder: end it with /"),
        ("icav2://to/report.pdf", "is a destination, which must be a folder: end it with /"),
    ],
)
def test_a_bad_destination_is_refused_by_name_with_its_fault_and_once(destination: str, fault: str) -> None:
    assert refusal(lambda: jobs({A: [TO, destination], B: [destination]})) == [(destination, fault)]


def test_one_destination_twice_for_a_source_is_refused_under_the_source() -> None:
    manifest = {A: [TO, ELSEWHERE, TO, ELSEWHERE, TO], B: [TO]}
    assert refusal(lambda: jobs(manifest)) == [
        (A, f"names the destination {TO} more than once"),
        (A, f"names the destination {ELSEWHERE} more than once"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("icav2://from/1/a.txt", "icav2://from/2/a.txt"),
        ("icav2://from/a.txt", "icav2://other/a.txt"),
        ("icav2://from/1/logs/", "icav2://from/2/logs/"),
    ],
)
def test_two_sources_of_one_name_into_one_destination_are_refused(one: str, other: str) -> None:
    assert refusal(lambda: jobs({one: [TO], B: [TO], other: [ELSEWHERE, TO]})) == [
        (other, f"has the same name as {one} in {TO}; one of the two would be lost")
    ]


@pytest.mark.parametrize("into", ["icav2://to/folder/logs/", "icav2://to/folder/logs/deeper/"])
def test_a_destination_inside_a_folder_that_is_copied_is_refused(into: str) -> None:
    """Two jobs, and so two live ICA jobs, could write the same file."""
    logs = "icav2://from/1/logs/"
    problem = f"lies in icav2://to/folder/logs/, to which {logs} is copied; submit it later, as another copy"
    assert refusal(lambda: jobs({A: [into], logs: ["icav2://to/folder/"]})) == [(into, problem)]


@pytest.mark.parametrize("into", ["icav2://to/folder/logs 2/", "icav2://to/logs/", "icav2://other/folder/logs/"])
def test_a_destination_beside_a_folder_that_is_copied_is_none_inside_it(into: str) -> None:
    logs = "icav2://from/1/logs/"
    assert jobs({A: [into], logs: ["icav2://to/folder/"]}) == sorted([(into, [A]), ("icav2://to/folder/", [logs])])


@pytest.mark.parametrize("other", ["icav2://from/2/A.txt", "icav2://from/2/ba.txt", "icav2://from/a.txt/x"])
def test_sources_of_different_names_go_into_one_destination(other: str) -> None:
    assert jobs({A: [TO], other: [TO]}) == [(TO, sorted([A, other]))]


def test_sources_of_one_name_go_into_two_destinations() -> None:
    other = "icav2://from/2/a.txt"
    assert jobs({A: [TO], other: [ELSEWHERE]}) == [(ELSEWHERE, [other]), (TO, [A])]


def test_a_destination_in_the_project_of_its_source_is_refused_under_the_source() -> None:
    within = "icav2://from/backup/"
    assert refusal(lambda: jobs({A: [TO, within], B: [TO]})) == [
        (A, f"is in the same project as its destination {within}; ICA copies between two")
    ]


def test_a_copy_within_a_project_is_planned_where_the_limits_allow_it() -> None:
    assert jobs({A: ["icav2://from/backup/"]}, allow_same_project=True) == [("icav2://from/backup/", [A])]


def test_a_project_whose_name_begins_with_that_of_the_other_is_another() -> None:
    assert jobs({A: ["icav2://from-backup/"]}) == [("icav2://from-backup/", [A])]


def test_every_problem_is_named_at_once_each_with_what_it_is_about() -> None:
    manifest = {
        "nonsense": [TO],
        A: [],
        B: ["icav2://to/file", None],
        "icav2://from/2/b.txt": ["icav2://to/file", "icav2://from/"],
    }
    assert [about for about, _ in refusal(lambda: jobs(manifest))] == [
        "nonsense",
        A,
        "icav2://to/file",
        B,
        "icav2://from/2/b.txt",
        "icav2://from/2/b.txt",
    ]


@pytest.mark.parametrize("number", [PROBLEMS_LISTED, PROBLEMS_LISTED + 1, 1000])
def test_of_many_problems_the_first_hundred_are_listed_and_all_are_counted(number: int) -> None:
    sources = [f"nonsense {index}" for index in range(number)]
    with pytest.raises(Refused) as refused:
        flip({source: [TO] for source in sources}, Limits())
    assert refused.value.total == number
    assert [problem.about for problem in refused.value.problems] == sources[:100]


def test_of_many_duplicate_keys_the_first_hundred_are_listed_and_all_are_counted() -> None:
    text = "{" + ", ".join(f'"{index % 150}": []' for index in range(300)) + "}"
    with pytest.raises(Refused) as refused:
        read(text.encode())
    assert refused.value.total == 150
    assert [problem.about for problem in refused.value.problems] == [str(index) for index in range(100)]


def test_a_refusal_says_its_first_problems() -> None:
    problems = [Problem(name, "is wrong") for name in "abcd"]
    assert str(Refused(problems)) == "a: is wrong; b: is wrong; c: is wrong"


# --- splitting and fingerprints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (6, [6, 1]), (7, [7]), (1000, [7])], ids=lambda value: str(value)
)
def test_a_destination_with_more_sources_than_the_limit_becomes_several_jobs(limit: int, sizes: list[int]) -> None:
    sources = [f"icav2://from/{number}" for number in range(7)]
    planned = jobs({source: [TO] for source in sources}, max_sources_per_job=limit)
    assert [(destination, len(packed)) for destination, packed in planned] == [(TO, size) for size in sizes]
    assert [source for _, packed in planned for source in packed] == sources


def test_the_jobs_of_a_split_destination_stand_together() -> None:
    manifest = {f"icav2://from/{number}": [TO, ELSEWHERE] for number in range(3)}
    assert [destination for destination, _ in jobs(manifest, max_sources_per_job=2)] == [ELSEWHERE, ELSEWHERE, TO, TO]


def test_sources_that_pack_to_more_than_the_limit_are_halved_until_they_fit() -> None:
    sources = [f"icav2://from/{number * 7919:x}" for number in range(100)]
    planned = flip({source: [TO] for source in sources}, Limits(max_packed_bytes=100))
    assert len(planned) > 1
    assert max(len(job.packed_sources) for job in planned) <= 100
    assert [source for job in planned for source in unpack_sources(job.packed_sources)] == sorted(sources)


def test_sources_that_pack_to_just_the_limit_are_not_halved() -> None:
    exactly = len(pack_sources([A, B]))
    assert jobs({A: [TO], B: [TO]}, max_packed_bytes=exactly) == [(TO, [A, B])]
    assert jobs({A: [TO], B: [TO]}, max_packed_bytes=exactly - 1) == [(TO, [A]), (TO, [B])]


def test_a_single_source_that_packs_to_more_than_the_limit_is_a_job_of_its_own() -> None:
    assert jobs({A: [TO], B: [TO]}, max_packed_bytes=1) == [(TO, [A]), (TO, [B])]


def test_packed_sources_are_much_smaller_than_the_sources_of_a_run() -> None:
    sources = list(bclconvert_manifest())
    assert len(pack_sources(sources)) < len("".join(sources)) / 10
    assert unpack_sources(pack_sources(sources)) == sources


# --- forms of Unicode ------------------------------------------------------------------------------------------------


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_a_folder_and_a_source_are_the_same_in_either_unicode_form() -> None:
    composed = {"icav2://from/é/ö.txt": ["icav2://to/ü/"], "icav2://from/é/å/": ["icav2://to/ü/"]}
    mixed = {"icav2://from/é/ö.txt": ["icav2://to/ü/"], nfd("icav2://from/é/å/"): [nfd("icav2://to/ü/")]}
    planned = [flip(manifest, Limits()) for manifest in (composed, mixed)]
    assert planned[0] == planned[1]
    (job,) = planned[1]
    assert (job.destination, unpack_sources(job.packed_sources)) == ("icav2://to/ü/", sorted(composed))
    assert digest(planned[0], CopyOptions()) == digest(planned[1], CopyOptions())


def test_a_project_keeps_the_unicode_form_by_which_it_is_looked_up() -> None:
    assert jobs({A: [nfd("icav2://é/ü/")]}) == [(f"icav2://{nfd('é')}/ü/", [A])]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (
            {"icav2://from/é": [TO], nfd("icav2://from/é"): ["icav2://to/y/"]},
            (
                nfd("icav2://from/é"),
                "stands more than once as a key, spelled otherwise; list all under one",
            ),
        ),
        (
            {A: ["icav2://to/é/", nfd("icav2://to/é/")]},
            (A, "names the destination icav2://to/é/ more than once"),
        ),
        (
            {"icav2://from/1/é": [TO], nfd("icav2://from/2/é"): [TO]},
            ("icav2://from/2/é", f"has the same name as icav2://from/1/é in {TO}; one of the two would be lost"),
        ),
    ],
    ids=["source", "destination", "same name"],
)
def test_what_is_named_in_two_unicode_forms_is_checked_as_one(manifest: object, problem: tuple[str, str]) -> None:
    assert refusal(lambda: jobs(manifest)) == [problem]


# --- projects by name ------------------------------------------------------------------------------------------------

FIRST_ID, SECOND_ID = "b23fb516-d852-4985-adcc-831c12e8cd22", "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
KNOWN = {"first": FIRST_ID, "second": SECOND_ID, "renamed": SECOND_ID}


def look_up(name: str) -> str:
    if name not in KNOWN:
        raise UnknownProject(f"is in {name}, which nobody knows")
    return KNOWN[name]


def flipped(manifest: object) -> tuple[list[tuple[str, list[str]]], dict[str, str]]:
    """The jobs, and how the projects are called."""
    projects = Projects(look_up)
    planned = flip(manifest, Limits(), projects)
    return [(job.destination, unpack_sources(job.packed_sources)) for job in planned], projects.names


@pytest.mark.parametrize("spelling", ["second", SECOND_ID, SECOND_ID.upper()])
def test_jobs_have_the_ids_of_their_projects_however_these_are_called(spelling: str) -> None:
    manifest = {"icav2://first/a": [f"icav2://{spelling}/x/"], f"icav2://{FIRST_ID}/b": [f"icav2://{SECOND_ID}/x/"]}
    planned, names = flipped(manifest)
    assert planned == [(f"icav2://{SECOND_ID}/x/", [f"icav2://{FIRST_ID}/a", f"icav2://{FIRST_ID}/b"])]
    assert names == {FIRST_ID: "first"} | ({SECOND_ID: spelling} if spelling != SECOND_ID else {})


def test_a_project_is_called_by_its_first_name_and_rather_so_than_by_an_id_in_capitals() -> None:
    manifest = {f"icav2://{FIRST_ID}/a": [f"icav2://{each}/x/" for each in (SECOND_ID.upper(), "second", "renamed")]}
    assert refusal(lambda: flipped(manifest)) == [
        (f"icav2://{FIRST_ID}/a", "names the destination icav2://second/x/ more than once")
    ]
    projects = Projects(look_up)
    for each in (SECOND_ID.upper(), "renamed", "second"):
        assert projects.id_of(each) == SECOND_ID
    assert projects.names == {SECOND_ID: "renamed"}


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (
            {f"icav2://{FIRST_ID}/r/x": ["icav2://second/"], "icav2://first/x": [f"icav2://{SECOND_ID}/"]},
            (
                "icav2://first/x",
                "has the same name as icav2://first/r/x in icav2://second/; one of the two would be lost",
            ),
        ),
        (
            {"icav2://first/t/": ["icav2://second/"], "icav2://first/x": [f"icav2://{SECOND_ID.upper()}/t/"]},
            (
                "icav2://second/t/",
                "lies in icav2://second/t/, to which icav2://first/t/ is copied; submit it later, as another copy",
            ),
        ),
        (
            {"icav2://first/x": [f"icav2://{FIRST_ID}/y/"]},
            (
                "icav2://first/x",
                "is in the same project as its destination icav2://first/y/; ICA copies between two",
            ),
        ),
        (
            {f"icav2://{FIRST_ID}/x": [f"icav2://{FIRST_ID.upper()}/y/"]},
            (
                f"icav2://{FIRST_ID.upper()}/x",
                f"is in the same project as its destination icav2://{FIRST_ID.upper()}/y/; ICA copies between two",
            ),
        ),
        (
            {"icav2://first/x": ["icav2://second/"], f"icav2://{FIRST_ID}/x": [f"icav2://{SECOND_ID}/y/"]},
            (
                "icav2://first/x",
                "stands more than once as a key, spelled otherwise; list all under one",
            ),
        ),
    ],
    ids=["same name", "inside a tree", "same project", "capitals", "same source"],
)
def test_what_is_checked_is_checked_over_ids_and_told_in_the_clients_words(
    manifest: object, problem: tuple[str, str]
) -> None:
    assert refusal(lambda: flipped(manifest)) == [problem]


def test_a_project_that_nobody_knows_is_one_problem_among_all_others() -> None:
    manifest = {
        "icav2://nobody/a": ["icav2://second/x/", "icav2://nowhere/x/", "icav2://nowhere/y/"],
        "icav2://nobody/b": ["icav2://second/x/", 7, "icav2://second"],
        "icav2://no\nbody/c": [],
    }
    assert refusal(lambda: flipped(manifest)) == [
        ("icav2://nobody/a", "is in nobody, which nobody knows"),
        ("icav2://nowhere/x/", "is in nowhere, which nobody knows"),
        ("icav2://nobody/b", "has a destination that must be a string but is a number"),
        ("icav2://second", "has no path: a slash must follow the project"),
        ("icav2://no\nbody/c", "contains a control character"),
        ("icav2://no\nbody/c", "must have a non-empty list of destination folders"),
    ]


def test_what_is_no_uri_hides_no_project_and_is_told_as_it_is() -> None:
    manifest = {
        "": [TO],
        "icav2://": [TO],
        "icav2://firsts": [TO],
        "icav2://first/a": ["", "icav2://seconds", "icav2://second/x/"],
    }
    assert refusal(lambda: flip(manifest, Limits(), Projects(lambda name: KNOWN.get(name, name)))) == [
        ("", "does not start with icav2://"),
        ("icav2://", "has no path: a slash must follow the project"),
        ("icav2://firsts", "has no path: a slash must follow the project"),
        ("", "does not start with icav2://"),
        ("icav2://seconds", "has no path: a slash must follow the project"),
    ]


def test_a_manifest_of_very_many_names_has_a_hundred_looked_up() -> None:
    """One from which the project was left out would take a call for each of its folders."""
    asked: list[str] = []

    def known(name: str) -> str:
        asked.append(name)
        if len(asked) % 2:
            raise UnknownProject("is in a project that nobody knows")
        return str(uuid5(NAMESPACE_URL, name))

    manifest = {f"icav2://{number}/{number}": [TO] for number in range(150)}
    with pytest.raises(Refused) as refused:
        flip(manifest, Limits(), Projects(known))
    assert len(asked) == MOST_NAMES
    assert refused.value.total == MOST_NAMES // 2 + 151 - MOST_NAMES
    assert "give ids" in str(refused.value.problems[-1])


# --- the digest ------------------------------------------------------------------------------------------------------

PLAN = [PlannedJob(ELSEWHERE, pack_sources([A])), PlannedJob(TO, pack_sources([A, B]))]


def test_the_digest_of_the_same_submission_is_the_same_however_zlib_packs_it() -> None:
    again = [PlannedJob(job.destination, zlib.compress(zlib.decompress(job.packed_sources), level=0)) for job in PLAN]
    assert again != PLAN
    assert digest(PLAN, CopyOptions()) == digest(again, CopyOptions())


@pytest.mark.parametrize("limits", [Limits(max_sources_per_job=1), Limits(max_packed_bytes=1)])
def test_the_digest_of_the_same_submission_is_the_same_however_it_is_split_and_in_whatever_order(
    limits: Limits,
) -> None:
    manifest = {B: [TO], A: [TO, ELSEWHERE]}
    turned = {A: [ELSEWHERE, TO], B: [TO]}
    assert len(flip(turned, limits)) > len(flip(manifest, Limits()))
    assert digest(flip(turned, limits), CopyOptions()) == digest(flip(manifest, Limits()), CopyOptions())


def test_the_plan_hangs_on_no_order() -> None:
    manifest = bclconvert_manifest()
    turned = {source: to[::-1] for source, to in reversed(manifest.items())}
    assert flip(turned, Limits(max_sources_per_job=2)) == flip(manifest, Limits(max_sources_per_job=2))


@pytest.mark.parametrize(
    ("planned", "options"),
    [
        (PLAN[:1], CopyOptions()),
        ([PLAN[0], PlannedJob(TO, pack_sources([A]))], CopyOptions()),
        ([PLAN[0], PlannedJob(TO, pack_sources([A, B + "x"]))], CopyOptions()),
        ([PlannedJob(ELSEWHERE, pack_sources([A, B])), PlannedJob(TO, pack_sources([A]))], CopyOptions()),
        ([PlannedJob(TO, pack_sources([A, A, B]))], CopyOptions()),
        (PLAN, CopyOptions("OVERWRITE")),
        (PLAN, CopyOptions(copy_user_tags=False)),
        (PLAN, CopyOptions(copy_technical_tags=False)),
        (PLAN, CopyOptions(copy_instrument_info=False)),
    ],
    ids=[
        "fewer jobs",
        "fewer sources",
        "another source",
        "elsewhere",
        "one destination",
        "action",
        "user",
        "technical",
        "instrument",
    ],
)
def test_the_digest_of_another_submission_is_another(planned: list[PlannedJob], options: CopyOptions) -> None:
    assert digest(planned, options) != digest(PLAN, CopyOptions())
