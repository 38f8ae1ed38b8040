"""What became of each source, kept small: what is packed comes out again, and what is packed is never large."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.domain.outcomes import (
    MAX_PACKED_BYTES,
    REASON_CHARACTERS,
    SourceOutcome,
    copied_bits,
    pack_outcomes,
    uncopied_sources,
    unpack_outcomes,
)

SOURCES = [f"icav2://from/{number}" for number in range(1000)]

sources = st.lists(st.text(min_size=1), unique=True, max_size=40)
reasons = st.none() | st.text(min_size=1, max_size=REASON_CHARACTERS[0])
outcomes = st.sampled_from(["FAILED", "PARTIALLY_COPIED", "MISSING", "MISMATCH", "é"])


@st.composite
def sources_and_a_part_of_them(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    every = draw(sources)
    return every, [source for source in every if draw(st.booleans())]


@given(sources_and_a_part_of_them())
def test_what_is_not_copied_comes_out_of_the_bits_in_order(drawn: tuple[list[str], list[str]]) -> None:
    every, uncopied = drawn
    assert uncopied_sources(every, copied_bits(every, uncopied)) == uncopied


@given(sources_and_a_part_of_them())
def test_the_bits_take_a_byte_for_eight_sources(drawn: tuple[list[str], list[str]]) -> None:
    every, uncopied = drawn
    assert len(copied_bits(every, uncopied)) == -(-len(every) // 8)


def test_the_first_source_is_the_lowest_bit() -> None:
    assert copied_bits(SOURCES[:9], SOURCES[1:8]) == b"\x01\x01"


def test_without_bits_nothing_is_copied() -> None:
    assert uncopied_sources(SOURCES, b"") == SOURCES


def test_what_is_no_source_is_not_missed() -> None:
    assert copied_bits(SOURCES[:2], ["icav2://elsewhere"]) == b"\x03"


@given(st.data())
def test_what_is_packed_comes_out_again_in_the_order_of_the_sources(data: st.DataObject) -> None:
    every, uncopied = data.draw(sources_and_a_part_of_them())
    said = [SourceOutcome(source, data.draw(outcomes), data.draw(reasons)) for source in uncopied]
    shuffled = data.draw(st.permutations(said))
    packed = pack_outcomes(shuffled, every)
    assert len(packed) <= MAX_PACKED_BYTES
    unpacked = unpack_outcomes(packed, every)
    assert [(each.source, each.outcome) for each in unpacked] == [(each.source, each.outcome) for each in said]
    for before, after in zip(said, unpacked, strict=True):
        assert (before.reason or "").startswith(after.reason or "")


def test_what_fits_is_kept_to_the_letter() -> None:
    said = [SourceOutcome(SOURCES[2], "FAILED", "é disk full"), SourceOutcome(SOURCES[7], "MISSING")]
    assert unpack_outcomes(pack_outcomes(said, SOURCES), SOURCES) == said


def test_a_long_reason_is_cut() -> None:
    said = [SourceOutcome(SOURCES[0], "FAILED", "x" * 1000)]
    (kept,) = unpack_outcomes(pack_outcomes(said, SOURCES), SOURCES)
    assert kept.reason == "x" * REASON_CHARACTERS[0]


@pytest.mark.parametrize("count", [1, 500, 1000])
def test_one_reason_for_many_sources_is_kept_once(count: int) -> None:
    said = [SourceOutcome(source, "FAILED", "the destination project's storage is full") for source in SOURCES[:count]]
    packed = pack_outcomes(said, SOURCES)
    assert len(packed) < 200
    assert unpack_outcomes(packed, SOURCES) == said


@pytest.mark.parametrize(("length", "kept"), [(80, 80), (300, 80), (5000, 80)])
def test_reasons_are_cut_shorter_where_they_would_else_not_fit(length: int, kept: int) -> None:
    said = varied(60, length)
    packed = pack_outcomes(said, SOURCES)
    assert len(packed) <= MAX_PACKED_BYTES
    assert [each.reason for each in unpack_outcomes(packed, SOURCES)] == [(each.reason or "")[:kept] for each in said]


def test_reasons_are_left_out_where_nothing_else_fits_and_the_statuses_stay() -> None:
    said = varied(1000, 300)
    unpacked = unpack_outcomes(pack_outcomes(said, SOURCES), SOURCES)
    assert unpacked == [SourceOutcome(each.source, each.outcome) for each in said]


def test_where_not_even_the_statuses_fit_nothing_is_kept() -> None:
    chance = Random(1)
    said = [SourceOutcome(source, chance.randbytes(20).hex()) for source in SOURCES]
    assert pack_outcomes(said, SOURCES) == b""
    assert unpack_outcomes(b"", SOURCES) == []


def varied(count: int, length: int) -> list[SourceOutcome]:
    """Each for a reason of its own."""
    chance = Random(1)
    return [SourceOutcome(source, "FAILED", chance.randbytes(length).hex()[:length]) for source in SOURCES[:count]]
