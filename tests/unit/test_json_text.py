"""Reading what a client has sent: JSON, plain, gzipped or in base64, and which of it is refused."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from base64 import b64encode, encodebytes
from collections.abc import Callable

import pytest

from icav2_copy_batch.domain.json_text import decode_b64gz, read_json
from icav2_copy_batch.domain.problems import Refused
from local.manifests import bclconvert_manifest
from tests.event_files import schema_faults
from tests.unit.refusals import refusal

A, B = "icav2://from/a.txt", "icav2://from/b.txt"
TO, ELSEWHERE = "icav2://to/folder/", "icav2://to/elsewhere/"


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
    assert refusal(lambda: read(whole[:cut], 10**6)) == [("the file", "is incomplete gzip: its end is missing")]


def test_gzip_whose_last_member_is_truncated_is_refused() -> None:
    members = gzip.compress(b"{}") + gzip.compress(b"          ")[:-1]
    assert refusal(lambda: read(members)) == [("the file", "is incomplete gzip: its end is missing")]


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
        (A, "is a key more than once; list all its destinations under one key")
    ]


def test_a_duplicate_key_is_refused_at_any_depth_and_however_it_is_escaped() -> None:
    text = '{"manifest": {"icav2://from/a": [], "icav2:\\/\\/from\\/a": []}, "copy_id": "1", "copy_id": "1"}'
    assert [about for about, _ in refusal(lambda: read(text.encode()))] == ["icav2://from/a", "copy_id"]


def test_of_many_duplicate_keys_the_first_hundred_are_listed_and_all_are_counted() -> None:
    text = "{" + ", ".join(f'"{index % 150}": []' for index in range(300)) + "}"
    with pytest.raises(Refused) as refused:
        read(text.encode())
    assert refused.value.total == 150
    assert [problem.about for problem in refused.value.problems] == [str(index) for index in range(100)]


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
        ("H4sI", "is incomplete gzip: its end is missing"),
        (b64gz({A: [TO]})[:40], "is incomplete gzip: its end is missing"),
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
