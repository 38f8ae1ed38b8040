"""What may be asked of the product: how a submission is read from a message, and which messages are refused."""

from __future__ import annotations

import pytest

from icav2_copy_batch.domain.submit import (
    MESSAGE_KEYS,
    CopyOptions,
    Submit,
    is_message,
    read_submit,
    readable_task_token,
)
from tests.unit.refusals import refusal

A, B = "icav2://from/a.txt", "icav2://from/b.txt"
TO = "icav2://to/folder/"
TAGS = ("user_tags", "technical_tags", "instrument_info")
KNOWN_KEYS = (
    "manifest, manifest_b64gz, manifest_uri, copy_id, action_on_exist, "
    "copy_user_tags, copy_technical_tags, copy_instrument_info, task_token, tags, hold"
)


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
    assert read_submit(body, "message") == Submit(
        manifest={A: [TO]},
        copy_id="run-288.1_b",
        options=CopyOptions("RENAME", copy_user_tags=False, copy_technical_tags=False, copy_instrument_info=False),
        task_token="token",
    )


def test_what_a_message_leaves_out_is_as_in_the_replaced_tool() -> None:
    assert read_submit({"manifest_b64gz": "H4sI"}, "message") == Submit(
        manifest_b64gz="H4sI",
        copy_id=None,
        options=CopyOptions("SKIP", copy_user_tags=True, copy_technical_tags=True, copy_instrument_info=True),
        task_token=None,
    )


@pytest.mark.parametrize("what", TAGS)
def test_each_flag_sets_its_own_option(what: str) -> None:
    options = read_submit({"manifest": {}, f"copy_{what}": False}, "message").options
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
    assert read_submit({"manifest_uri": uri}, "message").manifest_uri == place


@pytest.mark.parametrize(
    ("body", "type_name"),
    [([], "a list"), ("{}", "a string"), (1.5, "a number"), (True, "a boolean"), (None, "null")],
)
def test_a_message_that_is_no_object_is_refused(body: object, type_name: str) -> None:
    assert refusal(lambda: read_submit(body, "message")) == [("message", f"must be a JSON object, not {type_name}")]


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
    assert refusal(lambda: read_submit(body, "message 7")) == [
        ("message 7", f"must have exactly one of manifest, manifest_b64gz, manifest_uri, but has {has}")
    ]


@pytest.mark.parametrize("key", ["Manifest", "manifests", "copyid", "action-on-exist", "", "icav2://from/a.txt"])
def test_an_unknown_key_is_refused_by_name(key: str) -> None:
    body = {"manifest": {A: [TO]}, key: "x"}
    assert refusal(lambda: read_submit(body, "message")) == [
        (key, f"is not a known key; the known keys are {KNOWN_KEYS}")
    ]


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
        "must be a string of the form s3://bucket/key, with a key of at most 1024 bytes",
    ),
    (
        "copy_id",
        [*NO_STRINGS, "", "x" * 129, "a b", "a/b", "ü", "-a", ".a", "#a", "a\n", "\ud800"],
        "must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit",
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
    assert refusal(lambda: read_submit(body, "message")) == [(key, problem)]


@pytest.mark.parametrize("copy_id", ["0", "A", "x" * 128, "a.b_c-D9"])
def test_a_copy_id_within_its_limits_is_taken(copy_id: str) -> None:
    assert read_submit({"manifest": {}, "copy_id": copy_id}, "message").copy_id == copy_id


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE", "RENAME"])
def test_each_action_of_ica_can_be_chosen(action: str) -> None:
    assert read_submit({"manifest": {}, "action_on_exist": action}, "message").options == CopyOptions(action)


def test_every_problem_of_a_message_is_named_at_once() -> None:
    body = {"copy_id": "", "action_on_exist": "", "copy_user_tags": 0, "task_token": "", "typo": 1}
    assert [about for about, _ in refusal(lambda: read_submit(body, "message"))] == [
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
    assert [about for about, _ in refusal(lambda: read_submit(body, "message"))] == keys


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
