"""What holds of any manifest and of any bytes, and not only of those we thought of."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from itertools import groupby
from random import Random

from hypothesis import assume, example, given
from hypothesis import strategies as st

from icav2_copy_batch.domain.json_text import decode_b64gz, read_json
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.submission import uploads_in
from icav2_copy_batch.domain.submit import CopyOptions, read_submit
from icav2_copy_batch.domain.uri import UriError, parse_uri, uri_fault
from tests.event_files import schema_faults

Manifest = dict[str, list[str]]

MAX_BYTES = 100_000

segments = st.sampled_from(
    ["a", "A", "b.txt", "run 1", "#1", "50%", "%20", "a+b", "?", "ü", "概要", "\U0001f9ec", "..b", "a:b"]
)
sources = st.builds("icav2://{}/{}{}".format, st.sampled_from(["from", "other"]), segments, st.sampled_from(["", "/"]))
destinations = st.builds(
    "icav2://{}/{}".format, st.sampled_from(["to", "archive"]), st.just("") | segments.map("out {}/".format)
)
manifests = st.dictionaries(
    sources, st.lists(destinations, min_size=1, max_size=3, unique=True), min_size=1, max_size=8
).map(lambda manifest: without_namesakes(manifest))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
almost_uris = (
    st.text("icav2:/ab\n ü", max_size=14).map("icav2://p{}".format) | sources | destinations | st.text(max_size=12)
)
almost_manifests = st.dictionaries(
    almost_uris, st.lists(almost_uris | json_values, max_size=3) | json_values, max_size=4
)


def without_namesakes(manifest: Manifest) -> Manifest:
    """The manifest less each source whose name has come before."""
    kept = {source.removeprefix("icav2://").partition("/")[2]: source for source in manifest}
    return {source: manifest[source] for source in manifest if source in kept.values()}


def refusal(call: Callable[[], object]) -> list[str] | None:
    """What a refusal is about; None when there is none."""
    try:
        call()
    except Refused as refused:
        return [problem.about for problem in refused.problems]
    return None


def unpacked(planned: list[PlannedJob]) -> list[tuple[str, list[str]]]:
    return [(job.destination, list(job.sources)) for job in planned]


# --- nothing crashes -------------------------------------------------------------------------------------------------


@given(st.binary() | st.binary().map(gzip.compress) | st.binary().map(b"\x1f\x8b\x08\x00".__add__))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert refusal(lambda: read_json(data, "the file", MAX_BYTES)) in (None, ["the file"])


@given(json_values, st.integers(0), st.integers(1, 255))
def test_damaged_gzip_is_read_or_refused(value: object, position: int, damage: int) -> None:
    packed = bytearray(gzip.compress(json.dumps(value).encode()))
    packed[position % len(packed)] ^= damage
    assert refusal(lambda: read_json(bytes(packed), "the file", MAX_BYTES)) in (None, ["the file"])


@given(st.text() | (st.binary() | st.binary().map(gzip.compress)).map(b64encode).map(bytes.decode))
def test_any_text_is_read_as_base64_of_gzip_or_refused(text: str) -> None:
    assert refusal(lambda: decode_b64gz(text, MAX_BYTES)) in (None, ["manifest_b64gz"])


@given(almost_manifests | json_values)
@example({"": [""]})
@example({"/": ["icav2://to/"]})
@example({"icav2://": ["icav2://"]})
@example({"icav2://from/a": ["\ud800"]})
def test_any_json_is_flipped_or_refused(manifest: object) -> None:
    assert refusal(lambda: flip(manifest, Limits())) != []


@given(
    json_values
    | st.dictionaries(
        st.sampled_from(
            ["manifest", "manifest_b64gz", "manifest_uri", "copy_id", "task_token", "copy_user_tags", "typo"]
        ),
        json_values,
        max_size=5,
    )
)
def test_any_json_is_a_message_or_refused(body: object) -> None:
    assert refusal(lambda: read_submit(body, "message")) != []


@given(json_values)
def test_any_json_is_a_notification_or_none(body: object) -> None:
    assert uploads_in(body) is None


# --- flipping --------------------------------------------------------------------------------------------------------


@given(manifests, st.randoms())
def test_a_flip_keeps_every_pair_once_sorted_whatever_the_order_of_the_manifest(
    manifest: Manifest, chance: Random
) -> None:
    sources = sorted(manifest, key=lambda _: chance.random())
    shuffled = {source: sorted(manifest[source], key=lambda _: chance.random()) for source in sources}
    assert unpacked(flip(shuffled, Limits())) == [
        (to, [source for source in sorted(manifest) if to in manifest[source]])
        for to in sorted({to for tos in manifest.values() for to in tos})
    ]


@given(manifests)
def test_jobs_into_one_project_stand_together(manifest: Manifest) -> None:
    projects = [job.destination.split("/")[2] for job in flip(manifest, Limits())]
    assert len([*groupby(projects)]) == len(set(projects))


@given(manifests)
def test_flipped_back_it_is_the_same_relation(manifest: Manifest) -> None:
    back: dict[str, set[str]] = defaultdict(set)
    for to, packed in unpacked(flip(manifest, Limits())):
        for source in packed:
            back[source].add(to)
    assert back == {source: set(tos) for source, tos in manifest.items()}


@given(manifests, st.integers(1, 4), st.integers(1, 200))
def test_splitting_neither_loses_nor_repeats_nor_reorders_a_source(
    manifest: Manifest, max_sources: int, max_bytes: int
) -> None:
    split = flip(manifest, Limits(max_sources_per_job=max_sources, max_sources_bytes=max_bytes))
    joined: dict[str, list[str]] = defaultdict(list)
    for to, packed in unpacked(split):
        joined[to] += packed
        assert 1 <= len(packed) <= max_sources
    assert list(joined.items()) == unpacked(flip(manifest, Limits()))
    for job in split:
        assert sum(len(source.encode()) for source in job.sources) <= max_bytes or len(list(job.sources)) == 1


@given(manifests, manifests)
def test_two_manifests_have_one_digest_only_if_they_are_one(one: Manifest, other: Manifest) -> None:
    """However they are ordered and split."""
    jobs, others = flip(one, Limits()), flip(other, Limits(max_sources_per_job=1))
    same = {source: set(tos) for source, tos in one.items()} == {source: set(tos) for source, tos in other.items()}
    assert (digest(jobs, CopyOptions()) == digest(others, CopyOptions())) == same
    again = flip(one, Limits(max_sources_per_job=2, max_sources_bytes=60))
    assert digest(again, CopyOptions()) == digest(jobs, CopyOptions())


# --- refusing --------------------------------------------------------------------------------------------------------


@given(manifests, st.integers(0), st.integers(0), st.booleans())
def test_a_duplicate_key_is_always_refused_by_name(manifest: Manifest, which: int, where: int, same: bool) -> None:
    pairs = list(manifest.items())
    source, tos = pairs[which % len(pairs)]
    pairs.insert(where % (len(pairs) + 1), (source, tos if same else []))
    text = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"
    assert refusal(lambda: read_json(text.encode(), "the file", MAX_BYTES)) == [source]


@given(manifests, st.integers(0))
def test_two_of_one_name_into_one_folder_are_always_refused(manifest: Manifest, which: int) -> None:
    source = list(manifest)[which % len(manifest)]
    namesake = "icav2://third/" + source.split("/", 3)[3]
    assert refusal(lambda: flip({**manifest, namesake: manifest[source][:1]}, Limits())) == [namesake]


@given(manifests, st.integers(0))
def test_a_destination_without_its_slash_is_always_refused_by_name(manifest: Manifest, which: int) -> None:
    source = list(manifest)[which % len(manifest)]
    file = manifest[source][0] + "file"
    assert refusal(lambda: flip({**manifest, source: [*manifest[source], file]}, Limits())) == [file]


# --- reading ---------------------------------------------------------------------------------------------------------


@given(almost_manifests, st.integers(0, 9), st.integers(0), st.booleans())
def test_gzipped_in_one_or_more_members_it_reads_as_plain(
    manifest: object, level: int, cut: int, ascii_only: bool
) -> None:
    plain = json.dumps(manifest, ensure_ascii=ascii_only).encode()
    at = cut % (len(plain) + 1)
    whole, members = (
        b"".join(gzip.compress(part, level) for part in parts) for parts in ([plain], [plain[:at], plain[at:]])
    )
    # Compared as text, since NaN is not equal to itself.
    expected = json.dumps(read_json(plain, "the file", MAX_BYTES))
    assert json.dumps(read_json(whole, "the file", MAX_BYTES)) == expected
    assert json.dumps(read_json(members, "the file", MAX_BYTES)) == expected
    assert json.dumps(decode_b64gz(b64encode(whole).decode(), MAX_BYTES)) == expected


@given(almost_uris)
def test_a_uri_without_a_fault_is_taken_apart_and_put_together_again(text: str) -> None:
    try:
        uri = parse_uri(text)
    except UriError:
        assert uri_fault(text)
    else:
        assert not uri_fault(text)
        assert str(uri) == text


@given(manifests | almost_manifests)
def test_the_schema_of_manifests_takes_exactly_what_can_be_flipped(manifest: dict[str, object]) -> None:
    try:
        flip(manifest, Limits(allow_same_project=True))
    except Refused as refused:
        # What a schema cannot say: which sources have one name.
        assume(not all("has the same name as" in problem.problem for problem in refused.problems))
        assert schema_faults("manifest", manifest)
    else:
        assert schema_faults("manifest", manifest) == []


messages = st.fixed_dictionaries(
    {},
    optional={
        "manifest": manifests,
        "manifest_b64gz": st.sampled_from([b64encode(gzip.compress(b"{}")).decode(), None, 1, []]),
        "manifest_uri": st.sampled_from(
            ["s3://bucket/a b#.json", "s3://b.c-1/x", "s3://bucket/", "s3://B/x", "x", None]
        ),
        "copy_id": st.sampled_from(["run-288", "0", "x" * 128, "x" * 129, "", ".a", "a b", 1, None]),
        "action_on_exist": st.sampled_from(["SKIP", "OVERWRITE", "RENAME", "skip", None, ["SKIP"]]),
        "copy_user_tags": st.sampled_from([True, False, None, "true", 1]),
        "copy_technical_tags": st.sampled_from([True, False, None, "true", 0]),
        "copy_instrument_info": st.sampled_from([True, False, None, "true", 1.0]),
        "task_token": st.sampled_from(["x", "x" * 2048, "x" * 2049, "", None, 1]),
        "typo": st.none(),
    },
)


@given(messages)
def test_the_schema_of_messages_takes_exactly_what_is_not_refused(message: dict[str, object]) -> None:
    assert (schema_faults("message", message) == []) == (refusal(lambda: read_submit(message, "message")) is None)
