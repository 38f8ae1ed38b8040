"""Jobs of the simulated ICA: found by their ids, or all since a moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from icav2_copy_batch.domain.ica import IcaUnavailable
from icav2_copy_batch.domain.job import timestamp
from tests.doubles import in_turn
from tests.doubles.simulated_ica import SimulatedIca
from tests.integration.ica_cases import HALF_A_SECOND, Prepared, rewrite, said, stock_jobs, timeless

# --- jobs -------------------------------------------------------------------------------------------------------------


def test_one_job_that_cannot_be_read_keeps_nobody_from_the_others(ica: SimulatedIca) -> None:
    old, *others = stock_jobs(ica, 1010)
    ica.fault("status", "GET", f"/jobs/{old}", status=500)
    assert ica.client().jobs([old, *others[-3:]]).keys() == set(others[-3:])


def test_one_job_that_cannot_be_read_keeps_nobody_from_those_that_are_asked_for_after_it(ica: SimulatedIca) -> None:
    ica.set(list_jobs="fails")
    first, *others = sorted(stock_jobs(ica, 5))
    ica.fault("status", "GET", f"/jobs/{first}", status=500)
    assert ica.client(spread=in_turn).jobs([first, *others]).keys() == set(others)


def calls_for_jobs(ica: SimulatedIca) -> tuple[int, int]:
    """How often the list of jobs and a single one was asked for."""
    return ica.calls("GET", "/api/jobs"), ica.calls("GET", "/api/jobs/{job_id}")


def test_no_jobs_take_no_call(ica: SimulatedIca) -> None:
    assert ica.client().jobs([]) == {}
    assert ica.sim.calls.total() == 0


def test_one_job_is_asked_for_by_its_id(ica: SimulatedIca) -> None:
    job_id, *_ = stock_jobs(ica, 20)
    assert timeless(ica.client().jobs([job_id])) == {job_id: said(ica, job_id, "INITIALIZED")}
    assert calls_for_jobs(ica) == (0, 1)


def test_many_jobs_are_found_in_a_page_of_the_list(ica: SimulatedIca) -> None:
    ids = stock_jobs(ica, 300)[50:250]
    assert timeless(ica.client().jobs(ids)) == {job_id: said(ica, job_id, "INITIALIZED") for job_id in ids}
    assert calls_for_jobs(ica) == (1, 0)


def test_the_list_is_paged_through_until_all_are_found(ica: SimulatedIca) -> None:
    """Newest first: of 2,010 jobs the oldest is on the third page."""
    ids = stock_jobs(ica, 2010)
    wanted = [*ids[:1], *ids[-100:]]
    assert ica.client().jobs(wanted).keys() == set(wanted)
    assert calls_for_jobs(ica) == (3, 0)


def test_old_jobs_are_asked_for_one_by_one_where_paging_would_take_more_calls(ica: SimulatedIca) -> None:
    ids = stock_jobs(ica, 1010)
    wanted = ids[:5]
    assert ica.client().jobs(wanted).keys() == set(wanted)
    assert calls_for_jobs(ica) == (1, 5)


def test_the_list_is_paged_through_no_further_than_needed(ica: SimulatedIca) -> None:
    wanted = stock_jobs(ica, 2010)[-100:]
    assert ica.client().jobs(wanted).keys() == set(wanted)
    assert calls_for_jobs(ica) == (1, 0)


@pytest.mark.parametrize(("count", "calls"), [(1, (1, 1)), (50, (1, 1))])
def test_a_job_that_ica_does_not_have_is_left_out(ica: SimulatedIca, count: int, calls: tuple[int, int]) -> None:
    ids = stock_jobs(ica, count)
    assert ica.client().jobs([*ids, str(uuid4())]).keys() == set(ids)
    assert calls_for_jobs(ica) == calls


@pytest.mark.parametrize("count", [1, 50])
def test_a_job_that_ica_has_forgotten_is_left_out(ica: SimulatedIca, count: int) -> None:
    ica.set(job_readable_seconds=60)
    old = stock_jobs(ica, 1)
    ica.clock.forward(100)
    recent = stock_jobs(ica, count)
    assert ica.client().jobs([*old, *recent]).keys() == set(recent)


@pytest.mark.parametrize("count", [1, 50])
def test_a_status_that_is_new_to_us_comes_through_as_it_is(ica: SimulatedIca, count: int) -> None:
    ids = stock_jobs(ica, count)
    ica.fault("unknown_status")
    assert {job.status for job in ica.client().jobs(ids).values()} == {"FROBNICATED"}


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_has_ended_says_how_and_why(prepared: Prepared, end: str) -> None:
    prepared.ica.script("/to/", end)
    _, job_id = prepared.start()
    prepared.ica.clock.forward(10)
    job = prepared.ica.client().jobs([job_id])[job_id]
    assert job.status == end
    assert (job.reason is None) == (end == "SUCCEEDED")
    assert job.reason == prepared.ica.world.jobs[job_id].reason


def test_the_list_is_not_paged_through_beyond_the_rows_that_ica_gives(
    ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ICA refuses (400) what lies beyond; here from the 2,001st row on."""
    monkeypatch.setattr("local.simulator.app.MOST_ROWS_BY_OFFSET", 2000)
    ids = stock_jobs(ica, 2010)
    wanted = [*ids[:1], *ids[-100:]]
    assert ica.client().jobs(wanted).keys() == set(wanted)


def test_jobs_are_asked_for_by_their_ids_where_their_list_fails_a_bounded_number_at_a_time(ica: SimulatedIca) -> None:
    ica.set(list_jobs="fails")
    ids = stock_jobs(ica, 150)
    client, seen = ica.client(), set[str]()
    for _ in range(3):
        ica.sim.calls.clear()
        found = client.jobs(ids)
        assert calls_for_jobs(ica) == (2, 64)
        assert len(found) == 64
        seen |= found.keys()
    assert seen == set(ids)


def test_throttled_calls_for_jobs_are_not_followed_by_more(ica: SimulatedIca) -> None:
    ids = stock_jobs(ica, 150)
    ica.fault("status", "GET", "^/api/jobs$", status=429)
    with pytest.raises(IcaUnavailable) as raised:
        ica.client().jobs(ids)
    assert raised.value.is_throttling
    assert calls_for_jobs(ica) == (2, 0)


@pytest.mark.parametrize("count", [1, 50])
def test_jobs_that_cannot_be_asked_for_are_not_taken_for_missing(ica: SimulatedIca, count: int) -> None:
    ids = stock_jobs(ica, count)
    ica.fault("status", "GET", "/jobs", status=503)
    with pytest.raises(IcaUnavailable, match="503"):
        ica.client().jobs(ids)


# --- what was started -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 600, -600])
def test_jobs_are_listed_from_a_moment_on_by_our_clock(ica: SimulatedIca, ahead: float) -> None:
    """Whatever ICA's clock shows: it is measured from its answers."""
    start = ica.clock()
    ids = stock_jobs(ica, 12, seconds_apart=10)

    def skewed() -> datetime:
        return ica.clock() - timedelta(seconds=ahead)

    for since, expected in ((0, 12), (65, 6), (119, 1), (130, 0)):
        moment = timestamp(start + timedelta(seconds=since - ahead))
        found = ica.client(clock=skewed).recent_jobs(moment)
        assert [job.job_id for job in found] == ids[::-1][:expected]


def test_when_a_job_was_created_is_known_to_within_half_a_second(ica: SimulatedIca) -> None:
    ica.clock.forward(0.9)
    ids = stock_jobs(ica, 1)
    created_at = ica.client().jobs(ids)[ids[0]].created_at or ""
    assert abs(datetime.fromisoformat(created_at) - ica.world.jobs[ids[0]].created) <= HALF_A_SECOND


def test_the_list_of_jobs_is_read_for_as_long_as_it_may_hold_more(ica: SimulatedIca) -> None:
    start = ica.clock()
    ids = stock_jobs(ica, 2500, seconds_apart=0.1)
    found = ica.client().recent_jobs(timestamp(start + timedelta(seconds=145)))
    assert set(ids[-1039:]) <= {job.job_id for job in found} <= set(ids[-1061:]), "to within half a second"
    assert calls_for_jobs(ica) == (2, 0)
    assert {job.job_id for job in ica.client().recent_jobs(timestamp(start - HALF_A_SECOND))} == set(ids)
    assert calls_for_jobs(ica) == (5, 0)


@pytest.mark.parametrize("total_is_told", [True, False])
def test_pages_of_jobs_may_be_shorter_than_asked_for(ica: SimulatedIca, total_is_told: bool) -> None:
    ids = stock_jobs(ica, 25)
    rewrite(ica, lambda answer: answer if total_is_told else {"items": answer["items"]}, page_cap=10)
    assert {job.job_id for job in ica.client().recent_jobs(timestamp(ica.clock() - timedelta(hours=1)))} == set(ids)


def test_a_list_of_jobs_that_is_not_sorted_is_read_to_its_end(ica: SimulatedIca) -> None:
    start = ica.clock()
    ids = stock_jobs(ica, 1200, seconds_apart=1)
    rewrite(ica, lambda answer: answer | {"items": sorted(answer["items"], key=lambda job: str(job["id"]))})
    found = ica.client().recent_jobs(timestamp(start + timedelta(seconds=1195)))
    assert {job.job_id for job in found} >= set(ids[-5:])
    assert calls_for_jobs(ica) == (2, 0)


def test_where_ica_does_not_tell_its_time_no_job_is_taken_for_old(ica: SimulatedIca) -> None:
    ids = stock_jobs(ica, 3)
    rewrite(ica, lambda answer: answer, without_date=True)
    (first, *_) = found = ica.client().recent_jobs(timestamp(ica.clock() + timedelta(hours=1)))
    assert {job.job_id for job in found} == set(ids)
    assert first.created_at is None
