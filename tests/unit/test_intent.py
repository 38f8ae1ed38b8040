"""Intent: a copy batch that ICA shows is the one that was asked for, another one, or cannot be told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.domain.intent import MOST_FILTER_BYTES, Fit, Intent, fit, folder_fit

IDS = st.sets(st.integers(0, 10**6).map(lambda number: f"fil.{number:032x}"), min_size=1, max_size=300)
A, B, C = (f"fil.{letter * 32}" for letter in "abc")
TREE = "fol." + "d" * 32


def intent_of(*data_ids: str, folder_id: str | None = "fol.to") -> Intent:
    return Intent.of("2026-01-01T00:00:00.000Z", folder_id, data_ids)


@given(IDS)
def test_all_that_was_asked_for_may_be_held(ids: set[str]) -> None:
    intent = intent_of(*ids)
    assert all(map(intent.may_hold, ids))
    assert intent.count == len(ids)
    assert len(intent.id_filter) <= MOST_FILTER_BYTES


@given(IDS)
def test_the_same_data_is_known_in_any_order(ids: set[str]) -> None:
    assert fit(intent_of(*ids), True, sorted(ids, reverse=True)) is Fit.EXACT


def test_nearly_nothing_else_may_be_held() -> None:
    intent = intent_of(*(f"fil.{number:032x}" for number in range(100)))
    others = sum(intent.may_hold(f"fil.{number:032x}") for number in range(1000, 11_000))
    assert others < 10_000 / 200


@pytest.mark.parametrize(
    ("in_folder", "listed", "expected"),
    [
        (True, [A, B], Fit.EXACT),
        (None, [A, B], Fit.SAME_DATA),
        (False, [A, B], Fit.OTHER),
        (True, [], Fit.POSSIBLE),
        (True, [A], Fit.POSSIBLE),
        (None, [], Fit.POSSIBLE),
        (False, [], Fit.OTHER),
        (True, [C], Fit.OTHER),
        (True, [A, C], Fit.OTHER),
        (None, [C], Fit.OTHER),
        (True, [A, B, C], Fit.OTHER),
    ],
)
def test_a_copy_batch_is_news_its_folder_and_by_its_data(
    in_folder: bool | None, listed: list[str], expected: Fit
) -> None:
    assert fit(intent_of(A, B), in_folder, listed) is expected


def test_the_files_of_a_folder_may_be_listed_in_its_place() -> None:
    intent = intent_of(A, TREE)
    assert fit(intent, True, [A, TREE]) is Fit.EXACT
    assert fit(intent, True, [A, B, C]) is Fit.POSSIBLE


@pytest.mark.parametrize(
    ("asked_for", "shown", "expected"),
    [("fol.to", "fol.to", True), ("fol.to", "fol.other", False), ("fol.to", None, None), (None, "fol.root", None),
     (None, None, None)],
)  # fmt: skip
def test_a_folder_that_is_not_shown_or_is_the_root_cannot_be_told(
    asked_for: str | None, shown: str | None, expected: bool | None
) -> None:
    assert folder_fit(intent_of(A, folder_id=asked_for), shown) is expected
