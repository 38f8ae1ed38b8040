"""The simulator, called over HTTP through libica, as the pipeline calls it."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import libica.openapi.v3
import pytest
import urllib3
from libica.openapi.v3 import (
    ApiClient,
    ApiException,
    Configuration,
    CreateFolder,
    CreateNotificationChannel,
    CreateNotificationSubscription,
    CreateProjectDataCopyBatch,
    CreateProjectDataCopyBatchItem,
    EventCodeApi,
    JobApi,
    NotificationChannelApi,
    ProjectApi,
    ProjectDataApi,
    ProjectDataCopyBatch,
    ProjectDataCopyBatchApi,
    ProjectDataCopyBatchItem,
    ProjectDataPagedList,
    ProjectNotificationSubscriptionsApi,
    ProjectPermissionApi,
)

from local.simulator import admin
from local.simulator.app import application
from local.simulator.gate import V3, Fault, Simulator
from local.simulator.model import (
    ActionOnExist,
    BatchItem,
    BatchRequest,
    DataStatus,
    Datum,
    Job,
    JobStatus,
    Outcome,
    Script,
)
from local.simulator.switches import Switches, build
from local.simulator.world import World
from tests.doubles import Clock
from tests.doubles.simulated_ica import BEGINS, Stage, served, until

TOKEN = "let-me-in"
QUEUE = "https://sqs.ap-southeast-2.amazonaws.com/000000000000/ica"


@dataclass
class Ica:
    """A fresh simulator, with two projects and jobs of ten seconds, and libica's classes to call it."""

    base: str
    clock: Clock = field(default_factory=lambda: Clock(BEGINS))
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.clock, random.Random(1), build(Switches, {"job_seconds": 10, "failure_rate": 0}))
        self.sim = Simulator(self.world, TOKEN, lambda url, body: self.sent.append((url, json.loads(body))))
        self.origin = self.base.removesuffix("/ica/rest")
        self.source = self.world.add_project("source").id
        self.destination = self.world.add_project("destination").id
        folder = self.world.add_folder(self.destination, "/run/")
        assert folder
        self.folder = folder
        self.client = self.connect(TOKEN)
        self.projects, self.data = ProjectApi(self.client), ProjectDataApi(self.client)
        self.batches, self.jobs = ProjectDataCopyBatchApi(self.client), JobApi(self.client)

    def connect(self, token: str) -> ApiClient:
        return ApiClient(Configuration(host=self.base, access_token=token, retries=0))

    def set(self, **switches: Any) -> None:
        self.world.switches = build(Switches, switches, self.world.switches)

    def file(self, path: str, **details: Any) -> Datum:
        return self.world.add_file(self.source, path, **details)

    def copy(self, *sources: Datum, action: str = "SKIP", to: Datum | None = None) -> ProjectDataCopyBatch:
        return self.batches.create_project_data_copy_batch(
            self.destination,
            CreateProjectDataCopyBatch(
                items=[CreateProjectDataCopyBatchItem(dataId=source.id) for source in sources],
                destinationFolderId=(to or self.folder).id,
                copyUserTags=False,
                copyTechnicalTags=False,
                copyInstrumentInfo=False,
                actionOnExist=action,
            ),
        )

    def job(self, batch: ProjectDataCopyBatch) -> libica.openapi.v3.Job:
        """The job of a batch as it is now."""
        assert batch.job
        return self.jobs.get_job(batch.job.id)

    def items(self, batch: ProjectDataCopyBatch, *statuses: str) -> list[ProjectDataCopyBatchItem]:
        page = self.batches.get_project_data_copy_batch_items(
            self.destination, batch.id, status=[*statuses], page_token=""
        )
        return [item for item in page.items if item]

    def copied(self, *sources: Datum, action: str = "SKIP") -> str:
        """Copy, let the job run to its end, and answer how it ended."""
        batch = self.copy(*sources, action=action)
        self.clock.forward(10)
        return self.job(batch).status

    def script(self, *outcomes: Outcome | str, repeat_last: bool = False) -> None:
        plain = [it if isinstance(it, Outcome) else Outcome(JobStatus(it)) for it in outcomes]
        self.world.scripts[self.destination, "/run/"] = Script(plain, repeat_last)

    def arrived(self) -> dict[str, tuple[str, int | None]]:
        """Status and size of each file in the destination folder, as a listing shows them."""
        rows = self.data.get_project_data_list(
            self.destination, file_path=["/run/"], type="FILE", page_size="1000", page_token=""
        ).items
        details = [row.data.details for row in rows]
        return {it.path: (it.status, it.file_size_in_bytes) for it in details if it and it.path}

    def raw(self, method: str, path: str, **arguments: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": V3} | arguments.pop("headers", {})
        return urllib3.request(method, self.base + path, headers=headers, retries=False, **arguments)

    def admin(self, method: str, path: str, **arguments: Any) -> Any:
        return urllib3.request(method, f"{self.origin}/_simulator{path}", **arguments).json()


@pytest.fixture
def ica(stage: Stage) -> Ica:
    ica = Ica(stage.base)
    stage.app = application(ica.sim, admin.routes(ica.sim))
    return ica


def refused(status: int, call: Callable[..., object], *arguments: Any, **named: Any) -> dict[str, Any]:
    """Assert that a call is refused with this status and a Problem, and return the Problem."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **named)
    problem: dict[str, Any] = json.loads(caught.value.body or "{}")
    assert (caught.value.status, problem["status"]) == (status, status)
    assert problem.keys() >= {"type", "title", "parameters", "timestamp"}
    return problem


def paths(page: ProjectDataPagedList) -> list[str | None]:
    return [row.data.details.path for row in page.items if row.data.details]


# Projects and listings


def test_project_search_finds_more_than_the_exact_name(ica: Ica) -> None:
    """ICA has no exact search, so a client must compare names itself."""
    ica.world.add_project("Source-2")
    found = ica.projects.get_projects(search="sOURCE", page_token="").items
    assert [project.name for project in found] == ["source", "Source-2"]
    assert ica.projects.get_project(ica.source).name == "source"
    refused(404, ica.projects.get_project, "00000000-0000-4000-8000-000000000000")


def test_both_styles_of_paging_give_every_row_once(ica: Ica) -> None:
    """Cursor pages end with an empty token, offset pages tell the total."""
    rows = [ica.file(f"/{number}.txt").path for number in range(7)]
    listed: list[str | None] = []
    token: str | None = ""
    while token is not None:
        page = ica.data.get_project_data_list(ica.source, page_size="3", page_token=token)
        listed += paths(page)
        token = page.next_page_token or None
    assert listed == rows
    listed = []
    for offset in (0, 3, 6):
        start = str(offset)
        page = ica.data.get_project_data_list(ica.source, page_size="3", page_offset=start, sort="path desc")
        assert page.total_item_count == 7
        listed += paths(page)
    assert listed == rows[::-1]


def test_a_cursor_survives_deletions_between_pages(ica: Ica) -> None:
    """A row which is gone by the next page does not make another one disappear."""
    files = [ica.file(f"/{number}.txt") for number in range(4)]
    first = ica.data.get_project_data_list(ica.source, page_size="2", page_token="")
    ica.world.discard(files[0])
    second = ica.data.get_project_data_list(ica.source, page_size="2", page_token=first.next_page_token)
    assert [row.data.id for row in second.items] == [file.id for file in files[2:]]


def test_a_client_that_forgets_paging_sees_only_the_first_rows(ica: Ica) -> None:
    """The default page is small, and the answer says that there is more."""
    for number in range(30):
        ica.file(f"/{number}.txt")
    page = ica.data.get_project_data_list(ica.source)
    assert (len(page.items), page.remaining_records, bool(page.next_page_token)) == (20, 10, True)


def test_the_default_path_match_is_a_prefix_whatever_the_case(ica: Ica) -> None:
    """Asking for one path also brings its neighbours."""
    for path in ("/run1/a.bam", "/run1/a.bam.bai", "/RUN1/A.bam", "/run10/a.bam"):
        ica.file(path)
    found = ica.data.get_project_data_list(ica.source, file_path=["/run1/a.bam"], type="FILE")
    assert paths(found) == [
        "/run1/a.bam",
        "/run1/a.bam.bai",
        "/RUN1/A.bam",
    ]
    found = ica.data.get_project_data_list(ica.source, file_path=["/run1"], type="FOLDER")
    assert paths(found) == ["/run1/", "/RUN1/", "/run10/"]


def test_the_full_path_match_brings_both_spellings(ica: Ica) -> None:
    """Two files may differ by case only, and full match does not tell them apart."""
    for path in ("/a b/x.txt", "/a b/X.txt", "/a b/x.txt.md5", "/a b/other.txt"):
        ica.file(path)
    found = ica.data.get_project_data_list(
        ica.source, file_path=["/a b/x.txt", "/a b/other.txt"], file_path_match_mode="FULL_CASE_INSENSITIVE"
    )
    assert paths(found) == ["/a b/x.txt", "/a b/X.txt", "/a b/other.txt"]


def test_several_paths_at_once_are_honoured_cut_or_refused(ica: Ica) -> None:
    """Nobody knows what ICA does with more than one filePath."""
    for path in ("/a.txt", "/b.txt"):
        ica.file(path)

    def listed() -> int:
        return len(ica.data.get_project_data_list(ica.source, file_path=["/a.txt", "/b.txt"]).items)

    assert listed() == 2
    ica.set(several_file_paths="first_only")
    assert listed() == 1
    ica.set(several_file_paths="last_only")
    assert listed() == 1
    ica.set(several_file_paths="refused")
    refused(400, listed)


@pytest.mark.parametrize(("form", "stored"), [("as_given", 2), ("NFC", 1), ("NFD", 1)])
def test_names_may_be_stored_in_one_unicode_form(ica: Ica, form: str, stored: int) -> None:
    ica.set(unicode_form=form)
    for name in ("caf\u00e9", "cafe\u0301"):
        ica.file(f"/{name}/a.txt")
    found = paths(ica.data.get_project_data_list(ica.source, parent_folder_path="/"))
    assert len(found) == stored
    if form != "as_given":
        assert found == ["/caf\u00e9/" if form == "NFC" else "/cafe\u0301/"]


def test_a_long_url_may_be_refused_by_a_proxy(ica: Ica) -> None:
    ica.set(url_limit=500, url_limit_status=431, url_limit_answer="html")
    page = ica.raw("GET", f"/api/projects/{ica.source}/data?filePath=/{500 * 'a'}")
    assert (page.status, page.headers["Content-Type"]) == (431, "text/html; charset=utf-8")


def test_search_may_find_no_project_and_the_list_of_jobs_may_fail(ica: Ica) -> None:
    ica.set(project_search="nothing", list_jobs="fails")
    assert ica.projects.get_projects(search="source").items == []
    assert ica.projects.get_projects().items
    refused(500, ica.jobs.get_jobs)


def test_one_file_is_found_by_its_folder_and_name(ica: Ica) -> None:
    """The usual way to turn a path into an id; only direct children count."""
    wanted, deeper = ica.file("/a/x.txt"), ica.file("/a/b/x.txt")
    listing = ica.data.get_project_data_list
    by_path = listing(
        ica.source, parent_folder_path="/a/", filename=["x.txt"], filename_match_mode="EXACT", type="FILE"
    ).items
    assert [row.data.id for row in by_path] == [wanted.id]
    by_id = listing(ica.source, parent_folder_id=[deeper.parent_id], creation_date_before=ica.clock.now).items
    assert by_id == []
    assert [row.data.id for row in listing(ica.source, id=[deeper.id, wanted.id]).items] == [
        wanted.id,
        deeper.id,
    ]
    details = by_path[0].data.details
    assert details
    assert (details.name, details.path, details.status) == ("x.txt", "/a/x.txt", "AVAILABLE")
    folder = ica.data.get_project_data(ica.source, deeper.parent_id).data.details
    assert folder
    assert (folder.path, folder.file_size_in_bytes, folder.data_type) == ("/a/b/", None, "FOLDER")


def test_what_the_simulator_does_not_know_is_refused(ica: Ica) -> None:
    """A filter which is silently ignored would make a wrong client look right."""
    data = f"/api/projects/{ica.source}/data"
    for query in (
        "status=GONE",
        "filePathMatchMode=EXACT",
        "nosuchfilter=1",
        "pageSize=1001",
        "pageToken=?!",
    ):
        assert ica.raw("GET", f"{data}?{query}").status == 400, query
    assert ica.raw("GET", f"{data}?filePath={quote('/' + 'x' * 9000)}").status == 414
    assert ica.raw("GET", "/api/analyses").status == 404


# Folders


def test_creating_a_folder_makes_its_parents_but_not_twice(ica: Ica) -> None:
    """An existing path is a 409, or else as the switch says."""
    wanted = CreateFolder(name="lane 1", folderPath="/new/run/")
    made = ica.data.create_folder(ica.destination, wanted)
    assert made.data.details
    assert made.data.details.path == "/new/run/lane 1/"
    assert made.data.id.startswith("fol.")
    assert refused(409, ica.data.create_folder, ica.destination, wanted)["title"] == "ICA_DATA_105"
    ica.set(create_folder_on_existing="return_existing")
    assert ica.data.create_folder(ica.destination, wanted).data.id == made.data.id
    ica.set(create_folder_on_existing="duplicate")
    assert ica.data.create_folder(ica.destination, wanted).data.id != made.data.id
    folders = ica.data.get_project_data_list(ica.destination, file_path=["/new/"])
    assert paths(folders) == [
        "/new/",
        "/new/run/",
        "/new/run/lane 1/",
        "/new/run/lane 1/",
    ]


def test_an_idempotency_key_answers_the_same_call_the_same(ica: Ica) -> None:
    """For seven days; with another body it is a 422, and a refused call is not remembered."""
    one, other = CreateFolder(name="one", folderPath="/"), CreateFolder(name="other", folderPath="/")
    made = ica.data.create_folder(ica.destination, one, idempotency_key="k").data.id
    assert ica.data.create_folder(ica.destination, one, idempotency_key="k").data.id == made
    refused(422, ica.data.create_folder, ica.destination, other, idempotency_key="k")
    refused(409, ica.data.create_folder, ica.destination, one, idempotency_key="k2")
    ica.clock.forward(7 * 24 * 3600)
    assert ica.data.create_folder(ica.destination, other, idempotency_key="k").data.id != made


@pytest.mark.parametrize("key", [None, "k"])
def test_two_who_create_one_folder_at_once_get_one_folder_and_one_conflict(ica: Ica, key: str | None) -> None:
    """While the first call is at work the second is refused, with an Idempotency-Key or without."""
    ica.set(create_folder_seconds=0.2)
    wanted = CreateFolder(name="x", folderPath="/deep/")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ica.data.create_folder, ica.destination, wanted, idempotency_key=key)
        until(lambda: ica.sim.calls.total() == 1)
        refused(409, ica.data.create_folder, ica.destination, wanted, idempotency_key=key)
        assert first.result().data.id


# The life of a copy batch


def test_a_copy_job_goes_through_its_states_and_the_file_with_it(ica: Ica) -> None:
    """The file is PARTIAL while the job runs, and like its source when it has succeeded."""
    source = ica.file("/a/b c.fastq.gz")
    batch = ica.copy(source)
    assert batch.job
    assert (batch.job.subject_id, batch.job.status) == (batch.id, "INITIALIZED")
    assert batch.job.id != batch.id
    seen = []
    for seconds in (0, 1, 2, 6, 1):
        ica.clock.forward(seconds)
        items = ica.items(batch)
        job = ica.job(batch)
        seen.append((job.status, items[0].processing.status, ica.arrived()))
    path = "/run/b c.fastq.gz"
    assert seen == [
        ("INITIALIZED", "QUEUED", {}),
        ("WAITING_FOR_RESOURCES", "QUEUED", {}),
        ("RUNNING", "COPYING", {path: ("PARTIAL", 0)}),
        ("RUNNING", "COPYING", {path: ("PARTIAL", 0)}),
        ("SUCCEEDED", "COPIED", {path: ("AVAILABLE", source.size)}),
    ]
    job = ica.job(batch)
    assert job.time_started
    assert job.time_finished == job.time_created + timedelta(seconds=10)
    (item,) = ica.items(batch, "COPIED")
    same = ica.batches.get_project_data_copy_batch_item(ica.destination, batch.id, item.id)
    made = same.created_project_data
    assert made
    assert made.data.details
    assert made.data.details.object_e_tag == source.etag
    assert same.request.data_id == source.id
    assert ica.world.violations == []


@pytest.mark.parametrize("end", ["FAILED", "STOPPED"])
def test_a_job_that_fails_leaves_partial_files_which_skip_then_skips(ica: Ica, end: str) -> None:
    """The trap of a plain retry: the second job succeeds and the files are still PARTIAL."""
    files = [ica.file("/x.txt"), ica.file("/y.txt")]
    ica.script(end)
    batch = ica.copy(*files)
    ica.clock.forward(10)
    job = ica.job(batch)
    assert (job.status, job.additional_status_information) == (
        end,
        f"2 of 2 files were not copied: copy {'failed' if end == 'FAILED' else 'stopped'} (x.txt)",
    )
    failed = ica.items(batch, "FAILED")
    assert len(failed) == 2
    leftovers = {"/run/x.txt": ("PARTIAL", 0), "/run/y.txt": ("PARTIAL", 0)}
    assert ica.arrived() == leftovers
    assert ica.copied(*files) == "SUCCEEDED"
    assert ica.arrived() == leftovers
    ica.set(skip_counts_partial=False)
    assert ica.copied(*files) == "SUCCEEDED"
    assert {status for status, _ in ica.arrived().values()} == {"AVAILABLE"}


def test_leftovers_can_be_none_or_some(ica: Ica) -> None:
    """How much of a failed job stays behind is not known."""
    files = [ica.file(f"/{number}.txt") for number in range(20)]
    ica.script("FAILED", repeat_last=True)
    ica.set(leftovers="none")
    assert (ica.copied(*files), ica.arrived()) == ("FAILED", {})
    ica.set(leftovers="some")
    assert ica.copied(*files) == "FAILED"
    assert 0 < len(ica.arrived()) < 20


def test_a_partial_success_copies_some_files_but_not_all(ica: Ica) -> None:
    """Never none and never all, except that of one file nothing arrives."""
    files = [ica.file(f"/{number}.txt") for number in range(5)]
    ica.script("PARTIALLY_SUCCEEDED", repeat_last=True)
    assert ica.copied(*files) == "PARTIALLY_SUCCEEDED"
    assert sorted({status for status, _ in ica.arrived().values()}) == ["AVAILABLE", "PARTIAL"]
    assert ica.copied(ica.file("/single.txt")) == "PARTIALLY_SUCCEEDED"
    assert ica.arrived()["/run/single.txt"] == ("PARTIAL", 0)


def test_a_folder_arrives_with_everything_in_it(ica: Ica) -> None:
    """As a folder of its name in the destination folder."""
    for path in ("/a/reads/1.gz", "/a/reads/deeper/2.gz", "/a/other.gz"):
        ica.file(path, size=7)
    folder = ica.world.at(ica.source, "/a/reads/")
    assert folder
    assert ica.copied(folder) == "SUCCEEDED"
    whole = {"/run/reads/1.gz": ("AVAILABLE", 7), "/run/reads/deeper/2.gz": ("AVAILABLE", 7)}
    assert ica.arrived() == whole


def test_skip_may_take_a_file_that_is_going_for_one_that_is_there(ica: Ica) -> None:
    """So whoever deletes a leftover has to wait until it is gone."""
    source, leftover = ica.file("/x.txt"), ica.world.add_file(ica.destination, "/run/x.txt")
    ica.set(delete_seconds=5, skipped_item_status="QUEUED")
    ica.data.delete_data(ica.destination, leftover.id)
    batch = ica.copy(source)
    ica.clock.forward(10)
    (item,) = ica.items(batch)
    assert (ica.job(batch).status, item.processing.status, ica.arrived()) == ("SUCCEEDED", "QUEUED", {})
    assert ica.copied(source) == "SUCCEEDED"
    assert ica.arrived() == {"/run/x.txt": ("AVAILABLE", source.size)}


def test_overwrite_replaces_and_rename_keeps_both(ica: Ica) -> None:
    """The two other things which can be done about a file that exists."""
    source = ica.file("/x.tar.gz", size=9)
    ica.world.add_file(ica.destination, "/run/x.tar.gz", size=1)
    assert ica.copied(source, action="RENAME") == "SUCCEEDED"
    assert ica.arrived() == {"/run/x.tar.gz": ("AVAILABLE", 1), "/run/x (1).tar.gz": ("AVAILABLE", 9)}
    assert ica.copied(source, action="OVERWRITE") == "SUCCEEDED"
    assert ica.arrived()["/run/x.tar.gz"] == ("AVAILABLE", 9)


def test_a_batch_that_makes_no_sense_is_refused(ica: Ica) -> None:
    """And each refusal says why."""
    source, other = ica.file("/x.txt"), ica.world.add_file(ica.destination, "/run/x.txt")
    assert "file" in refused(400, ica.copy, source, to=other)["detail"]
    refused(404, ica.copy, source, to=source)
    assert "within" in refused(400, ica.copy, other)["detail"]
    ica.set(same_project_copy="allow", max_items=1)
    assert ica.copy(other).id
    refused(400, ica.copy, source, other)
    ica.set(max_items_status=413)
    refused(413, ica.copy, source, other)
    refused(400, ica.copy)
    ica.world.discard(source)
    refused(404, ica.copy, source)
    wrong = {"items": [{"dataId": other.id}], "actionOnExist": "FAIL"}
    answer = ica.raw("POST", f"/api/projects/{ica.destination}/dataCopyBatch", json=wrong)
    assert (answer.status, "FAIL" in answer.json()["detail"]) == (400, True)


def test_scripted_outcomes_come_in_order_and_the_last_may_repeat(ica: Ica) -> None:
    """What a test says about a folder goes before chance."""
    source = ica.file("/x.txt")
    ica.set(failure_rate=1, failed_weight=0, stopped_weight=1, partially_succeeded_weight=0)
    ica.script("FAILED", "SUCCEEDED")
    assert [ica.copied(source) for _ in range(3)] == ["FAILED", "SUCCEEDED", "STOPPED"]
    ica.script("SUCCEEDED", "FAILED", repeat_last=True)
    assert [ica.copied(source) for _ in range(3)] == ["SUCCEEDED", "FAILED", "FAILED"]
    ica.script("RUNNING")
    assert ica.copied(source) == "RUNNING"


def test_a_success_may_be_a_lie(ica: Ica) -> None:
    """Only a look at the files tells."""
    for damage, shown in (
        ("partial", {"/run/x.txt": ("PARTIAL", 5)}),
        ("wrong_size", {"/run/x.txt": ("AVAILABLE", 6)}),
        ("missing", {}),
    ):
        ica.script(build(Outcome, {"status": "SUCCEEDED", "damage": damage}))
        assert ica.copied(ica.file("/x.txt", size=5), action="OVERWRITE") == "SUCCEEDED"
        assert ica.arrived() == shown


def test_a_single_part_file_can_be_made_to_fail_every_time(ica: Ica) -> None:
    """As in buckets whose tags may not be written; the files in parts are copied."""
    ica.set(single_part="fails")
    small, large = ica.file("/small.txt", size=100), ica.file("/large.bam", size=10**9)
    assert ica.copied(small, large) == "PARTIALLY_SUCCEEDED"
    assert ica.arrived() == {"/run/small.txt": ("PARTIAL", 0), "/run/large.bam": ("AVAILABLE", 10**9)}
    ica.set(single_part="fails_with_tags")
    assert ica.copied(small, action="OVERWRITE") == "SUCCEEDED"


def test_chance_does_not_depend_on_what_else_is_going_on(ica: Ica) -> None:
    """The n-th job into a folder ends the same way whatever the order between folders."""

    def ends(order: list[str]) -> dict[str, list[str]]:
        fresh = Ica(ica.base)
        fresh.set(failure_rate=0.5)
        source = fresh.file("/x.txt")
        places = {path: fresh.world.add_folder(fresh.destination, path) for path in order}
        jobs = [(path, create(fresh.world, fresh.destination, source, places[path])) for path in order * 3]
        return {path: [job.outcome.status for place, job in jobs if place == path] for path in sorted(order)}

    folders = ["/a/", "/b/", "/c/", "/d/"]
    assert ends(folders) == ends(folders[::-1])
    assert len({end for each in ends(folders).values() for end in each}) > 1


def create(world: World, project: str, source: Datum, folder: Datum | None) -> Job:
    request = BatchRequest(
        [BatchItem(source.id)], False, False, False, ActionOnExist.SKIP, folder.id if folder else None
    )
    return world.create_batch(project, request)


def test_two_live_jobs_on_one_file_are_on_record(ica: Ica) -> None:
    """ICA lets it happen; a test of the pipeline asserts that it did not."""
    source = ica.file("/x.txt")
    ica.copy(source)
    assert ica.world.violations == []
    ica.copy(source)
    (violation,) = ica.admin("GET", "/state")["violations"]
    assert (violation["kind"], violation["path"], len(violation["jobs"])) == ("two_writers", "/run/x.txt", 2)
    ica.clock.forward(10)
    ica.copied(source)
    assert len(ica.world.violations) == 1


def test_deleting_a_file_while_it_is_written_is_on_record_and_fails_the_job(ica: Ica) -> None:
    """Cleaning up after one job must not hit another one's files."""
    batch = ica.copy(ica.file("/x.txt"))
    ica.clock.forward(5)
    (row,) = ica.data.get_project_data_list(ica.destination, parent_folder_path="/run/").items
    ica.data.delete_data(ica.destination, row.data.id)
    assert [it.kind for it in ica.world.violations] == ["deleted_while_written"]
    ica.clock.forward(5)
    assert ica.job(batch).status == "FAILED"


def test_a_deletion_takes_a_while_and_takes_the_whole_folder(ica: Ica) -> None:
    """DELETING first, then 404."""
    inside = ica.world.add_file(ica.destination, "/run/a/x.txt")
    ica.data.delete_data(ica.destination, ica.folder.id)
    details = ica.data.get_project_data(ica.destination, inside.id).data.details
    assert details
    assert details.status == "DELETING"
    ica.clock.forward(2)
    refused(404, ica.data.get_project_data, ica.destination, inside.id)
    refused(404, ica.data.delete_data, ica.destination, ica.folder.id)


def test_jobs_are_listed_by_status_and_newest_first_until_forgotten(ica: Ica) -> None:
    """The list is the only way to find a job whose answer was lost."""
    old = ica.copy(ica.file("/x.txt"))
    ica.clock.forward(10)
    new = ica.copy(ica.file("/y.txt"))

    def listed(**query: Any) -> list[UUID]:
        return [job.id for job in ica.jobs.get_jobs(**query).items if job]

    first, second = ica.job(old).id, ica.job(new).id
    assert listed(sort="timeCreated desc", page_size="10", page_offset="0") == [second, first]
    assert listed(status=["SUCCEEDED"], page_token="") == [first]
    ica.set(job_readable_seconds=60)
    ica.clock.forward(61)
    assert listed() == [second]
    refused(404, ica.jobs.get_job, first)
    refused(404, ica.batches.get_project_data_copy_batch, ica.destination, old.id)


# What is not known about ICA's answers: each either way


def listing(ica: Ica, query: str, project: str = "") -> list[dict[str, Any]]:
    """The data of a listing, as JSON."""
    answer = ica.raw("GET", f"/api/projects/{project or ica.source}/data?{query}")
    assert answer.status == 200, answer.data
    return [row["data"] for row in answer.json()["items"]]


def listed_paths(ica: Ica, query: str, project: str = "") -> list[str]:
    return [row["details"]["path"] for row in listing(ica, query, project)]


@pytest.mark.parametrize(
    ("answer", "found"), [("honoured", {"/a.txt", "/b.txt"}), ("first_only", {"/a.txt"}), ("last_only", {"/b.txt"})]
)
def test_of_several_paths_all_count_or_one_at_an_end(ica: Ica, answer: str, found: set[str]) -> None:
    for path in ("/a.txt", "/b.txt"):
        ica.file(path)
    ica.set(several_file_paths=answer)
    assert set(listed_paths(ica, "filePath=/a.txt&filePath=/b.txt")) == found


@pytest.mark.parametrize("folders", [True, False])
def test_a_full_match_finds_folders_or_files_alone(ica: Ica, folders: bool) -> None:
    ica.file("/a/b.txt")
    ica.set(full_matches_folders=folders)
    found = listed_paths(ica, "filePath=/a/&filePath=/a/b.txt&filePathMatchMode=FULL_CASE_INSENSITIVE")
    assert found == (["/a/", "/a/b.txt"] if folders else ["/a/b.txt"])
    assert listed_paths(ica, "filePath=/a&type=FOLDER") == ["/a/"]


@pytest.mark.parametrize(("answer", "status"), [("empty", 200), ("404", 404)])
def test_a_folder_that_is_not_there_is_an_empty_listing_or_a_404(ica: Ica, answer: str, status: int) -> None:
    ica.file("/There/b.txt")
    ica.set(absent_folder=answer)
    assert ica.raw("GET", f"/api/projects/{ica.source}/data?parentFolderPath=/none/").status == status
    assert listed_paths(ica, "parentFolderPath=/there/") == ["/There/b.txt"]
    assert listed_paths(ica, "parentFolderPath=/") == ["/There/"]


def test_pages_may_be_shorter_than_asked_for(ica: Ica) -> None:
    """In both styles of paging, and without a word: the next page goes on where this one ended."""
    for number in range(5):
        ica.file(f"/{number}.txt")
    url = f"/api/projects/{ica.source}/data?pageSize=4"
    assert len(ica.raw("GET", url + "&pageToken=").json()["items"]) == 4
    ica.set(page_cap=2)
    first = ica.raw("GET", url + "&pageToken=").json()
    second = ica.raw("GET", f"{url}&pageToken={first['nextPageToken']}").json()
    assert [row["data"]["details"]["name"] for row in first["items"] + second["items"]] == [
        f"{number}.txt" for number in range(4)
    ]
    assert len(ica.raw("GET", url + "&pageOffset=0").json()["items"]) == 2


@pytest.mark.parametrize("lag", [0, 30])
def test_lists_of_data_may_lag_behind_what_has_come_changed_and_gone(ica: Ica, lag: int) -> None:
    """Data that are read by their id do not."""
    there = ica.file("/there.txt")
    ica.clock.forward(60)
    ica.world.settle()
    ica.set(data_lag_seconds=lag, delete_seconds=5)
    new = ica.file("/new.txt")
    ica.data.delete_data(ica.source, there.id)

    def seen() -> dict[str, str]:
        return {row["details"]["path"]: row["details"]["status"] for row in listing(ica, "filePath=/")}

    now = {"/there.txt": "DELETING", "/new.txt": "AVAILABLE"}
    assert seen() == ({"/there.txt": "AVAILABLE"} if lag else now)
    assert ica.raw("GET", f"/api/projects/{ica.source}/data/{new.id}").status == 200
    details = ica.data.get_project_data(ica.source, there.id).data.details
    assert details
    assert details.status == "DELETING"
    ica.clock.forward(10)
    assert seen() == ({"/there.txt": "AVAILABLE"} if lag else {"/new.txt": "AVAILABLE"})
    ica.clock.forward(lag - 10)
    assert seen() == (now if lag else {"/new.txt": "AVAILABLE"})
    ica.clock.forward(5)
    assert seen() == {"/new.txt": "AVAILABLE"}


@pytest.mark.parametrize("lag", [0, 30])
def test_the_list_of_jobs_may_lag_behind_what_has_begun_and_ended(ica: Ica, lag: int) -> None:
    batch = ica.copy(ica.file("/x.txt"))
    ica.set(jobs_lag_seconds=lag)

    def seen() -> list[tuple[str, bool]]:
        rows = ica.raw("GET", "/api/jobs").json()["items"]
        return [(row["status"], bool(row["timeFinished"])) for row in rows]

    assert seen() == ([] if lag else [("INITIALIZED", False)])
    assert ica.job(batch).status == "INITIALIZED"
    ica.clock.forward(10)
    assert seen() == ([] if lag else [("SUCCEEDED", True)])
    assert ica.job(batch).status == "SUCCEEDED"
    ica.clock.forward(25)
    assert seen() == ([("RUNNING", False)] if lag else [("SUCCEEDED", True)])
    ica.clock.forward(5)
    assert seen() == [("SUCCEEDED", True)]


@pytest.mark.parametrize("answer", ["answers", "fails"])
def test_the_list_of_jobs_may_fail_where_one_job_can_be_read(ica: Ica, answer: str) -> None:
    batch = ica.copy(ica.file("/x.txt"))
    ica.set(list_jobs=answer)
    assert ica.raw("GET", "/api/jobs").status == (200 if answer == "answers" else 500)
    assert ica.job(batch).status == "INITIALIZED"


@pytest.mark.parametrize("lag", [0, 30])
def test_a_new_copy_batch_may_have_no_items_yet(ica: Ica, lag: int) -> None:
    ica.set(items_lag_seconds=lag)
    batch = ica.copy(ica.file("/x.txt"))
    assert len(ica.items(batch)) == (0 if lag else 1)
    ica.clock.forward(lag)
    assert len(ica.items(batch)) == 1


@pytest.mark.parametrize("as_files", [False, True])
def test_a_folder_may_stand_in_the_items_as_its_files(ica: Ica, as_files: bool) -> None:
    files = [ica.file("/reads/1.gz"), ica.file("/reads/deeper/2.gz"), ica.file("/x.txt")]
    folder = ica.world.at(ica.source, "/reads/")
    assert folder
    ica.set(items_as_files=as_files)
    batch = ica.copy(folder, files[2])
    ica.clock.forward(10)
    items = ica.items(batch)
    assert {item.request.data_id for item in items} == {it.id for it in (files if as_files else [folder, files[2]])}
    assert {item.processing.status for item in items} == {"COPIED"}
    assert [item.id for item in items] == [item.id for item in ica.items(batch)]
    one = ica.batches.get_project_data_copy_batch_item(ica.destination, batch.id, items[0].id)
    assert one.request.data_id == items[0].request.data_id


@pytest.mark.parametrize("offset", [0, 600, -600])
def test_icas_clock_may_be_ahead_or_behind(ica: Ica, offset: int) -> None:
    """In what it stamps and in the Date of its answers; how long things take is the same."""
    ica.set(clock_offset_seconds=offset)
    batch = ica.copy(ica.file("/x.txt"))
    told = ica.clock.now + timedelta(seconds=offset)
    assert ica.job(batch).time_created == told
    answer = ica.raw("GET", f"/api/projects/{ica.source}/data?filePath=/x.txt")
    assert parsedate_to_datetime(answer.headers["Date"]) == told
    assert len(answer.headers.getlist("Date")) == 1
    details = answer.json()["items"][0]["data"]["details"]
    assert datetime.fromisoformat(details["timeCreated"]) == told
    ica.clock.forward(10)
    assert ica.job(batch).time_finished == told + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("fields", "present"),
    [
        ("all", {"project", "timeFinished", "subjectId"}),
        ("required", {"id", "status", "subjectType", "subjectId", "timeCreated", "owner"}),
        ("least", {"id", "status"}),
    ],
)
def test_a_job_may_say_little_of_itself(ica: Ica, fields: str, present: set[str]) -> None:
    job = ica.copy(ica.file("/x.txt")).job
    assert job
    ica.set(job_fields=fields)
    said = ica.raw("GET", f"/api/jobs/{job.id}").json()
    assert (said.keys() >= present) if fields == "all" else (said.keys() == present)
    assert ica.raw("GET", "/api/jobs").json()["items"] == [said]


def test_a_copy_batch_may_not_say_its_folder_and_the_root_may_have_an_id(ica: Ica) -> None:
    source = ica.file("/x.txt")
    batch = ica.copy(source)
    request = BatchRequest([BatchItem(source.id)], False, False, False, ActionOnExist.SKIP)
    into_root = ica.world.create_batch(ica.destination, request)

    def folder(batch_id: object) -> str | None:
        said = ica.raw("GET", f"/api/projects/{ica.destination}/dataCopyBatch/{batch_id}").json()
        told: str | None = said.get("destinationFolderId")
        return told

    assert (folder(batch.id), folder(into_root.batch_id)) == (ica.folder.id, None)
    ica.set(echo_root="id")
    assert (folder(into_root.batch_id) or "").startswith("fol.")
    ica.set(echo_folder=False)
    assert (folder(batch.id), folder(into_root.batch_id)) == (None, None)


@pytest.mark.parametrize("echoed", [True, False])
def test_what_was_made_and_when_may_not_be_said(ica: Ica, echoed: bool) -> None:
    ica.set(echo_created_data=echoed, echo_time_created=echoed)
    batch = ica.copy(ica.file("/x.txt"))
    ica.clock.forward(10)
    items = ica.raw("GET", f"/api/projects/{ica.destination}/dataCopyBatch/{batch.id}/items").json()["items"]
    assert ["createdProjectData" in item for item in items] == [echoed]
    assert ["timeCreated" in row["details"] for row in listing(ica, "filePath=/x.txt")] == [echoed]


@pytest.mark.parametrize("seconds", [0, 30])
def test_files_may_be_available_only_after_their_job_has_succeeded(ica: Ica, seconds: int) -> None:
    source = ica.file("/x.txt", size=7)
    ica.set(available_after_seconds=seconds)
    assert ica.copied(source) == "SUCCEEDED"
    assert ica.arrived() == {"/run/x.txt": ("PARTIAL", 0) if seconds else ("AVAILABLE", 7)}
    ica.clock.forward(seconds)
    assert ica.arrived() == {"/run/x.txt": ("AVAILABLE", 7)}


def test_a_success_may_be_a_lie_later_too(ica: Ica) -> None:
    ica.set(available_after_seconds=30)
    ica.script(Outcome(JobStatus.SUCCEEDED, damage="wrong_size"))
    assert ica.copied(ica.file("/x.txt", size=7)) == "SUCCEEDED"
    ica.clock.forward(30)
    assert ica.arrived() == {"/run/x.txt": ("AVAILABLE", 8)}


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED"])
def test_a_job_with_nothing_to_copy_ends_one_way_or_the_other(ica: Ica, end: str) -> None:
    source = ica.file("/x.txt")
    ica.set(all_skipped_status=end)
    assert ica.copied(source) == "SUCCEEDED"
    assert ica.copied(source) == end
    assert ica.copied(source, action="OVERWRITE") == "SUCCEEDED"


@pytest.mark.parametrize(("form", "kept"), [("as_given", "é"), ("NFC", "é"), ("NFD", "e\u0301")])
def test_names_are_kept_in_a_form_of_unicode_and_found_in_any(ica: Ica, form: str, kept: str) -> None:
    ica.set(unicode_form=form)
    wanted = CreateFolder(name="é", folderPath="/")
    made = ica.data.create_folder(ica.destination, wanted)
    assert made.data.details
    assert made.data.details.path == f"/{kept}/"
    refused(409, ica.data.create_folder, ica.destination, wanted)
    asked = quote("/é/")
    assert listed_paths(ica, f"filePath={asked}", ica.destination) == [f"/{kept}/"]
    other = quote("/e\u0301/")
    assert listed_paths(ica, f"filePath={other}", ica.destination) == ([] if form == "as_given" else [f"/{kept}/"])


@pytest.mark.parametrize("rate", [0, 1])
def test_calls_may_hang_and_be_carried_out_or_not(ica: Ica, rate: int) -> None:
    ica.set(hang_rate=rate)
    done = 0
    for number in range(20):
        body = {"name": f"{number}", "folderPath": "/"}
        url = f"/api/projects/{ica.destination}/data:createFolder"
        try:
            answer = ica.raw("POST", url, json=body, headers={"Content-Type": V3}, timeout=0.1)
            assert answer.status == 201
        except urllib3.exceptions.TimeoutError:
            done += 1
    made = sum(datum.path != "/run/" for datum in ica.world.contents[ica.destination].values())
    assert done == (20 if rate else 0)
    assert (0 < made < 20) if rate else made == 20


def test_while_the_copy_engine_is_down_every_job_fails(ica: Ica) -> None:
    ica.set(engine_down=[0, 15])
    assert ica.copied(ica.file("/x.txt")) == "FAILED"
    assert ica.copied(ica.file("/y.txt")) == "SUCCEEDED"


def test_somebody_elses_jobs_are_shown_and_not_counted(ica: Ica) -> None:
    other = ica.world.start_other_job(ica.destination, "Analysis", 10)
    request = BatchRequest([BatchItem(ica.file("/x.txt").id)], False, False, False, ActionOnExist.SKIP, ica.folder.id)
    theirs = ica.world.create_batch(ica.destination, request, strangers=True)
    shown = {str(job.id): job.subject_type for job in ica.jobs.get_jobs().items if job}
    assert shown == {other.id: "Analysis", theirs.id: "ProjectDataCopyBatch"}
    refused(404, ica.batches.get_project_data_copy_batch, ica.destination, UUID(other.subject_id))
    assert ica.batches.get_project_data_copy_batch(ica.destination, UUID(theirs.batch_id)).job
    assert (ica.world.live_jobs, ica.world.most_live_jobs) == (0, 0)
    ica.clock.forward(10)
    assert ica.jobs.get_job(UUID(other.id)).status == "SUCCEEDED"
    assert ica.world.live_jobs == 0


def test_whoever_deletes_what_somebody_else_uploads_is_on_record(ica: Ica) -> None:
    ours, theirs = (ica.world.add_file(ica.destination, path, status=DataStatus.PARTIAL) for path in ("/a", "/b"))
    theirs.strangers = True
    ica.data.delete_data(ica.destination, ours.id)
    assert ica.world.violations == []
    ica.data.delete_data(ica.destination, theirs.id)
    assert [(it.kind, it.path) for it in ica.world.violations] == [("deleted_of_others", "/b")]


# The door


def test_a_wrong_or_old_token_is_a_401(ica: Ica) -> None:
    """After a rotation the old one may be good for a little longer."""
    problem = refused(401, ProjectApi(ica.connect("wrong")).get_projects)
    assert problem["title"] == "ICA_SEC_002"
    ica.admin("POST", "/token", json={"token": "new", "also_accept_old_for": 30})
    assert ProjectApi(ica.connect("new")).get_projects().items
    assert ica.projects.get_projects().items
    ica.clock.forward(30)
    refused(401, ica.projects.get_projects)
    ica.set(token_seconds=40)
    assert ProjectApi(ica.connect("new")).get_projects().items
    ica.clock.forward(10)
    refused(401, ProjectApi(ica.connect("new")).get_projects)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/vnd.illumina.v4+json"])
def test_any_other_version_of_the_api_is_refused(ica: Ica, accept: str) -> None:
    """The media type is the version, and there is no default."""
    answer = ica.raw("GET", "/api/projects", headers={"Accept": accept})
    assert (answer.status, answer.json()["title"]) == (400, "ICA_API_004")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_too_many_calls_in_a_second_are_a_429(ica: Ica) -> None:
    """With a Retry-After only if the switch says so."""
    ica.set(rate_limit=2, retry_after=3)
    answers = [ica.raw("GET", "/api/projects") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert (answers[2].json()["title"], answers[2].headers["Retry-After"]) == ("ICA_API_429", "3")
    ica.clock.forward(1)
    assert ica.projects.get_projects().items


def test_large_answers_are_compressed_and_connections_are_kept(ica: Ica) -> None:
    """As ICA does for those who accept gzip."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": V3, "Accept-Encoding": "gzip"}
    with urllib3.HTTPConnectionPool("127.0.0.1", urllib3.util.parse_url(ica.base).port) as pool:
        for _ in range(3):
            answer = pool.request("GET", "/ica/rest/api/projects", headers=headers)
            assert answer.headers["Content-Encoding"] == "gzip"
            assert len(answer.json()["items"]) == 2
        assert pool.num_connections == 1


def test_calls_are_counted_by_kind(ica: Ica) -> None:
    """By method and route, so that a test can say how many calls a copy may cost."""
    ica.file("/x.txt")
    for _ in range(3):
        ica.data.get_project_data_list(ica.source)
    ica.copy(ica.file("/x.txt"))
    state = ica.admin("GET", "/state")
    assert state["calls"] == {
        "GET /api/projects/{project_id}/data": 3,
        "POST /api/projects/{project_id}/dataCopyBatch": 1,
    }
    assert (state["total_calls"], state["answers"], state["most_live_jobs"]) == (4, {"200": 3, "201": 1}, 1)
    ica.admin("POST", "/counts:reset")
    assert ica.admin("GET", "/state")["total_calls"] == 0


# Faults


def test_a_dropped_call_is_not_answered_but_may_have_been_processed(ica: Ica) -> None:
    """The two cases look the same to the client, and only one of them started a job."""
    source = ica.file("/x.txt")
    for kind, jobs in (("drop_before", 0), ("drop_after", 1)):
        ica.admin("POST", "/faults", json={"kind": kind, "method": "POST", "path": "Batch$", "count": 1})
        with pytest.raises(urllib3.exceptions.ProtocolError, match=r"closed connection|reset by peer"):
            ica.copy(source)
        assert len(ica.jobs.get_jobs().items) == jobs
    assert ica.copy(source).id


def test_errors_can_be_made_to_happen(ica: Ica) -> None:
    """As a Problem or as a web page, after so many calls and for so many, or for a time."""
    ica.sim.add_fault(Fault("status", status=429, after=1, count=1, retry_after=7))
    answers = [ica.raw("GET", "/api/projects") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 200]
    assert (answers[1].json()["title"], answers[1].headers["Retry-After"]) == ("ICA_API_429", "7")
    ica.sim.add_fault(Fault("html", status=502, seconds=5))
    page = ica.raw("GET", "/api/projects")
    assert (page.status, page.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    with pytest.raises(ApiException) as caught:
        ica.projects.get_projects()
    assert caught.value.status == 502
    ica.clock.forward(5)
    assert ica.projects.get_projects().items


def test_an_error_may_come_after_the_work_is_done(ica: Ica) -> None:
    """A gateway that loses patience does not undo what ICA did."""
    ica.sim.add_fault(Fault("status", status=504, processed=True, count=1))
    refused(504, ica.copy, ica.file("/x.txt"))
    assert len(ica.jobs.get_jobs().items) == 1


def test_a_slow_answer_runs_into_the_clients_time_out(ica: Ica) -> None:
    """The delay is real time."""
    ica.sim.add_fault(Fault("delay", delay=0.3, count=1))
    with pytest.raises(urllib3.exceptions.TimeoutError):
        ica.raw("GET", "/api/projects", timeout=0.1)
    assert ica.projects.get_projects().items


def test_a_job_may_show_a_status_never_seen_before(ica: Ica) -> None:
    """Which libica cannot even parse."""
    batch = ica.copy(ica.file("/x.txt"))
    ica.sim.add_fault(Fault("unknown_status", path="/api/jobs/"))
    (job,) = ica.sim.world.jobs.values()
    assert ica.raw("GET", f"/api/jobs/{job.id}").json()["status"] == "FROBNICATED"
    with pytest.raises(ValueError, match="must be one of enum values"):
        ica.job(batch)
    assert ica.admin("DELETE", "/faults") == {"faults": []}
    assert ica.job(batch).status == "INITIALIZED"


# Notifications


def subscribe(ica: Ica) -> None:
    channels = NotificationChannelApi(ica.client)
    to_queue = CreateNotificationChannel(enabled=True, type="SQS", address=QUEUE)
    channel = channels.create_notification_channel(to_queue)
    subscriptions = ProjectNotificationSubscriptionsApi(ica.client)
    wanted = CreateNotificationSubscription(
        enabled=True,
        eventCode="ICA_JOB_001",
        notificationChannelId=channel.id,
    )
    subscriptions.create_notification_subscription(ica.destination, wanted)
    assert [it.id for it in channels.get_notification_channels().items] == [channel.id]
    assert len(subscriptions.get_notification_subscriptions(ica.destination).items) == 1


def test_a_channel_has_an_address_of_at_most_100_characters(ica: Ica) -> None:
    """Or of 255, once it is updated: so says ICA's own document."""
    for length, status in ((0, 400), (100, 201), (101, 400)):
        wanted = {"enabled": True, "type": "SQS", "address": "x" * length}
        assert ica.raw("POST", "/api/notificationChannels", json=wanted).status == status
    (known,) = ica.raw("GET", "/api/notificationChannels").json()["items"]
    path = f"/api/notificationChannels/{known['id']}"
    for length, status in ((255, 200), (256, 400)):
        assert ica.raw("PUT", path, json={**known, "address": "x" * length}).status == status
    assert len(ica.raw("GET", path).json()["address"]) == 255


def test_channels_and_subscriptions_can_be_changed(ica: Ica) -> None:
    """A channel for all that use it."""
    subscribe(ica)
    channels, subscriptions = NotificationChannelApi(ica.client), ProjectNotificationSubscriptionsApi(ica.client)
    (channel,) = channels.get_notification_channels().items
    channel_id = str(channel.id)
    changed = channels.update_notification_channel(channel_id, channel.model_copy(update={"enabled": False}))
    assert (changed.enabled, channels.get_notification_channel(channel_id).enabled) == (False, False)
    (known,) = subscriptions.get_notification_subscriptions(ica.destination).items
    assert not known.notification_channel.enabled
    update = known.model_copy(update={"enabled": False})
    subscriptions.update_notification_subscription(ica.destination, str(known.id), update)
    assert not subscriptions.get_notification_subscription(ica.destination, str(known.id)).enabled
    ica.copied(ica.file("/x.txt"))
    assert told(ica) == []
    for path in ("/api/notificationChannels/none", f"/api/projects/{ica.destination}/notificationSubscriptions/none"):
        assert ica.raw("GET", path).status == 404


@pytest.mark.parametrize("kind", ["USER", "EMAIL", "WORKGROUP"])
def test_the_tokens_user_is_a_member_of_every_project(ica: Ica, kind: str) -> None:
    ica.set(permission_of=kind, project_role="VIEWER", upload_allowed=False)
    permissions = ProjectPermissionApi(ica.client)
    (found,) = permissions.get_project_permissions(ica.destination).items
    assert (found.membership_type, found.role_project, found.upload_allowed) == (kind, "VIEWER", False)
    assert (found.workgroup is not None) is (kind == "WORKGROUP")
    ica.set(read_permissions="refused")
    with pytest.raises(ApiException, match="403"):
        permissions.get_project_permissions(ica.destination)


def test_the_user_may_be_kept_from_managing_notifications(ica: Ica) -> None:
    subscribe(ica)
    (channel,) = ica.raw("GET", "/api/notificationChannels").json()["items"]
    path = f"/api/projects/{ica.destination}/notificationSubscriptions"
    (known,) = ica.raw("GET", path).json()["items"]
    ica.set(manage_notifications="refused")
    wanted = {"enabled": True, "type": "SQS", "address": QUEUE}
    assert ica.raw("POST", "/api/notificationChannels", json=wanted).status == 403
    assert ica.raw("PUT", f"/api/notificationChannels/{channel['id']}", json=channel).status == 403
    new = {"enabled": True, "eventCode": "ICA_JOB_001", "notificationChannelId": channel["id"]}
    assert ica.raw("POST", path, json=new).status == 403
    assert ica.raw("PUT", f"{path}/{known['id']}", json=known).status == 403


def told(ica: Ica) -> list[str]:
    """The statuses in the notifications which are due by now."""
    ica.world.settle()
    asyncio.run(ica.sim.deliver_due())
    return [body["payload"]["status"] for _, body in ica.sent]


EVERY_CHANGE = ["INITIALIZED", "WAITING_FOR_RESOURCES", "RUNNING", "SUCCEEDED"]


def test_every_change_of_a_job_is_told_to_the_queue(ica: Ica) -> None:
    """In the envelope which ICA uses, once for each state."""
    assert "ICA_JOB_001" in [it.event_code for it in EventCodeApi(ica.client).get_event_codes().items]
    subscribe(ica)
    ica.copied(ica.file("/x.txt"))
    assert told(ica) == EVERY_CHANGE
    url, body = ica.sent[-1]
    assert (url, body["eventCode"], body["projectId"]) == (QUEUE, "ICA_JOB_001", ica.destination)


def test_notifications_may_come_twice_or_out_of_order_or_not_at_all(ica: Ica) -> None:
    """A client may use them to be quick, but not to be right."""
    subscribe(ica)
    ica.set(notification_duplicate_rate=1)
    ica.copied(ica.file("/a.txt"))
    assert told(ica) == [status for status in EVERY_CHANGE for _ in range(2)]
    ica.sent.clear()
    ica.set(notification_duplicate_rate=0, notification_delay_seconds="0:60")
    ica.copied(ica.file("/b.txt"))
    ica.clock.forward(60)
    assert sorted(told(ica)) == sorted(EVERY_CHANGE)
    assert told(ica) != EVERY_CHANGE
    ica.sent.clear()
    ica.set(notification_loss_rate=1)
    ica.copied(ica.file("/c.txt"))
    assert told(ica) == []


def test_notifications_go_out_without_anyone_asking(ica: Ica) -> None:
    """A running server delivers them by itself."""
    subscribe(ica)
    ica.copied(ica.file("/x.txt"))
    with served(application(ica.sim), "on"):
        until(lambda: len(ica.sent) == len(EVERY_CHANGE))


# The simulator's own interface


def test_a_manifest_is_stocked_once(ica: Ica) -> None:
    """Sources exist, folders among them get a few files, destinations stay empty."""
    manifest = {
        "icav2://11111111-2222-4333-8444-555555555555/a b/x%20.gz": ["icav2://target/out/", "icav2://other/"],
        "icav2://plain name/folder/": ["icav2://target/out/"],
    }
    for _ in range(2):
        totals = ica.admin("POST", "/seed", json={"manifest": manifest, "file_size": 5})
        assert totals == {"projects": 6, "files": 4, "folders": 4, "jobs": 0}
    (file,) = ica.admin("GET", "/files?project=11111111-2222-4333-8444-555555555555")
    assert (file["path"], file["status"], file["size"]) == ("/a b/x%20.gz", "AVAILABLE", 5)
    assert len(ica.admin("GET", "/files?project=plain%20name&prefix=/folder/")) == 3
    assert ica.admin("GET", "/files?project=target&folders=true") == []
    assert "icav2" in ica.admin("POST", "/seed", json={"manifest": {"s3://x/y": []}})["error"]


def test_files_and_scripts_can_be_set_and_jobs_looked_at(ica: Ica) -> None:
    """All that a test in another process needs."""
    made = ica.admin("POST", "/files", json={"project": "source", "path": "/x.txt", "size": 3})
    ica.admin("POST", "/files", json={"project": "destination", "path": "/run/x.txt", "status": "PARTIAL"})
    ica.admin("POST", "/files:delete", json={"project": "destination", "path": "/run/x.txt"})
    outcomes = ["FAILED", {"status": "SUCCEEDED", "seconds": 60}]
    ica.admin("POST", "/script", json={"project": "destination", "folder": "/run", "outcomes": outcomes})
    source = ica.world.at(ica.source, "/x.txt")
    assert source
    assert source.id == made["id"]
    assert [ica.copied(source), ica.copied(source)] == ["FAILED", "WAITING_FOR_RESOURCES"]
    first, second = ica.admin("GET", "/jobs")
    assert (first["folder"], first["sources"], first["status"]) == ("/run/", ["/x.txt"], "FAILED")
    assert [step["status"] for step in second["history"]] == ["INITIALIZED", "WAITING_FOR_RESOURCES"]


def test_keys_and_values_that_mean_nothing_are_refused(ica: Ica) -> None:
    """A misspelt switch must not make a test pass."""
    for path, body in (
        ("/switches", {"failure_rte": 1}),
        ("/switches", {"failure_rate": "often"}),
        ("/switches", {"job_seconds": "5:1"}),
        ("/switches", {"leftovers": "maybe"}),
        ("/faults", {"kind": "earthquake"}),
        ("/faults", {"kind": "html", "path": "("}),
        ("/faults", {}),
        ("/script", {"project": "source", "folder": "/", "outcomes": ["DONE"]}),
        ("/files:delete", {"project": "source", "path": "/nothing"}),
    ):
        assert ica.admin("POST", path, json=body).keys() == {"error"}, (path, body)
    assert ica.admin("GET", "/files?projct=source").keys() == {"error"}
    assert ica.admin("POST", "/switches", json={"failure_rate": 1, "job_seconds": "1:2"})["failure_rate"] == 1


def test_the_command_prints_its_address_and_ends_cleanly(tmp_path: Path) -> None:
    """One line when it can be called, exit code 0 when it is asked to end."""
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"icav2://from/x.txt": ["icav2://to/out/"]}))
    command = [sys.executable, "-m", "local.simulator", "--token", "t", "--manifest", str(manifest)]
    with subprocess.Popen(
        [*command, "--job-seconds", "1:2", "--skip-counts-partial", "false"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        base = process.stdout.readline().strip()
        headers = {"Authorization": "Bearer t", "Accept": V3}
        names = urllib3.request("GET", f"{base}/api/projects", headers=headers).json()["items"]
        assert [project["name"] for project in names] == ["from", "to"]
        process.send_signal(signal.SIGTERM)
        assert (process.stdout.read(), process.wait(5)) == ("", 0)
