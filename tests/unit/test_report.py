"""The report of a settled copy: its table of files, and its page."""

from __future__ import annotations

import csv
import json
import tracemalloc
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.job import Copy, Job, JobStatus
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome
from icav2_copy_batch.domain.report import page as pages
from icav2_copy_batch.domain.report import table
from icav2_copy_batch.domain.report.advice import advice
from icav2_copy_batch.domain.report.files import FileEnd, Totals, ends_of
from icav2_copy_batch.domain.report.page import Page, page_without_files
from icav2_copy_batch.domain.report.places import beside, key_of
from icav2_copy_batch.domain.source_faults import source_fault
from icav2_copy_batch.domain.uri import parse_uri
from tests.reports import (
    HOSTILE,
    RESULT_URI,
    TABLE_URI,
    at,
    attempt,
    copy_of,
    ended_job,
    hostile_job,
    many_files,
    page_of,
    report,
    run_of_44_jobs,
    settled,
    with_fingerprints,
)

A, B, C = "icav2://from/a", "icav2://from/b", "icav2://from/c"
TO = "icav2://to/1/"
NOT_THERE = source_fault(parse_uri(A), None)
ARCHIVED = source_fault(parse_uri(A), IcaData("fil.a", "/a", "ARCHIVED"))


def told(job: Job) -> list[tuple[str, str, int | None, str | None, str | None]]:
    return [(each.source, each.outcome, each.tries, each.ica_job_id, each.reason) for each in ends_of(job)]


# --- what became of each file ----------------------------------------------------------------------------------------


def test_the_files_of_a_job_that_passed_at_once_are_copied_by_its_ica_job() -> None:
    job = ended_job(1, TO, [A, B], attempt(1, "SUCCEEDED", 2, 5))
    assert told(job) == [(A, "COPIED", 1, "ica-1", None), (B, "COPIED", 1, "ica-1", None)]


def test_a_file_is_copied_by_the_last_attempt_that_it_was_part_of() -> None:
    first = attempt(1, "FAILED", 2, 5, reason="ended FAILED", outcomes=(SourceOutcome(B, "FAILED", "read timed out"),))
    job = ended_job(1, TO, [A, B], first, attempt(2, "ALL_THERE", 8, 9, reason="ended FAILED"))
    assert told(job) == [(A, "COPIED", 1, "ica-1", None), (B, "COPIED", 2, "ica-2", None)]


def test_where_ica_has_not_said_what_an_attempt_copied_all_were_tried_again() -> None:
    job = ended_job(1, TO, [A, B], attempt(1, "STOPPED", 2, 5, reason="stopped"), attempt(2, "SUCCEEDED", 8, 9))
    assert told(job) == [(A, "COPIED", 2, "ica-2", None), (B, "COPIED", 2, "ica-2", None)]


def test_of_a_failed_job_those_files_are_copied_that_no_attempt_has_left() -> None:
    first = attempt(1, "FAILED", 2, 5, outcomes=(SourceOutcome(B, "FAILED"), SourceOutcome(C, "FAILED")))
    last = attempt(2, "FAILED", 8, 9, reason="disk full", outcomes=(SourceOutcome(C, "PARTIALLY_COPIED"),))
    job = ended_job(1, TO, [A, B, C], first, last, copied=frozenset({A}))
    assert told(job) == [
        (A, "COPIED", 1, "ica-1", None),
        (B, "COPIED", 2, "ica-2", None),
        (C, "PARTIALLY_COPIED", 2, "ica-2", "disk full"),
    ]


def test_where_nothing_is_known_of_the_last_attempt_its_files_end_as_it_did() -> None:
    first = attempt(1, "FAILED", 2, 5, outcomes=(SourceOutcome(B, "FAILED", "read timed out"),))
    last = attempt(2, "REFUSED", 8, 9, ica_job_id=None, reason="the source is ARCHIVED")
    job = ended_job(1, TO, [A, B], first, last, copied=frozenset({A}))
    assert told(job) == [(A, "COPIED", 1, "ica-1", None), (B, "REFUSED", 2, None, "the source is ARCHIVED")]


def test_the_files_of_a_job_that_was_cancelled_are_copied_or_cancelled() -> None:
    job = ended_job(1, TO, [A], status=JobStatus.CANCELLED, reason="its copy was cancelled")
    assert told(job) == [(A, "CANCELLED", 0, None, "its copy was cancelled")]
    part = attempt(1, "SUCCEEDED", 2, 5)
    job = ended_job(1, TO, [A, B], part, status=JobStatus.CANCELLED, copied=frozenset({A}), batch_limit=1)
    assert [outcome for _, outcome, *_ in told(job)] == ["COPIED", "CANCELLED"]


def test_which_part_of_a_job_an_attempt_copied_is_not_known() -> None:
    job = ended_job(1, TO, [A, B], attempt(1, "SUCCEEDED", 2, 5), attempt(2, "SUCCEEDED", 6, 9), batch_limit=1)
    assert told(job) == [(A, "COPIED", None, None, None), (B, "COPIED", None, None, None)]


def test_what_the_files_of_a_copy_add_up_to() -> None:
    first = attempt(1, "FAILED", 4, 5, outcomes=(SourceOutcome(B, "FAILED", "read timed out"),))
    jobs = [
        ended_job(1, TO, [A, "icav2://from/folder/"], attempt(1, "SUCCEEDED", 3, 5)),
        ended_job(2, TO, [A, B], first, attempt(2, "REFUSED", 8, 9, ica_job_id=None, running_at=None, reason="gone")),
    ]
    totals = Totals()
    for job in jobs:
        totals.add(job, ends_of(job))
    assert (totals.files, totals.folders, totals.sources, totals.copied) == (3, 1, 4, 2)
    assert totals.outcomes == {"COPIED": 2, "REFUSED": 2}
    assert (totals.attempts, totals.ica_jobs, totals.first_launched_at) == (3, 2, at(3))


def test_the_report_lies_beside_the_result() -> None:
    assert key_of("run.json") == "results/run.json.json"
    assert beside("s3://bucket/results/run.json.json", "html") == "s3://bucket/results/run.json.html"


# --- the table -------------------------------------------------------------------------------------------------------


def read_table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


def test_the_table_has_a_row_for_each_source() -> None:
    job = ended_job(7, TO, [A, "icav2://from/folder/"], attempt(1, "SUCCEEDED", 2, 5))
    rows, _ = report(copy_of([job]), [job])
    assert rows.startswith("source,destination,size,outcome,attempts,ica_job,reason,job,etag\r\n")
    common = {"destination": TO, "size": "", "outcome": "COPIED", "attempts": "1", "ica_job": "ica-1", "reason": ""}
    assert read_table(rows) == [
        {"source": A, **common, "job": "000007", "etag": ""},
        {"source": "icav2://from/folder/", **common, "job": "000007", "etag": ""},
    ]


def known(*sources: str, size: int | None = 7, etag: str | None = None) -> dict[str, Fingerprint]:
    return dict.fromkeys(sources, Fingerprint(size, etag))


def test_what_was_found_right_has_its_size_and_etag_and_adds_up() -> None:
    passed = ended_job(1, TO, [A, B, "icav2://from/folder/"], attempt(1, "SUCCEEDED", 2, 5))
    passed = with_fingerprints(passed, {**known(A, etag="e-2"), **known("icav2://from/folder/", size=0)})
    wrong = attempt(1, "MISMATCH", 2, 5, outcomes=(SourceOutcome(B, "MISMATCH", "it has 6 bytes"),))
    failed = with_fingerprints(ended_job(2, TO, [A, B], wrong), known(A, B))
    rows, page = report(copy_of([passed, failed]), [passed, failed])
    assert [(row["size"], row["etag"]) for row in read_table(rows)] == [
        ("7", "e-2"),
        ("", ""),
        ("0", ""),
        ("7", ""),
        ("", ""),  # it is not copied, whatever was found
    ]
    data = Parsed(page).data
    assert [job["sizes"] for job in data["jobs"]] == [[7, None, 0], [7, None]]
    assert data["totals"]["bytes"] == 14


def test_the_table_calls_projects_what_the_client_calls_them() -> None:
    job = ended_job(1, TO, [A], attempt(1, "SUCCEEDED", 2, 5))
    copy = replace(copy_of([job]), project_names={"from": "My Project"})
    ((row),) = read_table(report(copy, [job])[0])
    assert (row["source"], row["destination"]) == ("icav2://My Project/a", TO)


def test_names_and_words_from_outside_are_cells_as_they_are() -> None:
    job = hostile_job()
    rows = read_table(report(copy_of([job]), [job])[0])
    assert [row["source"] for row in rows] == [f"icav2://from/{name}" for name in HOSTILE]
    assert rows[0]["outcome"] == "<b>FAILED</b>"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", "＝"])
def test_no_cell_is_a_formula(start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    last = attempt(1, formula, 2, 5, ica_job_id=formula, reason=formula)
    job = ended_job(1, TO, [A], last)
    ((row),) = read_table(report(copy_of([job]), [job])[0])
    assert (row["outcome"], row["ica_job"], row["reason"]) == (f"'{formula}", f"'{formula}", f"'{formula}")


def test_line_breaks_and_commas_stay_in_their_cell() -> None:
    job = ended_job(1, TO, ['icav2://from/a,"b"\n.txt'], attempt(1, "FAILED", 2, 5, reason="one,\r\ntwo"))
    ((row),) = read_table(report(copy_of([job]), [job])[0])
    assert (row["source"], row["reason"]) == ('icav2://from/a,"b"\n.txt', "one,\r\ntwo")


# --- the page --------------------------------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """A page as a browser's parser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[int, str] = {}
        self.is_inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.is_inside = True

    def handle_endtag(self, tag: str) -> None:
        self.is_inside = False

    def handle_data(self, data: str) -> None:
        if self.is_inside:
            self.inside[len(self.tags) - 1] = self.inside.get(len(self.tags) - 1, "") + data

    def texts(self, tag: str) -> list[str]:
        """What each such element holds before the first element in it."""
        return [self.inside.get(index, "") for index, (name, _) in enumerate(self.tags) if name == tag]

    @property
    def data(self) -> Any:
        return json.loads(self.texts("script")[0])

    @property
    def policy(self) -> str:
        (policy,) = [str(each["content"]) for tag, each in self.tags if tag == "meta" and "http-equiv" in each]
        return policy


def parsed(jobs: list[Job]) -> Parsed:
    return Parsed(page_of(jobs))


def listed(data: Any) -> list[str]:
    """The sources that a page lists, as its script puts them together."""
    return [job["from"] + (file if isinstance(file, str) else file[0]) for job in data["jobs"] for file in job["files"]]


def test_a_page_says_first_how_the_copy_ended() -> None:
    jobs = [ended_job(1, TO, [A], attempt(1, "SUCCEEDED", 2, 5)), ended_job(2, TO, [B], attempt(1, "FAILED", 2, 5))]
    page = parsed(jobs)
    assert page.texts("title") == ["Copy run-288: FAILED"]
    assert page.texts("h1") == ["run-288"]
    assert "1 failed of 2 jobs." in page.texts("span")


@pytest.mark.parametrize(
    ("passed", "failed", "cancelled", "words"),
    [
        (1, 0, 0, "Its one job passed."),
        (1200, 0, 0, "All of its 1,200 jobs passed."),
        (0, 1, 0, "1 failed of 1 job."),
        (1, 1, 2, "1 failed and 2 cancelled of 4 jobs."),
        (1, 0, 2, "2 cancelled of 3 jobs."),
    ],
)
def test_a_page_counts_the_jobs_that_passed(passed: int, failed: int, cancelled: int, words: str) -> None:
    copy = settled(passed, failed, at(9), cancelled)
    assert words in Parsed(page_without_files(copy, RESULT_URI)).texts("span")


def test_a_page_holds_every_job_and_source() -> None:
    jobs = run_of_44_jobs()
    data = parsed(jobs).data
    assert [job["number"] for job in data["jobs"]] == list(range(1, 45))
    assert listed(data) == [source for job in jobs for source in job.sources]
    failed = data["jobs"][16]
    assert (failed["status"], failed["reason"]) == ("FAILED", jobs[16].reason)
    assert "icav2-copy redrive run-288 --job 17" in failed["advice"]
    assert data["totals"]["files"] == data["totals"]["listed_sources"] == 118
    assert data["copy"]["result"] == RESULT_URI
    assert data["copy"]["table"] == TABLE_URI


def test_a_file_says_only_what_its_job_does_not() -> None:
    first = attempt(1, "FAILED", 4, 5, outcomes=(SourceOutcome(B, "FAILED", "x" * 1000),))
    job = ended_job(1, TO, [A, B], first, replace(first, number=2, outcomes=(SourceOutcome(B, "FAILED", "x" * 1000),)))
    passed = ended_job(2, TO, [A, B], first, attempt(2, "SUCCEEDED", 8, 9))
    data = parsed([job, passed]).data
    assert data["jobs"][0]["files"] == [["a", "COPIED", 1, 0, None], ["b", "FAILED", 2, 1, "x" * 300]]
    assert data["jobs"][1]["files"] == [["a", "COPIED", 1, 0, None], "b"]
    assert data["jobs"][1]["attempts"][1] == ["SUCCEEDED", 6000, 7000, 8000, 9000, "ica-2", None, None]


def test_one_source_and_a_source_that_begins_as_all_others_keep_their_names() -> None:
    jobs = [
        ended_job(1, TO, ["icav2://from/x/y"], attempt(1, "SUCCEEDED", 2, 5)),
        ended_job(2, TO, ["icav2://from/x/"], attempt(1, "SUCCEEDED", 2, 5)),
        ended_job(3, TO, ["icav2://from/x/", "icav2://from/x/y/z"], attempt(1, "SUCCEEDED", 2, 5)),
    ]
    data = parsed(jobs).data
    assert [(job["from"], job["files"]) for job in data["jobs"]] == [
        ("icav2://from/x/", ["y"]),
        ("icav2://from/", ["x/"]),
        ("icav2://from/", ["x/", "x/y/z"]),
    ]


def test_nothing_from_outside_is_markup() -> None:
    harmless, hostile = parsed([ended_job(1, TO, [A], attempt(1, "FAILED", 3, 9))]), parsed([hostile_job()])
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert listed(hostile.data) == [f"icav2://from/{name}" for name in HOSTILE]
    text = page_of([hostile_job()])
    begin, end = text.index('id="data">') + len('id="data">'), text.rindex("</script>", 0, text.rindex("<script>"))
    assert text[begin:end].isascii()
    assert not set("<>&") & set(text[begin:end])


def test_a_copy_id_is_text_wherever_it_stands() -> None:
    """It can hold no such characters, today."""
    page = Parsed(Page(settled(1, 0, at(9), copy_id="<b>&$data"), RESULT_URI, TABLE_URI).begin())
    assert page.texts("h1") == ["<b>&$data"]
    assert page.texts("title") == ["Copy <b>&$data: COMPLETED"]


def test_a_page_needs_nothing_from_elsewhere_and_runs_no_script_but_its_own() -> None:
    page = parsed(run_of_44_jobs())
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "a"}
        assert not {name for name in attributes if name in {"src", "href", "style"} or name.startswith("on")}
    (style,), (_, script) = page.texts("style"), page.texts("script")
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in (style, script)]
    assert page.policy == (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]}; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize(
    "forbidden", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:"]
)
def test_the_script_makes_no_markup_of_text(forbidden: str) -> None:
    script = parsed(run_of_44_jobs()).texts("script")[1].replace("http://www.w3.org/2000/svg", "")
    assert forbidden not in script


def test_a_page_lists_so_many_files_and_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_FILES", 5)
    jobs = [ended_job(number, TO, [A, B], attempt(1, "SUCCEEDED", 2, 5)) for number in range(1, 4)]
    jobs.append(ended_job(4, TO, [A, B], attempt(1, "FAILED", 2, 5, reason="disk full")))
    data = parsed(jobs).data
    assert [len(job["files"]) for job in data["jobs"]] == [2, 2, 0, 2], "what did not pass is listed all the same"
    assert [job["sources"] for job in data["jobs"]] == [2] * 4
    assert (data["totals"]["listed_sources"], data["totals"]["listed_jobs"], data["totals"]["files"]) == (6, 4, 8)


def test_a_page_is_never_larger_than_a_browser_can_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_CHARACTERS", 2000)
    passed = [ended_job(number, TO, [A, B], attempt(1, "SUCCEEDED", 2, 5)) for number in range(1, 40)]
    failed = [ended_job(number, TO, [A, B], attempt(1, "FAILED", 2, 5)) for number in range(40, 80)]
    data = parsed([*passed, *failed]).data
    statuses = [job["status"] for job in data["jobs"]]
    assert 3 < statuses.count("PASSED") < 39
    assert 1 < statuses.count("FAILED") < 40
    assert len(json.dumps(data["jobs"])) < 6000
    assert data["totals"]["files"] == 158


def test_a_page_that_could_not_be_written_says_where_the_result_is() -> None:
    page = Parsed(page_without_files(settled(2, 1, at(9)), RESULT_URI))
    assert page.data["jobs"] == []
    assert (page.data["copy"]["result"], page.data["copy"]["table"]) == (RESULT_URI, "")
    assert "There is no table of its files." in " ".join(page.texts("p"))


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (
            ended_job(1, TO, [A], attempt(1, "REFUSED", 2, 5, ica_job_id=None, reason=NOT_THERE)),
            "path",
        ),
        (
            ended_job(1, TO, [A], attempt(1, "REFUSED", 2, 5, ica_job_id=None, reason=ARCHIVED)),
            "restore",
        ),
        (ended_job(1, TO, [A], attempt(1, "REFUSED", 2, 5, ica_job_id=None, reason="403")), "ICA refused"),
        (ended_job(1, TO, [A], attempt(1, "MISMATCH", 2, 5)), "not like their sources"),
        (ended_job(1, TO, [A], attempt(1, "FAILED", 2, 5)), "only attempt"),
        (ended_job(1, TO, [A], attempt(1, "FAILED", 2, 5), attempt(2, "FAILED", 7, 9)), "2 attempts"),
        (ended_job(1, TO, [A], status=JobStatus.CANCELLED), "cancelled"),
    ],
)
def test_it_is_said_what_can_be_done_about_a_job_that_did_not_pass(job: Job, words: str) -> None:
    assert words in advice(job)
    assert "icav2-copy redrive run-288 --job 1" in advice(job)


# --- of any size -----------------------------------------------------------------------------------------------------


def test_a_report_of_a_hundred_thousand_files_is_made_in_little_memory() -> None:
    """Job by job: what is written is many times as long as what is held."""
    copy: Copy = settled(99, 1, at(100))
    page, totals, written = Page(copy, RESULT_URI, TABLE_URI), Totals(), 0
    tracemalloc.start()
    try:
        written += len(page.begin())
        for job in many_files(100_000):
            ends: list[FileEnd] = ends_of(job)
            totals.add(job, ends)
            written += len(table.rows(copy, job, ends)) + len(page.add(job, ends))
        written += len(page.end(totals))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert totals.files == 100_000
    assert written > 20_000_000
    assert most < 3_000_000
