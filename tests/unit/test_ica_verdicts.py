"""What ICA's job statuses mean to us."""

from __future__ import annotations

import pytest

from icav2_copy_batch.domain.ica import VERDICTS, Verdict, verdict_of
from local.simulator.model import JobStatus


@pytest.mark.parametrize(
    ("ica_status", "verdict"),
    [
        ("INITIALIZED", Verdict.STILL_RUNNING),
        ("WAITING_FOR_RESOURCES", Verdict.STILL_RUNNING),
        ("RUNNING", Verdict.STILL_RUNNING),
        ("SUCCEEDED", Verdict.SUCCEEDED),
        ("PARTIALLY_SUCCEEDED", Verdict.FAILED),
        ("FAILED", Verdict.FAILED),
        ("STOPPED", Verdict.FAILED),
    ],
)
def test_each_status_of_ica_has_its_verdict(ica_status: str, verdict: Verdict) -> None:
    assert verdict_of(ica_status) is verdict


def test_the_simulated_ica_knows_the_same_statuses_and_which_of_them_are_final() -> None:
    assert set(VERDICTS) == {status.value for status in JobStatus}
    assert {status for status in VERDICTS if VERDICTS[status] is not Verdict.STILL_RUNNING} == {
        status.value for status in JobStatus if status.final
    }


@pytest.mark.parametrize("ica_status", ["", "ABORTED", "succeeded", "SUCCEEDED ", "FAILED_FINAL"])
def test_a_status_that_is_new_to_us_counts_as_still_running(ica_status: str) -> None:
    assert verdict_of(ica_status) is Verdict.STILL_RUNNING
