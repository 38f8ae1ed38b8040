"""Our client of ICA against the simulated one, over HTTP: what it finds, makes and repeats, and what it never does."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import subprocess
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier, Event
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4

import pytest
from starlette.types import Receive, Scope, Send

import icav2_copy_batch
from icav2_copy_batch.adapters.ica import client as ica_module
from icav2_copy_batch.adapters.ica.client import (
    FOLDER_PAUSES,
    MAX_PACED_TRIES,
    MAX_QUERY_BYTES,
    MAX_TRIES,
    MAX_WAIT_SECONDS,
    REMEMBERED_SECONDS,
    TRIES_OF_A_LONG_URL,
    IcaClient,
)
from icav2_copy_batch.adapters.ica.libica_light import ApiClient
from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.domain.commands import CopyOptions
from icav2_copy_batch.domain.ica import (
    SECONDS_TO_START,
    CopyBatchItem,
    IcaAnswerLost,
    IcaData,
    IcaError,
    IcaJob,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
    StartedCopyBatch,
)
from icav2_copy_batch.domain.job import timestamp
from local.simulator.model import ActionOnExist, BatchItem, BatchRequest, DataStatus, Project
from tests import doubles
from tests.doubles import in_turn
from tests.doubles.simulated_ica import (
    COPY_BATCH,
    CREATE_FOLDER,
    DATA,
    DELETE,
    ONE_DATUM,
    TOKEN,
    SimulatedIca,
    Tokens,
    until,
)

HALF_A_SECOND = timedelta(seconds=0.5)
"""HTTP tells the time in whole seconds, cut off: it is taken for the middle of its second."""
SPECIAL_NAMES = [
    "a b",
    "#1",
    "what?",
    "100%",
    "%41",
    "a+b",
    "é",
    "日本",
    "a&b=c;d",
    "'\"",
    "~-_.",
    "[x]{y}",
    "back\\slash",
]
Form = Literal["NFC", "NFD"]
FORMS: list[Form] = ["NFC", "NFD"]
SEVERAL = ["honoured", "first_only", "last_only", "refused"]
"""What ICA may do with more than one ``filePath``."""
WORLDS: dict[str, dict[str, Any]] = {
    **{f"several paths {each}": {"several_file_paths": each} for each in SEVERAL},
    "FULL finds no folders": {"full_matches_folders": False},
    "404 for an absent folder": {"absent_folder": "404"},
    "short pages": {"page_cap": 3},
    "all of these": {
        "several_file_paths": "last_only",
        "full_matches_folders": False,
        "absent_folder": "404",
        "page_cap": 3,
        "several_ids": "first_only",
    },
}
"""Answers to what is not known of how ICA looks for paths."""


# --- projects --------------------------------------------------------------------------------------------------------


def test_a_project_id_is_taken_as_it_is(ica: SimulatedIca) -> None:
    project_id = str(uuid4())
    assert ica.client().project_id(project_id.upper()) == project_id
    assert ica.sim.calls.total() == 0


def test_a_project_is_found_by_its_exact_name_among_all_that_contain_it(ica: SimulatedIca) -> None:
    """More than a page of them, the right one last."""
    for number in range(1001):
        ica.world.add_project(f"my run {number}")
    ica.world.add_project("My Run")
    wanted = ica.world.add_project("my run")
    assert ica.client().project_id("my run") == wanted.id


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_a_project_may_have_any_name(ica: SimulatedIca, name: str) -> None:
    wanted = ica.world.add_project(f"project {name}")
    assert ica.client().project_id(f"project {name}") == wanted.id


@pytest.mark.parametrize("name", ["sourc", "ource", "Source", "source ", "nowhere"])
def test_a_project_of_about_that_name_is_not_the_one(ica: SimulatedIca, name: str) -> None:
    with pytest.raises(IcaRefused, match=f"no project named '{name}'"):
        ica.client().project_id(name)


def test_a_name_that_two_projects_have_is_refused(ica: SimulatedIca) -> None:
    twin = Project(10_000, str(uuid4()), "source", ica.clock())
    ica.world.projects[twin.id] = twin
    with pytest.raises(IcaRefused, match="2 projects are named 'source'"):
        ica.client().project_id("source")


def test_a_project_that_a_search_does_not_find_is_found_in_the_list_of_all(ica: SimulatedIca) -> None:
    ica.set(project_search="nothing")
    assert ica.client().project_id("source") == ica.source
    with pytest.raises(IcaRefused, match="no project named 'nowhere'"):
        ica.client().project_id("nowhere")


@pytest.mark.parametrize("given", ["NFC", "NFD"])
def test_a_project_is_found_by_its_name_in_either_unicode_form(ica: SimulatedIca, given: Form) -> None:
    wanted = ica.world.add_project(unicodedata.normalize("NFC", "étude"))
    assert ica.client().project_id(unicodedata.normalize(given, "étude")) == wanted.id


def test_a_project_is_remembered_by_its_name_for_a_while(ica: SimulatedIca) -> None:
    client = ica.client()
    for _ in range(3):
        assert client.project_id("source") == ica.source
    assert ica.calls("GET", "/api/projects") == 1
    ica.clock.forward(301)
    del ica.world.projects[ica.source]
    moved = ica.world.add_project("source", str(uuid4()))
    assert client.project_id("source") == moved.id


# --- finding data ----------------------------------------------------------------------------------------------------


def test_a_path_is_found_in_its_own_case_and_not_as_a_prefix(ica: SimulatedIca) -> None:
    wanted = ica.file("/run/a.txt", size=7)
    for other in ("/run/A.txt", "/RUN/a.txt", "/run/a.txt.md5", "/run/a.txt2/x"):
        ica.file(other)
    created = timestamp(ica.clock() - HALF_A_SECOND)
    assert ica.client().find(ica.source, ["/run/a.txt"]) == {
        "/run/a.txt": IcaData(wanted.id, "/run/a.txt", "AVAILABLE", 7, wanted.etag, created)
    }


@pytest.mark.parametrize("path", ["/run/A.txt", "/run/a.tx", "/run/a.txt/", "/run/b.txt", "/nowhere/a.txt"])
def test_a_path_where_nothing_is_is_left_out(ica: SimulatedIca, path: str) -> None:
    ica.file("/run/a.txt")
    assert ica.client().find(ica.source, [path]) == {}


def test_in_a_project_that_is_not_there_nothing_is_found_but_a_refusal(ica: SimulatedIca) -> None:
    with pytest.raises(IcaRefused, match="404"):
        ica.client().find(str(uuid4()), ["/a"])


def test_files_and_folders_are_found_together(ica: SimulatedIca) -> None:
    ica.file("/run/sub/a.txt")
    ica.file("/run/sub2")
    found = ica.client().find(ica.source, ["/run/", "/run/sub/", "/run/sub/a.txt", "/run/sub", "/run/sub2"])
    assert found.keys() == {"/run/", "/run/sub/", "/run/sub/a.txt", "/run/sub2"}
    assert found["/run/sub/"].size is None


@pytest.mark.parametrize("doomed", [0, 1])
def test_of_two_data_with_one_path_the_one_that_is_available_is_found(ica: SimulatedIca, doomed: int) -> None:
    """ICA shows what is being deleted beside what took its place."""
    ica.set(create_folder_on_existing="duplicate")
    both = [ica.made_folder("run"), ica.made_folder("run")]
    both[doomed].status = DataStatus.DELETING
    assert ica.client().find(ica.destination, ["/run/"])["/run/"].data_id == both[1 - doomed].id


@pytest.mark.parametrize("status", ["PARTIAL", "ARCHIVING", "ARCHIVED", "UNARCHIVING", "DELETING"])
def test_data_in_any_status_are_found(ica: SimulatedIca, status: str) -> None:
    ica.file("/run/a.txt", status=DataStatus(status))
    assert ica.client().find(ica.source, ["/run/a.txt"])["/run/a.txt"].status == status


@pytest.mark.parametrize("answer", SEVERAL)
@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_names_with_special_characters_are_found(ica: SimulatedIca, name: str, answer: str) -> None:
    ica.set(several_file_paths=answer)
    paths = [f"/run {name}/{name}", f"/run {name}/{name}.txt", f"/run {name}/"]
    for path in paths[:2]:
        ica.file(path)
    client = ica.client()
    assert client.find(ica.source, paths).keys() == set(paths)
    assert {data.path for data in client.list_folder(ica.source, paths[2])} == set(paths[:2])


def many_paths(count: int, folders: int = 10) -> list[str]:
    """Paths as long as real ones."""
    return [f"/ilmn-analyses/a run of many samples/Lane_{n % folders}/sample_{n:05d}_R1.fastq.gz" for n in range(count)]


@pytest.mark.parametrize("folder", ["/ilmn-analyses/a run/Lane_1/", "/é 日本/#?%+&=;/", f"/{'a/' * 40}"])
def test_many_paths_are_asked_for_in_portions_that_fit_into_a_url(ica: SimulatedIca, folder: str) -> None:
    paths = [f"{folder}sample_{number:05d}_R1.fastq.gz" for number in range(1000)]
    for path in paths:
        ica.file(path)
    assert ica.client().find(ica.source, paths).keys() == set(paths)
    assert ica.sim.answers["414"] == 0, "the simulator takes 8 KB"
    encoded = sum(len("&filePath=") + len(quote(path)) for path in paths)
    assert ica.calls("GET", DATA) <= math.ceil(encoded / (MAX_QUERY_BYTES - 300))


def test_one_long_path_makes_a_portion_of_its_own(ica: SimulatedIca) -> None:
    """At most 4,096 characters, of three times as many bytes in the URL, or nine times."""
    ica.set(url_limit=0)
    paths = ["/run/a.txt", f"/run/{'%' * 4000}", "/run/b.txt"]
    for path in paths:
        ica.file(path)
    assert ica.client().find(ica.source, paths).keys() == set(paths)


@pytest.mark.parametrize("url_limit", [600, 1500, 4000])
def test_portions_are_halved_for_a_server_that_takes_less(ica: SimulatedIca, url_limit: int) -> None:
    ica.set(url_limit=url_limit)
    paths = many_paths(100)
    for path in paths:
        ica.file(path)
    assert ica.client().find(ica.source, paths).keys() == set(paths)
    assert ica.sim.answers["414"] > 0


@pytest.mark.parametrize("answer", SEVERAL[1:])
def test_all_is_found_although_ica_takes_one_path_at_a_time(ica: SimulatedIca, answer: str) -> None:
    ica.set(several_file_paths=answer)
    paths = many_paths(60, folders=3)
    for path in paths:
        ica.file(path)
    missing = f"{paths[0]}.md5"
    assert ica.client().find(ica.source, [*paths, missing]).keys() == set(paths)


def test_a_folder_of_many_sources_is_listed_and_few_of_many_folders_are_asked_for_together(ica: SimulatedIca) -> None:
    many, few = many_paths(900, folders=1), [f"/few/{number}/a.txt" for number in range(40)]
    for path in (*many, *few):
        ica.file(path)
    assert ica.client().find(ica.source, [*many, *few]).keys() == {*many, *few}
    assert ica.calls("GET", DATA) == 2


@pytest.mark.parametrize("world", WORLDS)
def test_files_and_folders_are_found_however_ica_looks_for_them(ica: SimulatedIca, world: str) -> None:
    there = [*(f"/run/{n}/{m}.txt" for n in range(4) for m in range(n)), "/run/3/deep/", "/run/", "/top.txt"]
    for path in there:
        ica.world.add_folder(ica.source, path) if path.endswith("/") else ica.file(path)
    absent = ["/run/3/0.txt/", "/run/3/9.txt", "/none/1.txt", "/none/deeper/2.txt", "/run/none/", "/Run/", "/run/0"]
    ica.set(**WORLDS[world])
    client = ica.client()
    for wanted in ([*there, *absent], [*absent, *there], there[:1], absent[:1]):
        assert client.find(ica.source, wanted).keys() == set(wanted) & set(there)


@pytest.mark.parametrize("absent_folder", ["empty", "404"])
def test_a_project_that_is_not_there_is_no_empty_one(ica: SimulatedIca, absent_folder: str) -> None:
    ica.set(absent_folder=absent_folder)
    client = ica.client()
    for look in (client.find, client.ensure_folders):
        with pytest.raises(IcaRefused, match="404"):
            look(str(uuid4()), ["/a/"])
    with pytest.raises(IcaRefused, match="404"):
        client.list_folder(str(uuid4()), "/a/")
    assert client.list_folder(ica.source, "/a/") == []


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["as_given", "NFC", "NFD"])
def test_data_are_found_in_whichever_unicode_form_ica_has_stored_their_names(
    ica: SimulatedIca, stored: str, asked: Form
) -> None:
    ica.set(unicode_form=stored)
    given = [unicodedata.normalize("NFC", path) for path in ("/é/ö.txt", "/é/a.txt", "/ñ/ü.txt", "/é/å/")]
    for path in given:
        ica.world.add_folder(ica.source, path) if path.endswith("/") else ica.file(path)
    paths = [unicodedata.normalize(asked, path) for path in given]
    client = ica.client()
    found = client.find(ica.source, paths)
    assert [data.path for data in found.values()] == list(found) == paths
    assert [client.read_data(ica.source, data.data_id) is not None for data in found.values()] == [True] * 4
    folder = unicodedata.normalize(asked, "/é/")
    below = {folder + unicodedata.normalize("NFC", name) for name in ("ö.txt", "a.txt")}
    assert {data.path for data in client.list_tree(ica.source, folder)} == below


def test_a_name_that_is_stored_in_neither_unicode_form_is_found(ica: SimulatedIca) -> None:
    """One of its letters is composed, and one is not."""
    stored = {ica.file(f"/run/ö a\N{COMBINING DIAERESIS} {number}.csv").id for number in (1, 2)}
    wanted = [f"/run/ö ä {number}.csv" for number in (1, 2)]
    client = ica.client()
    assert {data.data_id for data in client.find(ica.source, wanted).values()} == stored
    assert {client.find(ica.source, [path])[path].data_id for path in wanted} == stored


def test_of_two_names_in_different_unicode_forms_the_one_that_was_asked_for_is_found(ica: SimulatedIca) -> None:
    files = {path: ica.file(path) for path in (unicodedata.normalize(form, "/é.txt") for form in FORMS)}
    assert len(files) == 2
    found = ica.client().find(ica.source, files)
    assert {path: data.data_id for path, data in found.items()} == {path: file.id for path, file in files.items()}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        *((status, "html") for status in (400, 403, 404, 413, 414, 431, 502)),
        *((it, "problem") for it in (400, 413, 414, 431)),
    ],
)
def test_a_url_that_is_too_long_for_somebody_on_the_way_is_made_shorter_and_stays_so(
    ica: SimulatedIca, status: int, answer: str
) -> None:
    ica.set(url_limit=1500, url_limit_status=status, url_limit_answer=answer)
    paths = [f"/run/{number}/{'x' * 90}" for number in range(60)]
    for path in paths:
        ica.file(path)
    client = ica.client()
    assert client.find(ica.source, paths).keys() == set(paths)
    assert 0 < ica.sim.answers[str(status)] <= 2 * 3, "7,000 bytes, 3,500 and 1,750"
    ica.sim.answers.clear()
    assert client.find(ica.source, paths).keys() == set(paths)
    assert ica.sim.answers.keys() == {"200"}
    assert client.find_by_ids(ica.source, [data.data_id for data in client.find(ica.source, paths).values()])
    assert ica.sim.answers.keys() == {"200"}


def test_trouble_that_has_nothing_to_do_with_the_length_of_a_url_is_not_answered_by_shorter_ones(
    ica: SimulatedIca,
) -> None:
    ica.fault("html", status=502)
    with pytest.raises(IcaUnavailable):
        ica.client().find(ica.source, many_paths(40))
    assert ica.sim.calls.total() == TRIES_OF_A_LONG_URL + MAX_TRIES


@pytest.mark.parametrize("count", [1, 5])
def test_a_look_for_a_few_does_not_ask_for_a_thousand_rows(
    ica: SimulatedIca, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    call = IcaClient._call

    def noted(self: IcaClient, operation: Callable[..., Any], **parameters: Any) -> dict[str, Any]:
        sizes.append(int(parameters["page_size"]))
        return call(self, operation, **parameters)

    monkeypatch.setattr(IcaClient, "_call", noted)
    ica.client().find(ica.source, [f"/{number}/a" for number in range(count)])
    assert sizes
    assert max(sizes) < 50


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten data to a page, and about five paths to a URL."""
    monkeypatch.setattr(ica_module, "PAGE_SIZE", "10")
    monkeypatch.setattr(ica_module, "MAX_QUERY_BYTES", 500)


@pytest.mark.usefixtures("small_pages")
def test_of_a_folder_with_very_many_other_files_no_more_is_listed_than_asking_would_take(ica: SimulatedIca) -> None:
    paths = many_paths(15, folders=1)
    for path in (*many_paths(115, folders=1), "/one", "/two"):
        ica.file(path.replace("sample_000", "sample_zzz") if path in paths else path)
    wanted = [path.replace("sample_000", "sample_zzz") for path in paths]
    client = ica.client()
    assert len(client.find(ica.source, ["/one", "/two"])) == 2, "ICA takes several paths"
    ica.sim.calls.clear()
    assert client.find(ica.source, wanted).keys() == set(wanted)
    asking = math.ceil(sum(len("&filePath=") + len(quote(path)) for path in wanted) / 500) + 1
    assert ica.calls("GET", DATA) <= 2 * asking < 13


@pytest.mark.usefixtures("small_pages")
def test_what_a_folder_does_not_list_is_asked_for_by_its_path(
    ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a linked folder does not."""
    paths = many_paths(15, folders=1)
    for path in paths:
        ica.file(path)
    ask = IcaClient._list_data

    def unlisted(self: IcaClient, project_id: str, **parameters: Any) -> Iterable[IcaData]:
        return [] if "parent_folder_path" in parameters else ask(self, project_id, **parameters)

    monkeypatch.setattr(IcaClient, "_list_data", unlisted)
    assert ica.client().find(ica.source, paths).keys() == set(paths)


def test_sources_and_folders_are_remembered_for_a_while(ica: SimulatedIca) -> None:
    ica.file("/a")
    client = ica.client()
    for _ in range(2):
        assert client.find_sources(ica.source, ["/a"]).keys() == {"/a"}
        assert client.ensure_folders(ica.destination, ["/to/"]).keys() == {"/to/"}
    calls = ica.sim.calls.total()
    client.find_sources(ica.source, ["/a"])
    client.ensure_folders(ica.destination, ["/to/"])
    assert ica.sim.calls.total() == calls
    ica.clock.forward(REMEMBERED_SECONDS + 1)
    client.find_sources(ica.source, ["/a"])
    assert ica.sim.calls.total() == calls + 1


def test_what_is_not_available_is_not_remembered(ica: SimulatedIca) -> None:
    archived = ica.file("/a", status=DataStatus.ARCHIVED)
    client = ica.client()
    assert client.find_sources(ica.source, ["/a", "/b"])["/a"].status == "ARCHIVED"
    archived.status = DataStatus.AVAILABLE
    assert client.find_sources(ica.source, ["/a", "/b"])["/a"].status == "AVAILABLE"


def known(folder_id: str | IcaError | None) -> str | None:
    assert not isinstance(folder_id, IcaError)
    return folder_id


@pytest.mark.parametrize("gone", ["folder", "source"])
def test_what_was_remembered_and_is_gone_is_looked_up_anew_and_no_reason_to_fail(ica: SimulatedIca, gone: str) -> None:
    ica.file("/a")
    client = ica.client()

    def start() -> object:
        data_ids = [data.data_id for data in client.find_sources(ica.source, ["/a"]).values()]
        folder_id = known(client.ensure_folders(ica.destination, ["/to/"])["/to/"])
        return client.start_copy_batch(ica.destination, folder_id, data_ids, CopyOptions())

    assert start()
    doomed = ica.world.at(ica.destination, "/to/") if gone == "folder" else ica.world.at(ica.source, "/a")
    assert doomed
    ica.world.discard(doomed)
    ica.file("/a")
    with pytest.raises(IcaUnavailable, match="looked up anew"):
        start()
    assert start()


def test_all_that_was_remembered_of_a_folder_that_is_gone_is_looked_up_anew(ica: SimulatedIca) -> None:
    """A launch looks up for several jobs together, and starts one after the other."""
    client, folders = ica.client(), ["/to/1/", "/to/2/"]
    data_ids = [client.find_sources(ica.source, [ica.file("/a").path])["/a"].data_id]

    def start_all() -> list[object]:
        started: list[object] = []
        for folder_id in map(known, client.ensure_folders(ica.destination, folders).values()):
            try:
                started.append(client.start_copy_batch(ica.destination, folder_id, data_ids, CopyOptions()))
            except IcaUnavailable as error:
                started.append(error)
        return started

    client.ensure_folders(ica.destination, folders)
    ica.world.discard(ica.folder("/to/"))
    assert [type(each) for each in start_all()] == [IcaUnavailable, IcaUnavailable]
    assert [type(each) for each in start_all()] == [StartedCopyBatch, StartedCopyBatch]


def test_one_job_that_cannot_be_read_keeps_nobody_from_the_others(ica: SimulatedIca) -> None:
    old, *others = stock_jobs(ica, 1010)
    ica.fault("status", "GET", f"/jobs/{old}", status=500)
    assert ica.client().jobs([old, *others[-3:]]).keys() == set(others[-3:])


def test_one_job_that_cannot_be_read_keeps_nobody_from_those_that_are_asked_for_after_it(ica: SimulatedIca) -> None:
    ica.set(list_jobs="fails")
    first, *others = sorted(stock_jobs(ica, 5))
    ica.fault("status", "GET", f"/jobs/{first}", status=500)
    assert ica.client(spread=in_turn).jobs([first, *others]).keys() == set(others)


def test_a_refusal_of_what_was_just_looked_up_is_final(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "dataCopyBatch", status=403)
    client = ica.client()
    data_ids = [client.find_sources(ica.source, [ica.file("/a").path])["/a"].data_id]
    with pytest.raises(IcaRefused, match="403"):
        client.start_copy_batch(ica.destination, None, data_ids, CopyOptions())


def test_a_folder_is_listed_to_the_end_of_its_pages(ica: SimulatedIca) -> None:
    paths = {f"/run/{number:05d}" for number in range(2001)}
    for path in paths:
        ica.file(path)
    assert {data.path for data in ica.client().list_folder(ica.source, "/run/")} == paths
    assert ica.calls("GET", DATA) == 3


@pytest.mark.parametrize("end", ["empty", "null"])
def test_the_last_page_is_known_in_both_of_its_spellings(ica: SimulatedIca, end: str) -> None:
    ica.set(end_of_pages=end)
    ica.file("/run/a.txt")
    assert ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1


def test_a_folder_is_listed_without_what_lies_deeper_or_beside_it(ica: SimulatedIca) -> None:
    for path in ("/run/a.txt", "/run/sub/b.txt", "/Run/c.txt", "/run2/d.txt", "/e.txt"):
        ica.file(path)
    client = ica.client()
    assert {data.path for data in client.list_folder(ica.source, "/run/")} == {"/run/a.txt", "/run/sub/"}
    assert {data.path for data in client.list_folder(ica.source, "/")} == {"/run/", "/Run/", "/run2/", "/e.txt"}
    assert client.list_folder(ica.source, "/nowhere/") == []


class Pages:
    """ICA's answers to the calls for pages, one after the other; the last of them for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *pages: dict[str, Any]) -> None:
        self.asked = 0

        def answer(*_: object, **__: object) -> dict[str, Any]:
            self.asked += 1
            return pages[min(self.asked, len(pages)) - 1]

        monkeypatch.setattr(IcaClient, "_call", answer)


def test_an_empty_page_is_not_the_last(ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"data": {"id": "fil.1", "details": {"path": "/run/a", "status": "AVAILABLE"}}}
    Pages(
        monkeypatch,
        {"items": [], "nextPageToken": "1"},
        {"items": [], "nextPageToken": "2"},
        {"items": [row], "nextPageToken": "3"},
        {"items": []},
    )
    assert [data.path for data in ica.client().list_folder(ica.source, "/run/")] == ["/run/a"]


def test_pages_that_lead_back_to_each_other_are_not_read_for_ever(
    ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(monkeypatch, {"items": [], "nextPageToken": "1"}, {"items": [], "nextPageToken": "1"})
    with pytest.raises(IcaUnavailable, match="leads back"):
        ica.client().list_folder(ica.source, "/run/")
    assert pages.asked == 2


def test_a_list_that_has_no_end_ends_with_the_time(ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(range(1_000_000))

    def answer(*_: object, **__: object) -> dict[str, Any]:
        ica.clock.forward(1)
        return {"items": [], "nextPageToken": str(next(tokens))}

    monkeypatch.setattr(IcaClient, "_call", answer)
    with pytest.raises(IcaUnavailable, match="too little time"):
        ica.client(seconds=100).list_folder(ica.source, "/run/")
    assert next(tokens) <= 100


def test_a_tree_is_listed_with_all_its_files_and_no_others(ica: SimulatedIca) -> None:
    paths = {"/run/a.txt", "/run/sub/b.txt", "/run/sub/deeper/c.txt", *(f"/run/many/{n}" for n in range(1000))}
    for path in (*paths, "/Run/d.txt", "/run2/e.txt", "/other/run/f.txt"):
        ica.file(path)
    assert {data.path for data in ica.client().list_tree(ica.source, "/run/")} == paths


def test_a_tree_is_listed_a_page_at_a_time(ica: SimulatedIca) -> None:
    """Each page is asked for when it is wanted."""
    paths = [f"/run/{n % 7}/{n}" for n in range(2001)]
    for path in paths:
        ica.file(path)
    pages = ica.client().tree_pages(ica.source, "/run/")
    assert ica.calls("GET", DATA) == 0
    first = next(pages)
    assert ica.calls("GET", DATA) == 1
    assert len(first) == 1000
    assert sorted(data.path for page in (first, *pages) for data in page) == sorted(paths)
    assert ica.calls("GET", DATA) == 3


# --- data by their ids -----------------------------------------------------------------------------------------------


def test_data_are_found_by_their_ids_wherever_they_lie(ica: SimulatedIca) -> None:
    """Many in one call; what is gone, or in another project, is left out."""
    files = [ica.file(f"/run/{number}") for number in range(300)]
    folder, elsewhere = ica.world.at(ica.source, "/run/"), ica.file("/a", ica.destination)
    assert folder
    ica.world.discard(files[0])
    client = ica.client()
    found = client.find_by_ids(ica.source, [*(it.id for it in files), folder.id, elsewhere.id])
    assert {data_id: data.path for data_id, data in found.items()} == {it.id: it.path for it in (*files[1:], folder)}
    assert found[files[1].id] == client.find(ica.source, ["/run/1"])["/run/1"]
    assert ica.calls("GET", ONE_DATUM) == 0
    assert ica.sim.answers["414"] == 0


def test_no_ids_take_no_call(ica: SimulatedIca) -> None:
    assert ica.client().find_by_ids(ica.source, []) == {}
    assert ica.sim.calls.total() == 0


def test_data_are_found_by_their_ids_although_ica_looks_at_one_of_them_alone(ica: SimulatedIca) -> None:
    ica.set(several_ids="first_only")
    ids = [ica.file(f"/run/{number}").id for number in range(5)]
    assert ica.client().find_by_ids(ica.source, [*ids, ica.file("/a", ica.destination).id]).keys() == set(ids)


def test_data_are_read_by_their_id_with_the_time_when_they_were_created(ica: SimulatedIca) -> None:
    file, folder = ica.file("/run/a.txt", size=7), ica.folder("/to/")
    created = timestamp(ica.clock() - HALF_A_SECOND)
    ica.clock.forward(100)
    client = ica.client()
    assert client.read_data(ica.source, file.id) == IcaData(file.id, "/run/a.txt", "AVAILABLE", 7, file.etag, created)
    assert client.read_data(ica.destination, folder.id) == IcaData(folder.id, "/to/", "AVAILABLE", created_at=created)
    assert client.read_data(ica.destination, file.id) is None
    ica.world.delete(ica.source, file.id)
    data = client.read_data(ica.source, file.id)
    assert data
    assert data.status == "DELETING"


def test_data_that_may_not_be_read_are_not_taken_for_gone(ica: SimulatedIca) -> None:
    ica.fault("status", "GET", "/data/", status=403)
    with pytest.raises(IcaRefused, match="403"):
        ica.client().read_data(ica.source, ica.file("/a").id)


# --- making folders --------------------------------------------------------------------------------------------------

ON_EXISTING = ["conflict", "duplicate", "return_existing"]


@pytest.mark.parametrize("on_existing", ON_EXISTING)
def test_folders_and_their_parents_are_made_where_they_are_missing(ica: SimulatedIca, on_existing: str) -> None:
    ica.set(create_folder_on_existing=on_existing)
    known = ica.folder("/run/")
    made = ica.client().ensure_folders(ica.destination, ["/run/a/b/", "/", "/run/", "/run/a/c/", "/run/a/b/"])
    assert ica.folders() == ["/run/", "/run/a/", "/run/a/b/", "/run/a/c/"]
    ids = {path: ica.folder(path).id for path in ("/run/a/b/", "/run/", "/run/a/c/")}
    assert made == {**ids, "/": None}
    assert made["/run/"] == known.id
    assert ica.calls("POST", CREATE_FOLDER) == 3


def test_folders_that_are_there_are_not_made_again(ica: SimulatedIca) -> None:
    folder = ica.folder("/run/a/")
    assert ica.client().ensure_folders(ica.destination, ["/run/a/", "/"]) == {"/run/a/": folder.id, "/": None}
    assert ica.calls("POST", CREATE_FOLDER) == 0


def test_a_folder_in_another_case_is_another_folder(ica: SimulatedIca) -> None:
    ica.folder("/Run/")
    ica.client().ensure_folders(ica.destination, ["/run/"])
    assert ica.folders() == ["/Run/", "/run/"]


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_folders_may_have_any_name(ica: SimulatedIca, name: str) -> None:
    made = ica.client().ensure_folders(ica.destination, [f"/{name}/in {name}/"])
    assert ica.folders() == [f"/{name}/", f"/{name}/in {name}/"]
    assert made == {f"/{name}/in {name}/": ica.folder(f"/{name}/in {name}/").id}


def test_no_folders_take_no_call(ica: SimulatedIca) -> None:
    assert ica.client().ensure_folders(ica.destination, ["/"]) == {"/": None}
    assert ica.client().ensure_folders(ica.destination, []) == {}
    assert ica.sim.calls.total() == 0


@dataclass
class MeetingTokens(Tokens):
    """Lets two clients make their third call, which is the first after a look, at the same moment."""

    meeting: Barrier = field(default_factory=lambda: Barrier(2))
    calls: int = 0

    def token(self, *, fresh: bool = False) -> str:
        self.calls += 1
        if self.calls == 3:
            self.meeting.wait(5)
        return super().token(fresh=fresh)


@pytest.mark.parametrize("on_existing", ON_EXISTING)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["/run/"], ["/run/"]),
        (["/run/a/b/"], ["/run/a/b/"]),
        (["/run/a/"], ["/run/b/"]),
        (["/run/a/x/", "/run/a/y/"], ["/run/a/y/", "/run/b/"]),
        (["/run/"], ["/run/a/"]),
    ],
    ids="+".join,
)
def test_two_who_make_folders_at_once_end_with_one_of_each_path(
    ica: SimulatedIca, first: list[str], second: list[str], on_existing: str
) -> None:
    """Both have looked and found nothing; then both create."""
    ica.set(create_folder_on_existing=on_existing, create_folder_seconds=0.03)
    meeting = Barrier(2)

    def ensure(folders: list[str]) -> dict[str, str | IcaError | None]:
        client = ica.client(tokens=MeetingTokens(meeting=meeting), sleep=lambda _: until(all_are_done))
        return client.ensure_folders(ica.destination, folders)

    def all_are_done() -> bool:
        return all(reply.answer for reply in list(ica.sim.replies.values()))

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(ensure, (first, second)))
    assert ica.folders() == sorted({path for folder in (*first, *second) for path in lineage(folder)})
    assert [*made] == [{path: ica.folder(path).id for path in folders} for folders in (first, second)]


def lineage(folder: str) -> Iterable[str]:
    names = folder.strip("/").split("/")
    return ["/" + "/".join(names[:depth]) + "/" for depth in range(1, len(names) + 1)]


@pytest.mark.parametrize("deletions", [1, 2, 3])
def test_a_folder_that_was_deleted_is_made_again_whatever_ica_remembers(ica: SimulatedIca, deletions: int) -> None:
    """ICA answers a key that it knows with the folder of then, as if it had just been made."""
    ids = []
    for _ in range(deletions):
        ids.append(ica.client().ensure_folders(ica.destination, ["/run/a/"])["/run/a/"])
        ica.world.discard(ica.folder("/run/"))
    folder_id = ica.client().ensure_folders(ica.destination, ["/run/a/"])["/run/a/"]
    assert folder_id == ica.folder("/run/a/").id
    assert folder_id not in ids
    assert ica.folders() == ["/run/", "/run/a/"]


def test_a_folder_that_another_is_making_is_waited_for(ica: SimulatedIca) -> None:
    finish = ica.begin_folder("run")

    def sleep(seconds: float) -> None:
        if not ica.slept:
            finish()
        ica.sleep(seconds)

    made = ica.client(sleep=sleep).ensure_folders(ica.destination, ["/run/a/"])
    assert made == {"/run/a/": ica.folder("/run/a/").id}
    assert ica.folders() == ["/run/", "/run/a/"]


def test_below_a_folder_that_another_is_making_nothing_is_made(ica: SimulatedIca) -> None:
    """ICA makes missing parents: it would make that folder a second time."""
    ica.set(create_folder_on_existing="duplicate", create_folder_seconds=0.2)
    with ThreadPoolExecutor(1) as pool:
        another = pool.submit(ica.client().ensure_folders, ica.destination, ["/run/"])
        until(lambda: ica.sim.replies)
        ica.set(create_folder_seconds=0)
        client = ica.client(sleep=lambda seconds: another.result() and None)
        made = client.ensure_folders(ica.destination, ["/run/a/"])
    assert ica.folders() == ["/run/", "/run/a/"]
    assert made == {"/run/a/": ica.folder("/run/a/").id}
    assert another.result() == {"/run/": ica.folder("/run/").id}


def test_a_folder_that_has_come_while_it_was_waited_for_is_not_made_again(ica: SimulatedIca) -> None:
    ica.set(create_folder_on_existing="duplicate")
    ica.fault("status", "POST", "createFolder", status=409, count=1)
    finish = ica.begin_folder("run")

    def sleep(seconds: float) -> None:
        if not ica.slept:
            finish()
        ica.sleep(seconds)

    made = ica.client(sleep=sleep).ensure_folders(ica.destination, ["/run/a/"])
    assert ica.folders() == ["/run/", "/run/a/"]
    assert made == {"/run/a/": ica.folder("/run/a/").id}


def trouble_with(made: dict[str, str | IcaError | None], folder: str) -> IcaError:
    trouble = made[folder]
    assert isinstance(trouble, IcaError)
    return trouble


@pytest.mark.parametrize(("seconds", "tries"), [(900, len(FOLDER_PAUSES) + 1), (21, 2)])
def test_a_folder_that_ica_never_makes_is_given_up_after_a_while_and_the_others_are_made(
    ica: SimulatedIca, seconds: float, tries: int
) -> None:
    ica.begin_folder("run")
    made = ica.client(seconds=seconds).ensure_folders(ica.destination, ["/a/b/", "/run/", "/run/below/", "/c/"])
    for folder in ("/run/", "/run/below/"):
        assert isinstance(made[folder], IcaUnavailable)
        assert "/run/ is not there yet" in str(made[folder])
    assert {folder: made[folder] for folder in ("/a/b/", "/c/")} == {
        folder: ica.folder(folder).id for folder in ("/a/b/", "/c/")
    }
    assert ica.folders() == ["/a/", "/a/b/", "/c/"]
    assert ica.sim.answers["409"] == tries
    assert ica.calls("GET", DATA) <= 30
    assert sum(ica.slept) == sum(FOLDER_PAUSES[: tries - 1])


@pytest.mark.parametrize("other", ["/out/run", "/out/Run/", "/OUT/run/"])
def test_a_folder_whose_name_is_taken_is_refused_with_what_is_there(ica: SimulatedIca, other: str) -> None:
    ica.folder("/out/")
    ica.world.add_folder(ica.destination, other) if other.endswith("/") else ica.file(other, ica.destination)
    ica.fault("status", "POST", "createFolder", status=409)
    trouble = trouble_with(ica.client().ensure_folders(ica.destination, ["/out/run/"]), "/out/run/")
    assert isinstance(trouble, IcaRefused)
    assert str(trouble) == f"the folder /out/run/ cannot be created, since {other} is there; ICA answers 409"


def test_a_folder_that_may_not_be_made_is_refused_with_icas_words(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=403, title="ICA_SEC_007", count=1)
    made = ica.client(spread=in_turn).ensure_folders(ica.destination, ["/1/", "/2/"])
    trouble = trouble_with(made, "/1/")
    assert isinstance(trouble, IcaRefused)
    assert "403 ICA_SEC_007 a fault made by the simulator" in str(trouble)
    assert made["/2/"] == ica.folder("/2/").id


def test_an_outage_is_found_out_with_one_folder_and_not_with_each(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=503)
    made = ica.client(spread=in_turn).ensure_folders(ica.destination, [f"/{number}/" for number in range(20)])
    assert {type(each) for each in made.values()} == {IcaUnavailable}
    assert ica.calls("POST", CREATE_FOLDER) == MAX_TRIES


@pytest.mark.parametrize("lag", [1, 5, 60])
def test_one_folder_of_each_path_is_made_although_lists_lag_behind(ica: SimulatedIca, lag: float) -> None:
    """ICA would make another for each new key."""
    ica.set(create_folder_on_existing="duplicate", data_lag_seconds=lag)
    wanted = ["/run/a/", "/run/b/c/"]
    made = ica.client().ensure_folders(ica.destination, wanted)
    assert ica.client().ensure_folders(ica.destination, wanted) == made, "another launch"
    assert ica.folders() == ["/run/", "/run/a/", "/run/b/", "/run/b/c/"]
    assert made == {path: ica.folder(path).id for path in wanted}
    assert ica.slept == []


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["as_given", "NFC", "NFD"])
def test_one_folder_of_each_path_is_made_whatever_unicode_form_ica_stores(
    ica: SimulatedIca, stored: str, asked: Form
) -> None:
    ica.set(create_folder_on_existing="duplicate", unicode_form=stored)
    forms: list[Form] = ["NFC", asked, "NFD", "NFC"]
    for given in forms:
        wanted = [unicodedata.normalize(given, path) for path in ("/é/ö/", "/é/ü/")]
        made = ica.client().ensure_folders(ica.destination, wanted)
        assert list(made) == wanted
        assert len(set(made.values())) == len(set(ica.folders())) - 1 == 2
    assert len(ica.folders()) == 3


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("on_existing", ON_EXISTING)
def test_one_folder_of_each_path_is_made_however_ica_looks_for_them(
    ica: SimulatedIca, world: str, on_existing: str
) -> None:
    for number in range(8):
        ica.folder(f"/other {number}/")
    ica.folder("/there/a/")
    ica.set(create_folder_on_existing=on_existing, **WORLDS[world])
    wanted = ["/there/a/", "/there/b/", "/new/a/b/", "/"]
    made = [ica.client().ensure_folders(ica.destination, wanted) for _ in range(3)]
    assert [folder for folder in ica.folders() if "other" not in folder] == [
        "/new/", "/new/a/", "/new/a/b/", "/there/", "/there/a/", "/there/b/"
    ]  # fmt: skip
    assert made == [{"/": None} | {path: ica.folder(path).id for path in wanted[:3]}] * 3


@dataclass
class ForestallingTokens(Tokens):
    """Has another make a folder after the first two calls, which are a look."""

    make: Callable[[], object] = lambda: None
    calls: int = 0

    def token(self, *, fresh: bool = False) -> str:
        self.calls += 1
        if self.calls == 3:
            self.make()
        return super().token(fresh=fresh)


@pytest.mark.parametrize("several", SEVERAL)
def test_folders_that_are_there_are_not_made_again_however_ica_takes_several_paths(
    ica: SimulatedIca, several: str
) -> None:
    ica.set(several_file_paths=several, create_folder_on_existing="duplicate")
    for path in ("/a/b/c/", "/a/b/d/"):
        ica.folder(path)
    ica.client().ensure_folders(ica.destination, ["/a/b/c/", "/a/b/d/", "/a/e/"])
    assert ica.folders() == ["/a/", "/a/b/", "/a/b/c/", "/a/b/d/", "/a/e/"]


def test_a_conflict_over_a_folder_is_answered_by_a_look_and_not_by_another_try(ica: SimulatedIca) -> None:
    ica.fault("status", "POST", "createFolder", status=409)
    client = ica.client(tokens=ForestallingTokens(make=lambda: ica.folder("/run/")))
    assert client.ensure_folders(ica.destination, ["/run/"]) == {"/run/": ica.folder("/run/").id}
    assert ica.calls("POST", CREATE_FOLDER) == 1
    assert ica.slept == []


def test_a_lost_answer_to_a_new_folder_makes_no_second_one(ica: SimulatedIca) -> None:
    ica.set(create_folder_on_existing="duplicate")
    ica.fault("drop_after", "POST", "createFolder", count=1)
    made = ica.client().ensure_folders(ica.destination, ["/run/"])
    assert ica.folders() == ["/run/"]
    assert made == {"/run/": ica.folder("/run/").id}


def test_a_folder_that_is_being_deleted_is_not_taken_for_one_that_is_there(ica: SimulatedIca) -> None:
    """ICA turns a copy into it away (409)."""
    doomed = ica.folder("/run/")
    ica.world.delete(ica.destination, doomed.id)
    made = ica.client().ensure_folders(ica.destination, ["/run/"])
    ica.clock.forward(10)
    ica.world.settle()
    assert made["/run/"] != doomed.id
    assert ica.folders() == ["/run/"]


# --- incomplete files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [False, True])
def test_the_incomplete_files_of_a_folder_are_found_by_their_status(ica: SimulatedIca, recursive: bool) -> None:
    """In it alone, or in those below it too; and not in one whose name begins like its."""
    for number in range(2000):
        ica.file(f"/run/{number}", ica.destination)
    paths = {"/run/a", "/run/b", "/run/deep/er/c", "/Run/d", "/run2/e", "/f"}
    for path in paths:
        ica.file(path, ica.destination, status=DataStatus.PARTIAL)
    ica.world.delete(ica.destination, ica.file("/run/b", ica.destination).id)
    found = ica.client().incomplete_files(ica.destination, "/run/", recursive)
    expected = {"/run/a": "PARTIAL", "/run/b": "DELETING"} | ({"/run/deep/er/c": "PARTIAL"} if recursive else {})
    assert {data.path: data.status for data in found} == expected
    assert ica.calls("GET", DATA) == 1


def test_the_root_has_incomplete_files_too(ica: SimulatedIca) -> None:
    ica.file("/a", ica.destination, status=DataStatus.PARTIAL)
    ica.file("/b/c", ica.destination, status=DataStatus.PARTIAL)
    client = ica.client()
    assert {data.path for data in client.incomplete_files(ica.destination, "/", recursive=False)} == {"/a"}
    assert {data.path for data in client.incomplete_files(ica.destination, "/", recursive=True)} == {"/a", "/b/c"}


# --- deleting --------------------------------------------------------------------------------------------------------


def stock_leftovers(ica: SimulatedIca) -> list[str]:
    """Three PARTIAL files; the ids of the first two."""
    ids = [ica.file(f"/run/{name}.txt", ica.destination, status=DataStatus.PARTIAL).id for name in "abc"]
    return ids[:2]


def test_files_are_deleted_by_their_ids_and_no_others(ica: SimulatedIca) -> None:
    ids = stock_leftovers(ica)
    ica.client().delete_data(ica.destination, ids)
    ica.clock.forward(10)
    ica.world.settle()
    assert ica.arrived().keys() == {"/run/c.txt"}
    assert ica.sim.calls.total() == 4, "each is read before"


def test_what_ica_has_answered_before_it_may_refuse_later(ica: SimulatedIca) -> None:
    """Several paths in one call: also to a client that has seen them answered."""
    paths = [f"/run {number}/a.txt" for number in range(4)]
    for path in paths:
        ica.file(path)
    client = ica.client()
    for several in ("honoured", "refused"):
        ica.set(several_file_paths=several)
        assert client.find(ica.source, paths).keys() == set(paths)


def test_a_file_that_is_whole_by_now_is_not_deleted(ica: SimulatedIca) -> None:
    """A list that is behind has shown it as PARTIAL."""
    whole = ica.file("/run/a.txt", ica.destination)
    ica.client().delete_data(ica.destination, [whole.id])
    assert ica.arrived() == {"/run/a.txt": "AVAILABLE"}
    assert ica.calls("POST", DELETE) == 0


def test_a_file_that_is_gone_already_is_as_good_as_deleted(ica: SimulatedIca) -> None:
    """Deleted by a call of which the answer was lost: the next one finds nothing."""
    ica.set(delete_seconds=0)
    ids = stock_leftovers(ica)
    ica.fault("drop_after", "POST", ":delete", count=1)
    ica.client().delete_data(ica.destination, ids[:1])
    assert "/run/a.txt" not in ica.arrived()
    assert (ica.calls("POST", DELETE), ica.sim.answers["404"]) == (2, 1)


def test_a_file_that_may_not_be_deleted_is_a_refusal(ica: SimulatedIca) -> None:
    ids = stock_leftovers(ica)
    ica.fault("status", "POST", ":delete", status=403)
    with pytest.raises(IcaRefused, match="403"):
        ica.client().delete_data(ica.destination, ids)


# --- copying ---------------------------------------------------------------------------------------------------------


@dataclass
class Prepared:
    """Two sources and a folder, and the call that copies the ones into the other."""

    ica: SimulatedIca
    sources: list[str]
    folder_id: str

    def start(self, options: CopyOptions | None = None, **client: Any) -> tuple[str, str]:
        options = options or CopyOptions()
        started = self.ica.client(**client).start_copy_batch(
            self.ica.destination, self.folder_id, self.sources, options
        )
        return started.batch_id, started.job_id

    @property
    def posts(self) -> int:
        return self.ica.calls("POST", COPY_BATCH)


@pytest.fixture
def prepared(ica: SimulatedIca) -> Prepared:
    sources = [ica.file("/run/a.txt").id, ica.file("/run/b.txt").id]
    return Prepared(ica, sources, ica.folder("/to/").id)


def test_a_copy_batch_copies_its_sources_into_its_folder(prepared: Prepared) -> None:
    batch_id, job_id = prepared.start()
    (job,) = prepared.ica.world.jobs.values()
    assert (batch_id, job_id) == (job.batch_id, job.id)
    prepared.ica.clock.forward(10)
    assert timeless(prepared.ica.client().jobs([job_id])) == {job_id: said(prepared.ica, job_id, "SUCCEEDED")}
    assert prepared.ica.arrived() == {"/to/a.txt": "AVAILABLE", "/to/b.txt": "AVAILABLE"}


def test_a_copy_batch_without_a_folder_copies_into_the_projects_root(ica: SimulatedIca) -> None:
    source = ica.file("/run/a.txt").id
    ica.client().start_copy_batch(ica.destination, None, [source], CopyOptions())
    ica.clock.forward(10)
    ica.world.settle()
    assert ica.arrived() == {"/a.txt": "AVAILABLE"}


@pytest.mark.parametrize(
    "options",
    [
        CopyOptions(),
        CopyOptions("OVERWRITE", copy_user_tags=False),
        CopyOptions("RENAME", copy_technical_tags=False),
        CopyOptions("SKIP", copy_instrument_info=False),
    ],
    ids=str,
)
def test_a_copy_batch_is_started_with_the_options_of_its_job(prepared: Prepared, options: CopyOptions) -> None:
    prepared.start(options)
    (job,) = prepared.ica.world.jobs.values()
    asked = job.request
    assert options == CopyOptions(
        asked.action_on_exist.value, asked.copy_user_tags, asked.copy_technical_tags, asked.copy_instrument_info
    )


LOST: dict[str, dict[str, Any]] = {
    "dropped after it was carried out": {"kind": "drop_after"},
    "dropped before it was carried out": {"kind": "drop_before"},
    "302": {"kind": "status", "status": 302},
    "408": {"kind": "status", "status": 408},
    "500": {"kind": "status", "status": 500},
    "503 after it was carried out": {"kind": "status", "status": 503, "processed": True},
    "504 as HTML": {"kind": "html", "status": 504},
    "200 as HTML": {"kind": "html", "status": 200, "processed": True},
    "403 as HTML": {"kind": "html", "status": 403},
    "404 as HTML after it was carried out": {"kind": "html", "status": 404, "processed": True},
}


@pytest.mark.parametrize("fault", LOST)
def test_a_copy_batch_of_which_the_answer_is_lost_is_not_started_again(prepared: Prepared, fault: str) -> None:
    prepared.ica.fault(**LOST[fault], method="POST", path="dataCopyBatch")
    with pytest.raises(IcaAnswerLost):
        prepared.start()
    assert prepared.posts == 1


def test_trouble_with_tls_which_can_come_at_any_time_is_taken_for_a_lost_answer(prepared: Prepared) -> None:
    with pytest.raises(IcaAnswerLost):
        prepared.start(base_url=prepared.ica.stage.base.replace("http://", "https://"))
    assert prepared.ica.slept == []


def test_a_copy_batch_whose_answer_does_not_come_in_time_is_not_started_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ica_module, "READ_SECONDS", 0.05)
    prepared.ica.fault("delay", "POST", "dataCopyBatch", delay=0.5)
    with pytest.raises(IcaAnswerLost):
        prepared.start()
    assert prepared.posts == 1


@contextmanager
def trickling() -> Iterator[str]:
    """The base URL of a server that answers with 200, and then with one byte after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stopped = Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                    while not stopped.wait(0.01):
                        connection.sendall(b" ")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(serve)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/ica/rest"
            finally:
                stopped.set()


def test_an_answer_that_comes_a_byte_at_a_time_is_not_waited_for_for_ever(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ica_module, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(ica_module, "READ_SECONDS", 0.1)
    with trickling() as base_url, pytest.raises(IcaAnswerLost, match="too slowly"):
        prepared.start(base_url=base_url, monotonic=time.monotonic)


def test_a_large_answer_is_read_to_its_end(ica: SimulatedIca) -> None:
    """Compressed, in many parts."""
    for number in range(999):
        ica.file(f"/run/{uuid4()}-{number}")
    assert len(ica.client().list_folder(ica.source, "/run/")) == 999


@pytest.mark.parametrize("status", [409, 425, 429])
@pytest.mark.parametrize("times", [1, MAX_TRIES - 1])
def test_a_copy_batch_that_was_turned_away_is_started_once_there_is_room(
    prepared: Prepared, times: int, status: int
) -> None:
    prepared.ica.fault("status", "POST", "dataCopyBatch", status=status, count=times)
    prepared.start()
    assert prepared.posts == times + 1
    assert len(prepared.ica.world.jobs) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_copy_batch_that_ica_refuses_is_refused_in_icas_words(prepared: Prepared, status: int) -> None:
    prepared.ica.fault("status", "POST", "dataCopyBatch", status=status, title="ICA_COPY_001")
    with pytest.raises(IcaRefused, match=f"ICA answered {status} ICA_COPY_001 a fault made by the simulator") as raised:
        prepared.start()
    assert raised.value.http_status == status
    assert prepared.posts == 1


@pytest.mark.parametrize("kind", ["status", "html"])
def test_a_copy_batch_that_is_too_large_is_refused_as_one_with_the_parameter_that_makes_it_smaller(
    prepared: Prepared, kind: Any
) -> None:
    prepared.ica.fault(kind, "POST", "dataCopyBatch", status=413)
    with pytest.raises(IcaRefusedBatch, match="it was to copy 2 sources; if these are too many, set MaxSources"):
        prepared.start()
    assert prepared.posts == 1


def test_ica_itself_says_why_it_refuses(prepared: Prepared) -> None:
    prepared.sources.append("fil.none")
    with pytest.raises(IcaRefused, match=r"404 ICA_API_404 no data fil\.none to copy"):
        prepared.start()


def test_a_folder_that_is_being_deleted_is_a_conflict_which_may_pass(prepared: Prepared) -> None:
    prepared.ica.set(delete_seconds=10_000)
    prepared.ica.world.delete(prepared.ica.destination, prepared.folder_id)
    with pytest.raises(IcaUnavailable) as conflict:
        prepared.start()
    assert conflict.value.http_status == 409


# --- jobs ------------------------------------------------------------------------------------------------------------


def said(ica: SimulatedIca, job_id: str, status: str) -> IcaJob:
    """What ICA says of a job that goes well, but for the time."""
    batch_id = ica.world.jobs[job_id].batch_id
    return IcaJob(job_id, status, None, None, batch_id, ica.world.switches.subject_type, ica.destination)


def timeless(jobs: Mapping[str, IcaJob]) -> dict[str, IcaJob]:
    """By id, and without the time: ICA's clock is measured to within half a second."""
    return {job_id: replace(job, created_at=None) for job_id, job in jobs.items()}


def stock_jobs(ica: SimulatedIca, count: int, seconds_apart: float = 0.001) -> list[str]:
    """Ids of so many jobs, oldest first."""
    items = [BatchItem(ica.file("/run/a.txt").id)]
    request = BatchRequest(items, False, False, False, ActionOnExist.RENAME, ica.folder("/to/").id)
    ids = []
    for _ in range(count):
        ica.clock.forward(seconds_apart)
        ica.world.settle()
        ids.append(ica.world.create_batch(ica.destination, request).id)
    return ids


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


def test_throttled_looks_for_jobs_are_not_followed_by_more(ica: SimulatedIca) -> None:
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


# --- what was started ------------------------------------------------------------------------------------------------


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


def rewrite(ica: SimulatedIca, change: Callable[[Any], Any], page_cap: int = 0, without_date: bool = False) -> None:
    """Change what ICA answers, the most rows of its pages, or whether it tells the time."""
    app = ica.stage.app

    async def changed(scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        if page_cap:
            query = query.replace("pageSize=1000", f"pageSize={page_cap}")
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        start: dict[str, Any] = {}

        async def send_changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body = json.dumps(change(json.loads(message["body"]))).encode()
            dropped = {b"content-length", *([b"date"] if without_date else [])}
            headers = [header for header in start["headers"] if header[0] not in dropped]
            await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
            await send({**message, "body": body})

        await app({**scope, "query_string": query.encode(), "headers": plain}, receive, send_changed)

    ica.stage.app = changed


def test_a_copy_batch_says_where_to_it_copies(prepared: Prepared) -> None:
    batch_id, _ = prepared.start()
    client = prepared.ica.client()
    assert client.copy_batch_folder(prepared.ica.destination, batch_id) == prepared.folder_id


def test_the_items_of_many_sources_are_read_to_the_end_of_their_pages(prepared: Prepared) -> None:
    prepared.sources[:] = [prepared.ica.file(f"/run/{number}").id for number in range(1001)]
    batch_id, _ = prepared.start()
    found = prepared.ica.client().copy_batch_items(prepared.ica.destination, batch_id)
    assert {item.data_id for item in found} == set(prepared.sources)


def test_a_copy_batch_says_what_has_become_of_each_of_its_sources(prepared: Prepared) -> None:
    prepared.ica.script("/to/", "PARTIALLY_SUCCEEDED")
    batch_id, job_id = prepared.start()
    prepared.ica.clock.forward(10)
    prepared.ica.world.settle()
    ica, client = prepared.ica, prepared.ica.client()
    found = client.copy_batch_items(ica.destination, batch_id)
    items = ica.world.jobs[job_id].items
    assert found == [
        CopyBatchItem(
            item.source.id,
            item.status.value,
            item.reason,
            client.read_data(ica.destination, item.made.id) if item.made else None,
        )
        for item in items
    ]
    assert {item.created.path for item in found if item.created} == {
        path for path, status in ica.arrived().items() if status == "AVAILABLE"
    }
    assert {item.is_copied for item in found} == {True, False}
    assert [item.data_id for item in found] == prepared.sources


def test_a_copy_batch_into_the_root_has_no_folder(ica: SimulatedIca) -> None:
    source = ica.file("/run/a.txt").id
    started = ica.client().start_copy_batch(ica.destination, None, [source], CopyOptions())
    assert ica.client().copy_batch_folder(ica.destination, started.batch_id) is None


def test_something_that_is_no_copy_batch_is_a_refusal(prepared: Prepared) -> None:
    batch_id, job_id = prepared.start()
    for project_id, some_id in ((prepared.ica.destination, job_id), (prepared.ica.source, batch_id)):
        with pytest.raises(IcaRefused, match="404"):
            prepared.ica.client().copy_batch_folder(project_id, some_id)


def test_an_id_that_is_none_is_refused(ica: SimulatedIca) -> None:
    """A job of another kind may have any subject."""
    for read in (ica.client().copy_batch_folder, ica.client().copy_batch_items):
        with pytest.raises(IcaRefused):
            read(ica.destination, "no id")


# --- trouble ---------------------------------------------------------------------------------------------------------

TROUBLE: dict[str, dict[str, Any]] = {
    "a 302": {"kind": "status", "status": 302},
    "a 408": {"kind": "status", "status": 408},
    "a 409": {"kind": "status", "status": 409},
    "a 425": {"kind": "status", "status": 425},
    "a 429": {"kind": "status", "status": 429},
    "a 500": {"kind": "status", "status": 500},
    "a 503": {"kind": "status", "status": 503},
    "a page of HTML": {"kind": "html", "status": 502},
    "a page of HTML that says 200": {"kind": "html", "status": 200},
    "a page of HTML that says 400": {"kind": "html", "status": 400},
    "a page of HTML that says 403": {"kind": "html", "status": 403},
    "a page of HTML that says 404": {"kind": "html", "status": 404},
    "a dropped connection": {"kind": "drop_before"},
    "a lost answer": {"kind": "drop_after"},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_look_is_repeated_until_the_trouble_is_over(ica: SimulatedIca, trouble: str) -> None:
    ica.file("/run/a.txt")
    ica.fault(**TROUBLE[trouble], count=MAX_TRIES - 1)
    assert ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == MAX_TRIES


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_look_is_given_up_when_the_trouble_does_not_end(ica: SimulatedIca, trouble: str) -> None:
    ica.fault(**TROUBLE[trouble])
    with pytest.raises(IcaUnavailable):
        ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == MAX_TRIES
    assert len(ica.slept) == MAX_TRIES - 1


@pytest.mark.parametrize("trouble", TROUBLE)
def test_nothing_is_repeated_when_no_time_is_left(ica: SimulatedIca, trouble: str) -> None:
    ica.fault(**TROUBLE[trouble])
    with pytest.raises(IcaUnavailable):
        ica.client(seconds=29).find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1
    assert ica.slept == []


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422])
def test_a_look_that_ica_refuses_is_not_repeated(ica: SimulatedIca, status: int) -> None:
    ica.fault("status", status=status)
    with pytest.raises(IcaRefused, match=str(status)):
        ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.calls("GET", DATA) == 1


@pytest.mark.parametrize(("status", "is_throttling"), [(409, False), (429, True), (503, False)])
def test_trouble_that_does_not_end_says_whether_ica_wants_fewer_calls_and_for_how_long(
    ica: SimulatedIca, status: int, is_throttling: bool
) -> None:
    ica.fault("status", status=status, retry_after=90)
    with pytest.raises(IcaUnavailable) as raised:
        ica.client().find(ica.source, ["/run/a.txt"])
    assert (raised.value.is_throttling, raised.value.http_status, raised.value.retry_after) == (
        is_throttling,
        status,
        90,
    )


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (3600, MAX_WAIT_SECONDS)])
def test_ica_is_given_the_time_it_asks_for_within_reason(ica: SimulatedIca, asked: int, waited: float) -> None:
    ica.fault("status", status=429, retry_after=asked, count=1)
    ica.client().find(ica.source, ["/run/a.txt"])
    assert ica.slept == [waited]


def test_pauses_are_drawn_at_random_below_a_growing_limit(ica: SimulatedIca) -> None:
    ica.fault("status", status=503)
    for _ in range(20):
        with pytest.raises(IcaUnavailable):
            ica.client().find(ica.source, ["/run/a.txt"])
    by_try = [ica.slept[start :: MAX_TRIES - 1] for start in range(MAX_TRIES - 1)]
    for number, pauses in enumerate(by_try):
        assert 0 <= min(pauses) < max(pauses) <= min(0.5 * 2**number, MAX_WAIT_SECONDS)
    assert max(by_try[-1]) > 0.5


def test_icas_own_limit_of_calls_is_kept_to(ica: SimulatedIca) -> None:
    ica.set(rate_limit=1, retry_after=1)
    client = ica.client()
    for _ in range(3):
        client.list_folder(ica.source, "/")
    assert ica.sim.answers["429"] == 2
    assert all(pause >= 1 for pause in ica.slept)


def paced(ica: SimulatedIca, table: doubles.Table, seconds: float = 900) -> IcaClient:
    """A client in a container of its own, which shares the pace with others by the table."""
    ends_at = ica.clock.now + timedelta(seconds=seconds)
    pacing = Pacing(table, ica.clock, ica.sleep, lambda: (ends_at - ica.clock.now).total_seconds(), max)
    return ica.client(seconds=seconds, pacing=pacing)


def test_calls_are_spread_evenly_over_the_time_where_ica_limits_them(ica: SimulatedIca) -> None:
    """Of two containers in turn; of the first calls more are refused than of later ones."""
    ica.set(rate_limit=6)
    clients = [paced(ica, table) for table in [doubles.Table()] * 2]
    began = ica.clock.now
    for number in range(120):
        clients[number % 2].list_folder(ica.source, "/")
    assert ica.sim.answers["200"] == 120
    assert ica.sim.answers["429"] <= 12
    assert (ica.clock.now - began).total_seconds() <= 1.3 * 120 / 6


def test_a_call_that_waits_for_its_turn_is_tried_more_often_than_one_that_meets_trouble(ica: SimulatedIca) -> None:
    ica.fault("status", status=429, count=MAX_PACED_TRIES - 1)
    paced(ica, doubles.Table()).list_folder(ica.source, "/")
    assert ica.sim.answers["429"] == MAX_PACED_TRIES - 1


def test_a_429_that_does_not_end_is_given_up(ica: SimulatedIca) -> None:
    ica.fault("status", status=429)
    with pytest.raises(IcaUnavailable) as raised:
        paced(ica, doubles.Table()).list_folder(ica.source, "/")
    assert raised.value.is_throttling
    assert ica.sim.answers["429"] == MAX_PACED_TRIES


def test_no_copy_batch_is_started_when_its_turn_comes_too_late_for_its_claim(ica: SimulatedIca) -> None:
    table = doubles.Table()
    doubles.nobody_calls_until(table, ica.clock.now, ica.clock.now + timedelta(seconds=10))
    client = paced(ica, table, seconds=SECONDS_TO_START + 5)
    assert client._pacing
    client._pacing.held_until()
    with pytest.raises(IcaUnavailable):
        client.start_copy_batch(ica.destination, None, ["id"], CopyOptions())
    assert ica.sim.calls.total() == 0


CALLS: dict[str, Callable[[IcaClient, SimulatedIca], object]] = {
    "project_id": lambda client, ica: client.project_id("source"),
    "find": lambda client, ica: client.find(ica.source, ["/run/a.txt"]),
    "list_folder": lambda client, ica: client.list_folder(ica.source, "/run/"),
    "ensure_folders": lambda client, ica: client.ensure_folders(ica.destination, ["/run/"]),
    "delete_data": lambda client, ica: client.delete_data(ica.destination, ["fil.0"]),
    "start_copy_batch": lambda client, ica: client.start_copy_batch(ica.destination, None, ["id"], CopyOptions()),
    "jobs": lambda client, ica: client.jobs([str(uuid4())]),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_ica_that_cannot_be_reached_has_done_nothing(ica: SimulatedIca, call: str) -> None:
    """So that even a copy batch may be started again."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = ica.client(base_url=f"http://127.0.0.1:{port}/ica/rest")
    with pytest.raises(IcaUnavailable):
        CALLS[call](client, ica)
    assert len(ica.slept) == MAX_TRIES - 1


def test_an_empty_404_does_not_say_that_something_is_gone(ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IcaClient, "_send", lambda *_, **__: (404, {}, b""))
    with pytest.raises(IcaUnavailable, match="404"):
        ica.client().read_data(ica.source, "fil.1")


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("body", [b'{"message": "Forbidden"}', b"[]", b'"no"', b'{"title": ""}', b"\xff"])
def test_json_that_is_no_problem_document_is_no_refusal_of_icas(
    ica: SimulatedIca, body: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways on the way answer so."""
    monkeypatch.setattr(IcaClient, "_send", lambda *_, **__: (status, {}, body))
    with pytest.raises(IcaUnavailable, match=f"{status} \\(not a Problem document\\)"):
        ica.client().find(ica.source, ["/a"])


# --- libica ----------------------------------------------------------------------------------------------------------


def test_only_the_part_of_libica_that_is_needed_is_imported() -> None:
    """In an interpreter of its own, as a cold start is; all of libica takes seconds."""
    module = "icav2_copy_batch.adapters.ica.client"
    count = f"import {module}, sys; print(sum(name.startswith('libica.') for name in sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", count],
        env={**os.environ, "PYTHONPATH": str(Path(icav2_copy_batch.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 0 < int(printed) < 150, "there are more than 800"


def test_the_version_of_the_api_is_asked_for_by_us_whatever_libica_would_say(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiClient, "select_header_accept", lambda *_: "application/json")
    prepared.start()
    client = prepared.ica.client()
    client.ensure_folders(prepared.ica.destination, ["/new/"])
    old = prepared.ica.file("/old", prepared.ica.destination, status=DataStatus.PARTIAL)
    client.delete_data(prepared.ica.destination, [old.id])
    assert client.project_id("source") == prepared.ica.source
    assert prepared.ica.sim.answers.keys() == {"200", "201", "204"}


# --- the token -------------------------------------------------------------------------------------------------------


def test_a_token_that_was_rotated_is_fetched_afresh_once(prepared: Prepared) -> None:
    tokens = Tokens(cached="an-old-token")
    prepared.start(tokens=tokens)
    assert (tokens.fetched, prepared.posts) == (1, 2)
    assert len(prepared.ica.world.jobs) == 1
    prepared.start(tokens=tokens)
    assert (tokens.fetched, prepared.posts) == (1, 3)


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_ica_does_not_take_may_be_taken_later(ica: SimulatedIca, call: str) -> None:
    tokens = Tokens(cached="an-old-token", fresh="another-old-token")
    with pytest.raises(IcaUnavailable, match="401 ICA_SEC_002"):
        CALLS[call](ica.client(tokens=tokens), ica)
    assert tokens.fetched == MAX_TRIES


@dataclass
class NoTokens(Tokens):
    """A source that cannot be read."""

    def token(self, *, fresh: bool = False) -> str:
        raise PermissionError("made by the test")


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_cannot_be_read_may_be_read_later(ica: SimulatedIca, call: str) -> None:
    with pytest.raises(IcaUnavailable, match="the token for ICA cannot be read: made by the test"):
        CALLS[call](ica.client(tokens=NoTokens()), ica)
    assert ica.sim.calls.total() == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", ["none", "401", "unreachable", *TROUBLE])
def test_nobody_reads_the_token(
    ica: SimulatedIca, call: str, trouble: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    other: dict[str, Any] = {}
    if trouble == "401":
        ica.sim.replace_token("another")
    elif trouble == "unreachable":
        other["base_url"] = "http://127.0.0.1:1/ica/rest"
    elif trouble != "none":
        ica.fault(**TROUBLE[trouble])
    told = []
    try:
        CALLS[call](ica.client(**other), ica)
    except IcaError as error:
        told = [repr(error), *traceback.format_exception(error)]
    printed = capsys.readouterr()
    everything = "".join([*told, caplog.text, *(str(vars(each)) for each in caplog.records), printed.out, printed.err])
    assert caplog.records, "urllib3 logs its requests at this level"
    assert TOKEN not in everything
