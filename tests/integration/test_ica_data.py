"""Projects, files and folders of the simulated ICA: found, listed and deleted by our client."""

from __future__ import annotations

import math
import unicodedata
from urllib.parse import parse_qs, quote
from uuid import uuid4

import pytest
from starlette.types import Receive, Scope, Send

from icav2_copy_batch.adapters.ica.http import MAX_TRIES
from icav2_copy_batch.adapters.ica.listings import TRIES_OF_A_LONG_URL
from icav2_copy_batch.adapters.ica.memory import MAX_QUERY_BYTES, REMEMBERED_SECONDS
from icav2_copy_batch.domain.ica import (
    IcaData,
    IcaRefused,
    IcaUnavailable,
)
from icav2_copy_batch.domain.job import timestamp
from local.simulator.model import DataStatus, Project
from tests.doubles.simulated_ica import DATA, DELETE, ONE_DATUM, SimulatedIca
from tests.integration.ica_cases import (
    FORMS,
    HALF_A_SECOND,
    SEVERAL,
    SPECIAL_NAMES,
    WORLDS,
    Form,
    files_in,
    many_paths,
    rewrite,
)

# --- projects ---------------------------------------------------------------------------------------------------------


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


# --- finding data -----------------------------------------------------------------------------------------------------


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
    assert {data.path for data in files_in(client, ica.source, paths[2])} == set(paths[:2])


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
def test_files_and_folders_are_found_however_ica_searches_for_them(ica: SimulatedIca, world: str) -> None:
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
        files_in(client, str(uuid4()), "/a/")
    assert files_in(client, ica.source, "/a/") == []


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
    assert [client.read(ica.source, data.data_id) is not None for data in found.values()] == [True] * 4
    folder = unicodedata.normalize(asked, "/é/")
    below = {folder + unicodedata.normalize("NFC", name) for name in ("ö.txt", "a.txt")}
    assert {data.path for page in client.tree_pages(ica.source, folder) for data in page} == below


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
def test_a_search_for_a_few_does_not_ask_for_a_thousand_rows(ica: SimulatedIca, count: int) -> None:
    sizes: list[int] = []
    app = ica.stage.app

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        sizes.append(int(parse_qs(scope["query_string"].decode())["pageSize"][0]))
        await app(scope, receive, send)

    ica.stage.app = noted
    ica.client().find(ica.source, [f"/{number}/a" for number in range(count)])
    assert sizes
    assert max(sizes) < 50


SMALL_PAGES = {"page_size": 10, "most_query_bytes": 500}
"""Ten data to a page, and about five paths to a URL."""


def test_of_a_folder_with_very_many_other_files_no_more_is_listed_than_asking_would_take(ica: SimulatedIca) -> None:
    paths = many_paths(15, folders=1)
    for path in (*many_paths(115, folders=1), "/one", "/two"):
        ica.file(path.replace("sample_000", "sample_zzz") if path in paths else path)
    wanted = [path.replace("sample_000", "sample_zzz") for path in paths]
    client = ica.client(**SMALL_PAGES)
    assert len(client.find(ica.source, ["/one", "/two"])) == 2, "ICA takes several paths"
    ica.sim.calls.clear()
    assert client.find(ica.source, wanted).keys() == set(wanted)
    asking = math.ceil(sum(len("&filePath=") + len(quote(path)) for path in wanted) / 500) + 1
    assert ica.calls("GET", DATA) <= 2 * asking < 13


def test_what_a_folder_does_not_list_is_asked_for_by_its_path(ica: SimulatedIca) -> None:
    """As a linked folder does not."""
    paths = many_paths(15, folders=1)
    for path in paths:
        ica.file(path)
    rewrite(ica, lambda answer: answer | {"items": [], "nextPageToken": ""}, where="parentFolderPath=")
    assert ica.client(**SMALL_PAGES).find(ica.source, paths).keys() == set(paths)


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


def test_what_ica_has_answered_before_it_may_refuse_later(ica: SimulatedIca) -> None:
    """Several paths in one call: also to a client that has seen them answered."""
    paths = [f"/run {number}/a.txt" for number in range(4)]
    for path in paths:
        ica.file(path)
    client = ica.client()
    for several in ("honoured", "refused"):
        ica.set(several_file_paths=several)
        assert client.find(ica.source, paths).keys() == set(paths)


# --- data by their ids ------------------------------------------------------------------------------------------------


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


def test_data_are_found_by_their_ids_although_ica_takes_one_of_them_alone(ica: SimulatedIca) -> None:
    ica.set(several_ids="first_only")
    ids = [ica.file(f"/run/{number}").id for number in range(5)]
    assert ica.client().find_by_ids(ica.source, [*ids, ica.file("/a", ica.destination).id]).keys() == set(ids)


def test_data_are_read_by_their_id_with_the_time_when_they_were_created(ica: SimulatedIca) -> None:
    file, folder = ica.file("/run/a.txt", size=7), ica.folder("/to/")
    created = timestamp(ica.clock() - HALF_A_SECOND)
    ica.clock.forward(100)
    client = ica.client()
    assert client.read(ica.source, file.id) == IcaData(file.id, "/run/a.txt", "AVAILABLE", 7, file.etag, created)
    assert client.read(ica.destination, folder.id) == IcaData(folder.id, "/to/", "AVAILABLE", created_at=created)
    assert client.read(ica.destination, file.id) is None
    ica.world.delete(ica.source, file.id)
    data = client.read(ica.source, file.id)
    assert data
    assert data.status == "DELETING"


def test_data_that_may_not_be_read_are_not_taken_for_gone(ica: SimulatedIca) -> None:
    ica.fault("status", "GET", "/data/", status=403)
    with pytest.raises(IcaRefused, match="403"):
        ica.client().read(ica.source, ica.file("/a").id)


# --- what lies in a folder --------------------------------------------------------------------------------------------


def test_a_folder_is_listed_to_the_end_of_its_pages(ica: SimulatedIca) -> None:
    paths = {f"/run/{number:05d}" for number in range(2001)}
    for path in paths:
        ica.file(path)
    assert {data.path for data in files_in(ica.client(), ica.source, "/run/")} == paths
    assert ica.calls("GET", DATA) == 3


def test_a_folder_is_listed_without_what_lies_deeper_or_beside_it(ica: SimulatedIca) -> None:
    for path in ("/run/a.txt", "/run/sub/b.txt", "/Run/c.txt", "/run2/d.txt", "/e.txt"):
        ica.file(path)
    client = ica.client()
    for folder, files, folders in (
        ("/run/", ["/run/a.txt"], ["/run/sub/"]),
        ("/", ["/e.txt"], ["/Run/", "/run/", "/run2/"]),
        ("/nowhere/", [], []),
    ):
        assert [data.path for data in files_in(client, ica.source, folder)] == files
        assert client.folders_in(ica.source, folder) == folders


def test_a_tree_is_listed_with_all_its_files_and_no_others(ica: SimulatedIca) -> None:
    paths = {"/run/a.txt", "/run/sub/b.txt", "/run/sub/deeper/c.txt", *(f"/run/many/{n}" for n in range(1000))}
    for path in (*paths, "/Run/d.txt", "/run2/e.txt", "/other/run/f.txt"):
        ica.file(path)
    pages = ica.client().tree_pages(ica.source, "/run/")
    assert {data.path for page in pages for data in page} == paths


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


# --- incomplete files -------------------------------------------------------------------------------------------------


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


# --- deleting ---------------------------------------------------------------------------------------------------------


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
