"""The bytes of a job's item: what is packed comes out again, and is never large."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.adapters.table.packing import (
    MAX_FINGERPRINTS_BYTES,
    MAX_OUTCOMES_BYTES,
    REASON_CHARACTERS,
    pack_copied,
    pack_fingerprints,
    pack_outcomes,
    pack_sources,
    unpack_copied,
    unpack_fingerprints,
    unpack_outcomes,
    unpack_sources,
)
from icav2_copy_batch.domain.manifest import Limits
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome

SOURCES = [f"icav2://from/{number}" for number in range(1000)]

sources = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1), unique=True, max_size=40)
reasons = st.none() | st.text(min_size=1, max_size=REASON_CHARACTERS[0])
outcomes = st.sampled_from(["FAILED", "PARTIALLY_COPIED", "MISSING", "MISMATCH", "é"])


@st.composite
def sources_and_a_part_of_them(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    every = draw(sources)
    return every, [source for source in every if draw(st.booleans())]


@given(sources)
def test_sources_come_out_again_in_order(every: list[str]) -> None:
    assert unpack_sources(pack_sources(every)) == tuple(every)


def test_packed_sources_are_much_smaller_than_the_sources_of_a_run() -> None:
    run = [f"icav2://project/run/Data/Intensities/BaseCalls/L001/C{cycle}.1/L001_1.cbcl" for cycle in range(300)]
    assert len(pack_sources(run)) < len("".join(run)) / 10


def test_the_sources_of_the_largest_job_fit_into_an_item_however_badly_they_pack() -> None:
    limits, chance = Limits(), Random(1)
    worst = ["".join(map(chr, chance.choices(range(33, 127), k=limits.max_sources_bytes // 250))) for _ in range(250)]
    assert 200 * 1024 < len(pack_sources(worst)) < 400 * 1024 - 2048, "beside the item's keys"


@given(sources_and_a_part_of_them())
def test_what_is_copied_comes_out_of_the_bits(drawn: tuple[list[str], list[str]]) -> None:
    every, copied = drawn
    packed = pack_copied(every, copied)
    assert unpack_copied(every, packed) == set(copied)
    assert len(packed) == (-(-len(every) // 8) if copied else 0), "a bit a source"


def test_the_first_source_is_the_lowest_bit() -> None:
    assert pack_copied(SOURCES[:9], [SOURCES[0], SOURCES[8]]) == b"\x01\x01"


def test_what_is_no_source_of_the_job_sets_no_bit() -> None:
    assert pack_copied(SOURCES[:2], ["icav2://elsewhere"]) == b""


@given(st.data())
def test_what_is_packed_comes_out_again_in_the_order_of_the_sources(data: st.DataObject) -> None:
    every, uncopied = data.draw(sources_and_a_part_of_them())
    said = [SourceOutcome(source, data.draw(outcomes), data.draw(reasons)) for source in uncopied]
    shuffled = data.draw(st.permutations(said))
    packed = pack_outcomes(every, shuffled)
    assert len(packed) <= MAX_OUTCOMES_BYTES
    unpacked = unpack_outcomes(every, packed)
    assert [(each.source, each.outcome) for each in unpacked] == [(each.source, each.outcome) for each in said]
    for before, after in zip(said, unpacked, strict=True):
        assert (before.reason or "").startswith(after.reason or "")


def test_what_fits_is_kept_to_the_letter() -> None:
    said = [SourceOutcome(SOURCES[2], "FAILED", "é disk full"), SourceOutcome(SOURCES[7], "MISSING")]
    assert unpack_outcomes(SOURCES, pack_outcomes(SOURCES, said)) == tuple(said)


def test_a_long_reason_is_cut() -> None:
    said = [SourceOutcome(SOURCES[0], "FAILED", "x" * 1000)]
    (kept,) = unpack_outcomes(SOURCES, pack_outcomes(SOURCES, said))
    assert kept.reason == "x" * REASON_CHARACTERS[0]


@pytest.mark.parametrize("count", [1, 500, 1000])
def test_one_reason_for_many_sources_is_kept_once(count: int) -> None:
    said = [SourceOutcome(source, "FAILED", "the destination project's storage is full") for source in SOURCES[:count]]
    packed = pack_outcomes(SOURCES, said)
    assert len(packed) < 200
    assert unpack_outcomes(SOURCES, packed) == tuple(said)


@pytest.mark.parametrize(("length", "kept"), [(80, 80), (300, 80), (5000, 80)])
def test_reasons_are_cut_shorter_where_they_would_else_not_fit(length: int, kept: int) -> None:
    said = varied(60, length)
    packed = pack_outcomes(SOURCES, said)
    assert len(packed) <= MAX_OUTCOMES_BYTES
    assert [each.reason for each in unpack_outcomes(SOURCES, packed)] == [(each.reason or "")[:kept] for each in said]


def test_reasons_are_left_out_where_nothing_else_fits_and_the_statuses_stay() -> None:
    said = varied(1000, 300)
    unpacked = unpack_outcomes(SOURCES, pack_outcomes(SOURCES, said))
    assert unpacked == tuple(SourceOutcome(each.source, each.outcome) for each in said)


def test_where_not_even_the_statuses_fit_nothing_is_kept() -> None:
    chance = Random(1)
    said = [SourceOutcome(source, chance.randbytes(20).hex()) for source in SOURCES]
    assert pack_outcomes(SOURCES, said) == b""
    assert unpack_outcomes(SOURCES, b"") == ()


def varied(count: int, length: int) -> list[SourceOutcome]:
    """Each for a reason of its own."""
    chance = Random(1)
    return [SourceOutcome(source, "FAILED", chance.randbytes(length).hex()[:length]) for source in SOURCES[:count]]


etags = st.none() | st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=40)
sizes = st.none() | st.integers(min_value=0, max_value=2**50)


@given(sources_and_a_part_of_them(), st.data())
def test_fingerprints_come_out_again_of_the_sources_that_have_one(
    drawn: tuple[list[str], list[str]], data: st.DataObject
) -> None:
    every, found = drawn
    fingerprints = {source: Fingerprint(data.draw(sizes), data.draw(etags)) for source in found}
    assert unpack_fingerprints(every, pack_fingerprints(every, fingerprints)) == fingerprints


@pytest.mark.parametrize(
    ("count", "kept"),
    [(1_900, lambda each: each), (8_000, lambda each: Fingerprint(each.size)), (40_000, lambda each: None)],
)
def test_of_too_many_fingerprints_the_etags_are_left_out_and_then_all(
    count: int, kept: Callable[[Fingerprint], Fingerprint | None]
) -> None:
    chance = Random(5)
    sources = [f"icav2://from/{number}" for number in range(count)]
    fingerprints = {
        source: Fingerprint(chance.getrandbits(36), f"{chance.getrandbits(128):032x}-7") for source in sources
    }
    packed = pack_fingerprints(sources, fingerprints)
    assert len(packed) <= MAX_FINGERPRINTS_BYTES
    expected = {source: left for source, each in fingerprints.items() if (left := kept(each))}
    assert unpack_fingerprints(sources, packed) == expected
