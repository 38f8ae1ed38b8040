"""The report's page in a real browser: it opens, nothing in it is taken for markup, it can be searched and sorted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from icav2_copy_batch.domain.job import JobStatus
from icav2_copy_batch.domain.report.page import page_without_files
from tests.browser import chrome
from tests.browser.chrome import Browser, Page
from tests.reports import (
    HOSTILE,
    RESULT_URI,
    TABLE_URI,
    at,
    copy_of,
    ended_job,
    hostile_job,
    many_files,
    page_of,
    report,
    run_of_44_jobs,
    settled,
)

PROGRAM = chrome.program()


class Opened(Protocol):
    """Opens the text of a page, in a window that is like that."""

    def __call__(self, text: str, **emulated: Any) -> Page: ...


pytestmark = pytest.mark.skipif(PROGRAM is None and not chrome.is_required(), reason=chrome.NONE_HERE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.fail(chrome.NONE_HERE)
    with chrome.browser(PROGRAM) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Opens the text of a page, and holds at the end that it has asked for nothing and complained of nothing."""
    pages: list[tuple[Page, Path]] = []

    def open_page(text: str, **emulated: Any) -> Page:
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(text, "utf-8")
        page = browser.page()
        page.emulate(**emulated)
        page.open(path)
        pages.append((page, path))
        return page

    yield open_page
    for page, path in pages:
        assert page.complaints == []
        assert page.requested == [path.as_uri()]


def sources(page: Page) -> list[str]:
    return list(page.value("[...document.querySelectorAll('#rows td:nth-child(3) .path')].map((each) => each.title)"))


def search(page: Page, words: str, found: str) -> None:
    """Search for words, and wait for so many to be found."""
    page.type("#search", words)
    page.wait_until(f"document.querySelector('#count').textContent === {json.dumps(found)}")


def test_a_page_says_how_the_copy_ended_and_what_to_do(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()))
    assert page.texts(".verdict strong") == ["FAILED"]
    assert page.texts(".tile b")[2] == "43 of 44"
    assert RESULT_URI in page.texts("#facts dd .path")
    ((failure),) = page.texts(".failure")
    assert "Job 17, FAILED" in failure
    assert "5 attempts" in failure
    assert "icav2-copy redrive run-288 --job 17" in failure
    assert not page.is_visible("#cut")
    assert not page.is_visible("noscript")


def test_the_timeline_has_a_lane_for_each_job_and_says_what_each_span_is(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()))
    assert len(page.texts(".lane")) == 44
    assert set(
        page.value("[...document.querySelectorAll('.lane rect:not(.hit)')].map((each) => each.getAttribute('class'))")
    ) == {
        "wait",
        "pause",
        "busy",
        "later",
        "launch",
        "ok",
        "part",
    }
    assert not page.is_visible("#tip")
    page.hover('.lane[data-job="16"] rect.part')
    (tip,) = page.texts("#tip")
    assert "Job 17: icav2://" in tip
    assert "copied in part for" in tip
    assert "Attempt 1: PARTIALLY_SUCCEEDED, ICA job " in tip
    assert page.is_visible("#tip")
    page.choose("#order", "as in the table")
    assert page.value("[...document.querySelectorAll('.lane')].map((each) => Number(each.dataset.job))") == list(
        range(44)
    )


def test_what_comes_from_outside_is_shown_and_not_carried_out(opened: Opened) -> None:
    page = opened(page_of([hostile_job()]))
    assert page.value("window.hacked ?? null") is None
    assert page.value("document.querySelectorAll('img, b b, main script').length") == 0
    assert sources(page)[:3] == [f"icav2://from/{name}" for name in HOSTILE[:3]]
    assert sources(page)[3] == "icav2://from/invoice\\u202excod.exe", "what turns the order is shown by its code"
    assert sources(page)[4] == "icav2://from/line\\u2028separator\\u2029and\\ufeffmark\\u200b.txt"
    assert sources(page)[5:] == [f"icav2://from/{name}" for name in HOSTILE[5:]]
    assert "icav2://to/<b>bold</b> & \\u202eblod/" in page.texts(".failure h3 .path")
    page.hover(".lane rect.bad")
    assert "window.hacked" in page.texts("#tip")[0]
    search(page, "a path'", f"1 of {len(HOSTILE)} sources")
    assert sources(page) == [f"icav2://from/{HOSTILE[0]}"]


def test_files_can_be_searched(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()))
    everything = sources(page)
    assert len(everything) == 100
    assert page.texts("#count") == ["118 sources"]
    search(page, "Job:17", "2 of 118 sources")
    assert page.texts("#rows td:first-child") == ["17", "17"]
    search(page, "FASTQ.gz lane_1", "22 of 118 sources")
    assert all("fastq.gz" in source and "Lane_1" in source for source in sources(page))
    search(page, "there is no such file", "0 of 118 sources")
    assert sources(page) == []
    search(page, "", "118 sources")
    assert sources(page) == everything
    page.choose("#outcome", "FAILED")
    assert set(page.texts("#rows .outcome")) == {"FAILED"}
    assert "read timed out" in page.texts("#rows .soft")


def test_files_have_their_sizes_and_can_be_sorted_by_them(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()))
    assert page.texts("#tiles .tile")[1].endswith("GBcopied")
    for _ in range(2):
        page.click("#columns th:nth-child(5) button")
    sizes = page.value("[...document.querySelectorAll('#rows td:nth-child(5)')].map((each) => each.title)")
    in_bytes = [int(size.removesuffix(" bytes").replace(",", "")) for size in sizes]
    assert in_bytes == sorted(in_bytes, reverse=True) != sorted(in_bytes)


def test_files_can_be_sorted_and_leafed_through(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()))
    first = sources(page)
    page.click("#columns th:nth-child(3) button")
    ascending = sources(page)
    assert ascending == sorted(ascending) != first
    assert page.value("document.querySelector('#columns th:nth-child(3)').getAttribute('aria-sort')") == "ascending"
    page.click("#file-pages button:nth-of-type(3)")
    rest = sources(page)
    assert len(rest) == 18
    assert ascending[-1] <= rest[0]
    assert page.texts("#file-pages span") == ["101 to 118 of 118"]
    page.click("#columns th:nth-child(3) button")
    assert sources(page)[0] == rest[-1]


def test_a_page_of_a_hundred_thousand_files_draws_a_hundred_of_them(opened: Opened) -> None:
    jobs = list(many_files(100_000, a_job=100))
    page = opened(report(copy_of(jobs), jobs)[1])
    assert page.texts("#count") == ["100,000 sources"]
    assert len(sources(page)) == 100
    assert page.is_visible("#overview svg")
    assert len(page.texts(".lane")) == 60
    assert len(page.texts(".failure")) == 10
    search(page, "LPRJ007770042_", "1 of 100,000 sources")
    assert page.texts("#rows td:first-child") == ["777"]
    search(page, "", "100,000 sources")
    page.click("#columns th:nth-child(1) button")
    page.click("#file-pages button:nth-of-type(4)")
    assert page.texts("#rows td:first-child")[-1] == "1"
    assert not page.is_visible("#cut")


def test_a_page_that_lists_a_part_says_where_all_is(opened: Opened) -> None:
    jobs = list(many_files(120_000))
    page = opened(report(copy_of(jobs), jobs)[1])
    (words,) = page.texts("#cut")
    assert words.startswith("This page lists 100,000 of 120,000 files, and 120 of 120 jobs.")
    assert TABLE_URI in words


def test_a_page_says_by_what_a_copy_is_known_and_that_it_was_cancelled(opened: Opened) -> None:
    jobs = [*run_of_44_jobs()[:2], ended_job(3, "icav2://to/3/", ["icav2://from/a"], status=JobStatus.CANCELLED)]
    copy = copy_of(jobs, tags={"lab": "<b>bold</b>"}, redrive_of="run-287", cancelled_at=at(5))
    page = opened(report(copy, jobs)[1])
    assert page.texts(".verdict") == ["CANCELLED 1 cancelled of 3 jobs."]
    facts = dict(zip(page.texts("#facts dt"), page.texts("#facts dd"), strict=True))
    assert (facts["Tags"], facts["Redrive of"]) == ("lab = <b>bold</b>", "run-287")
    assert facts["Cancelled"] == "2026-11-25 03:12:03.500Z"
    assert page.texts(".failure[data-status=CANCELLED] h3") == ["Job 3, CANCELLED: icav2://to/3/"]


def test_a_page_without_files_says_where_the_result_is(opened: Opened) -> None:
    page = opened(page_without_files(settled(2, 1, at(9)), RESULT_URI))
    assert RESULT_URI in page.texts("#cut")[0]
    assert page.is_visible("#cut")
    assert not page.is_visible("#files")
    assert not page.is_visible("#timeline")


def test_a_page_is_dark_where_that_is_preferred_and_light_on_paper(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()), scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.value(colour) == "rgb(18, 24, 31)"
    assert page.is_visible("#search")
    page.emulate(media="print", scheme="dark")
    assert page.value(colour) == "rgb(255, 255, 255)"
    assert not page.is_visible("#search")
    page.emulate(scheme="light")
    assert page.value(colour) == "rgb(255, 255, 255)"


def test_a_page_fits_a_narrow_window(opened: Opened) -> None:
    page = opened(page_of(run_of_44_jobs()), width=400)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
