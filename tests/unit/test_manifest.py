"""Flipping a manifest: which manifests are refused, and which jobs become of the others."""

from __future__ import annotations

import unicodedata
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.problems import PROBLEMS_LISTED, Problem, Refused
from icav2_copy_batch.domain.projects import MOST_NAMES, Projects, UnknownProject
from icav2_copy_batch.domain.submit import CopyOptions
from local.manifests import bclconvert_manifest
from tests.unit.refusals import refusal

A, B = "icav2://from/a.txt", "icav2://from/b.txt"
TO, ELSEWHERE = "icav2://to/folder/", "icav2://to/elsewhere/"


def jobs(manifest: object, **limits: Any) -> list[tuple[str, list[str]]]:
    return [(job.destination, list(job.sources)) for job in flip(manifest, Limits(**limits))]


def test_a_manifest_becomes_one_job_for_each_destination() -> None:
    manifest = {B: [TO], A: [ELSEWHERE, TO], "icav2://from/InterOp/": ["icav2://to/"]}
    assert jobs(manifest) == [("icav2://to/", ["icav2://from/InterOp/"]), (ELSEWHERE, [A]), (TO, [A, B])]


def test_the_manifest_of_a_run_becomes_as_many_jobs_as_it_has_folders() -> None:
    planned = jobs(bclconvert_manifest())
    assert (len(planned), sum(len(sources) for _, sources in planned)) == (44, 118)


@pytest.mark.parametrize(
    ("manifest", "type_name"),
    [([A, TO], "a list"), ("x", "a string"), (1, "a number"), (None, "null"), (True, "a boolean")],
)
def test_a_manifest_that_is_no_object_is_refused(manifest: object, type_name: str) -> None:
    assert refusal(lambda: jobs(manifest)) == [
        ("manifest", f"must be an object of source to destinations, not {type_name}")
    ]


def test_an_empty_manifest_is_refused() -> None:
    assert refusal(lambda: jobs({})) == [("manifest", "is empty: it names no source")]


@pytest.mark.parametrize("value", [[], None, TO, {TO: 1}, 1, True, {}, ""])
def test_a_source_without_a_list_of_destinations_is_refused_by_name(value: object) -> None:
    assert refusal(lambda: jobs({A: [TO], B: value})) == [(B, "must have a non-empty list of destination folders")]


@pytest.mark.parametrize(
    ("value", "type_name"),
    [(None, "null"), (1, "a number"), ([TO], "a list"), ({TO: 1}, "an object"), (False, "a boolean")],
)
def test_a_destination_that_is_no_string_is_refused_under_its_source(value: object, type_name: str) -> None:
    assert refusal(lambda: jobs({A: [TO, value]})) == [
        (A, f"has a destination that is {type_name}; each has to be a string")
    ]


BAD_URIS = [
    ("", "does not start with icav2://"),
    ("s3://else/a", "does not start with icav2://"),
    ("icav2:///a/", "names no project"),
    ("icav2://else", "has no path: a slash must follow the project"),
    ("icav2://else/a//b/", "has an empty path segment (//)"),
    ("icav2://else/a/../b/", "has a path segment . or .., which is not a name"),
    ("icav2://else/./", "has a path segment . or .., which is not a name"),
    ("icav2://../b/", "has a path segment . or .., which is not a name"),
    ("icav2://else/" + "x" * 4096 + "/", "is longer than 4096 characters"),
    ("icav2://else/a\nb/", "contains a control character"),
    ("icav2://else/\ud800/", "contains an unpaired surrogate, which UTF-8 cannot express"),
]


@pytest.mark.parametrize(
    ("source", "fault"),
    [*BAD_URIS, ("icav2://from/", "is the root of a project; name a file or a folder in it")],
)
def test_a_bad_source_is_refused_by_name_with_its_fault(source: str, fault: str) -> None:
    assert refusal(lambda: jobs({A: [TO], source: [TO]})) == [(source, fault)]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/b", "has an empty path segment (//)"),
        ("..", "has a path segment . or .., which is not a name"),
        (".", "has a path segment . or .., which is not a name"),
        ("x" * 4096, "is longer than 4096 characters"),
        ("a\x7fb", "contains a control character"),
        ("é\n", "contains a control character"),
        ("\udfff", "contains an unpaired surrogate, which UTF-8 cannot express"),
    ],
)
def test_a_bad_source_is_refused_next_to_good_ones_of_its_folder(name: str, fault: str) -> None:
    source = A[: A.rindex("/") + 1] + name
    assert refusal(lambda: jobs({A: [TO], source: [TO], B: [TO]})) == [(source, fault)]


@pytest.mark.parametrize(
    ("destination", "fault"),
    [
        *BAD_URIS,
        ("icav2://to/folder", "is a destination, which must be a folder: end it with /"),
        ("icav2://to/report.pdf", "is a destination, which must be a folder: end it with /"),
    ],
)
def test_a_bad_destination_is_refused_by_name_with_its_fault_and_once(destination: str, fault: str) -> None:
    assert refusal(lambda: jobs({A: [TO, destination], B: [destination]})) == [(destination, fault)]


def test_one_destination_twice_for_a_source_is_refused_under_the_source() -> None:
    manifest = {A: [TO, ELSEWHERE, TO, ELSEWHERE, TO], B: [TO]}
    assert refusal(lambda: jobs(manifest)) == [
        (A, f"names the destination {TO} more than once"),
        (A, f"names the destination {ELSEWHERE} more than once"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("icav2://from/1/a.txt", "icav2://from/2/a.txt"),
        ("icav2://from/a.txt", "icav2://other/a.txt"),
        ("icav2://from/1/logs/", "icav2://from/2/logs/"),
    ],
)
def test_two_sources_of_one_name_into_one_destination_are_refused(one: str, other: str) -> None:
    assert refusal(lambda: jobs({one: [TO], B: [TO], other: [ELSEWHERE, TO]})) == [
        (other, f"has the same name as {one} in {TO}; one of the two would be lost")
    ]


@pytest.mark.parametrize("into", ["icav2://to/folder/logs/", "icav2://to/folder/logs/deeper/"])
def test_a_destination_inside_a_folder_that_is_copied_is_refused(into: str) -> None:
    """Two jobs, and so two live ICA jobs, could write the same file."""
    logs = "icav2://from/1/logs/"
    problem = f"lies in icav2://to/folder/logs/, to which {logs} is copied; submit it later, as another copy"
    assert refusal(lambda: jobs({A: [into], logs: ["icav2://to/folder/"]})) == [(into, problem)]


@pytest.mark.parametrize("into", ["icav2://to/folder/logs 2/", "icav2://to/logs/", "icav2://other/folder/logs/"])
def test_a_destination_beside_a_folder_that_is_copied_is_none_inside_it(into: str) -> None:
    logs = "icav2://from/1/logs/"
    assert jobs({A: [into], logs: ["icav2://to/folder/"]}) == sorted([(into, [A]), ("icav2://to/folder/", [logs])])


@pytest.mark.parametrize("other", ["icav2://from/2/A.txt", "icav2://from/2/ba.txt", "icav2://from/a.txt/x"])
def test_sources_of_different_names_go_into_one_destination(other: str) -> None:
    assert jobs({A: [TO], other: [TO]}) == [(TO, sorted([A, other]))]


def test_sources_of_one_name_go_into_two_destinations() -> None:
    other = "icav2://from/2/a.txt"
    assert jobs({A: [TO], other: [ELSEWHERE]}) == [(ELSEWHERE, [other]), (TO, [A])]


def test_a_destination_in_the_project_of_its_source_is_refused_under_the_source() -> None:
    within = "icav2://from/backup/"
    assert refusal(lambda: jobs({A: [TO, within], B: [TO]})) == [
        (A, f"is in the same project as its destination {within}; ICA copies between two projects")
    ]


def test_a_copy_within_a_project_is_planned_where_the_limits_allow_it() -> None:
    assert jobs({A: ["icav2://from/backup/"]}, allow_same_project=True) == [("icav2://from/backup/", [A])]


def test_a_project_whose_name_begins_with_that_of_the_other_is_another() -> None:
    assert jobs({A: ["icav2://from-backup/"]}) == [("icav2://from-backup/", [A])]


def test_every_problem_is_named_at_once_each_with_what_it_is_about() -> None:
    manifest = {
        "nonsense": [TO],
        A: [],
        B: ["icav2://to/file", None],
        "icav2://from/2/b.txt": ["icav2://to/file", "icav2://from/"],
    }
    assert [about for about, _ in refusal(lambda: jobs(manifest))] == [
        "nonsense",
        A,
        "icav2://to/file",
        B,
        "icav2://from/2/b.txt",
        "icav2://from/2/b.txt",
    ]


@pytest.mark.parametrize("number", [PROBLEMS_LISTED, PROBLEMS_LISTED + 1, 1000])
def test_of_many_problems_the_first_hundred_are_listed_and_all_are_counted(number: int) -> None:
    sources = [f"nonsense {index}" for index in range(number)]
    with pytest.raises(Refused) as refused:
        flip({source: [TO] for source in sources}, Limits())
    assert refused.value.total == number
    assert [problem.about for problem in refused.value.problems] == sources[:100]


def test_a_refusal_says_its_first_problems() -> None:
    problems = [Problem(name, "is wrong") for name in "abcd"]
    assert str(Refused(problems)) == "a: is wrong; b: is wrong; c: is wrong"


# --- splitting and fingerprints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (6, [6, 1]), (7, [7]), (1000, [7])], ids=str
)
def test_a_destination_with_more_sources_than_the_limit_becomes_several_jobs(limit: int, sizes: list[int]) -> None:
    sources = [f"icav2://from/{number}" for number in range(7)]
    planned = jobs({source: [TO] for source in sources}, max_sources_per_job=limit)
    assert [(destination, len(packed)) for destination, packed in planned] == [(TO, size) for size in sizes]
    assert [source for _, packed in planned for source in packed] == sources


def test_the_jobs_of_a_split_destination_stand_together() -> None:
    manifest = {f"icav2://from/{number}": [TO, ELSEWHERE] for number in range(3)}
    assert [destination for destination, _ in jobs(manifest, max_sources_per_job=2)] == [ELSEWHERE, ELSEWHERE, TO, TO]


def test_sources_with_more_bytes_than_the_limit_are_halved_until_they_fit() -> None:
    sources = [f"icav2://from/ü{number * 7919:x}" for number in range(100)]
    planned = flip({source: [TO] for source in sources}, Limits(max_sources_bytes=100))
    assert len(planned) > 1
    assert max(sum(len(source.encode()) for source in job.sources) for job in planned) <= 100
    assert [source for job in planned for source in list(job.sources)] == sorted(sources)


def test_sources_with_just_as_many_bytes_as_the_limit_are_not_halved() -> None:
    exactly = len(A.encode()) + len(B.encode())
    assert jobs({A: [TO], B: [TO]}, max_sources_bytes=exactly) == [(TO, [A, B])]
    assert jobs({A: [TO], B: [TO]}, max_sources_bytes=exactly - 1) == [(TO, [A]), (TO, [B])]


def test_a_single_source_with_more_bytes_than_the_limit_is_a_job_of_its_own() -> None:
    assert jobs({A: [TO], B: [TO]}, max_sources_bytes=1) == [(TO, [A]), (TO, [B])]


# --- forms of Unicode ------------------------------------------------------------------------------------------------


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_a_folder_and_a_source_are_the_same_in_either_unicode_form() -> None:
    composed = {"icav2://from/é/ö.txt": ["icav2://to/ü/"], "icav2://from/é/å/": ["icav2://to/ü/"]}
    mixed = {"icav2://from/é/ö.txt": ["icav2://to/ü/"], nfd("icav2://from/é/å/"): [nfd("icav2://to/ü/")]}
    planned = [flip(manifest, Limits()) for manifest in (composed, mixed)]
    assert planned[0] == planned[1]
    (job,) = planned[1]
    assert (job.destination, list(job.sources)) == ("icav2://to/ü/", sorted(composed))
    assert digest(planned[0], CopyOptions()) == digest(planned[1], CopyOptions())


def test_a_project_keeps_the_unicode_form_by_which_it_is_looked_up() -> None:
    assert jobs({A: [nfd("icav2://é/ü/")]}) == [(f"icav2://{nfd('é')}/ü/", [A])]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (
            {"icav2://from/é": [TO], nfd("icav2://from/é"): ["icav2://to/y/"]},
            (
                nfd("icav2://from/é"),
                "is a key more than once, in several spellings; list all its destinations under one key",
            ),
        ),
        (
            {A: ["icav2://to/é/", nfd("icav2://to/é/")]},
            (A, "names the destination icav2://to/é/ more than once"),
        ),
        (
            {"icav2://from/1/é": [TO], nfd("icav2://from/2/é"): [TO]},
            ("icav2://from/2/é", f"has the same name as icav2://from/1/é in {TO}; one of the two would be lost"),
        ),
    ],
    ids=["source", "destination", "same name"],
)
def test_what_is_named_in_two_unicode_forms_is_checked_as_one(manifest: object, problem: tuple[str, str]) -> None:
    assert refusal(lambda: jobs(manifest)) == [problem]


# --- projects by name ------------------------------------------------------------------------------------------------

FIRST_ID, SECOND_ID = "b23fb516-d852-4985-adcc-831c12e8cd22", "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
KNOWN = {"first": FIRST_ID, "second": SECOND_ID, "renamed": SECOND_ID}


def look_up(name: str) -> str:
    if name not in KNOWN:
        raise UnknownProject(f"is in {name}, which nobody knows")
    return KNOWN[name]


def flipped(manifest: object) -> tuple[list[tuple[str, list[str]]], dict[str, str]]:
    """The jobs, and how the projects are called."""
    projects = Projects(look_up)
    planned = flip(manifest, Limits(), projects)
    return [(job.destination, list(job.sources)) for job in planned], projects.names


@pytest.mark.parametrize("spelling", ["second", SECOND_ID, SECOND_ID.upper()])
def test_jobs_have_the_ids_of_their_projects_however_these_are_called(spelling: str) -> None:
    manifest = {"icav2://first/a": [f"icav2://{spelling}/x/"], f"icav2://{FIRST_ID}/b": [f"icav2://{SECOND_ID}/x/"]}
    planned, names = flipped(manifest)
    assert planned == [(f"icav2://{SECOND_ID}/x/", [f"icav2://{FIRST_ID}/a", f"icav2://{FIRST_ID}/b"])]
    assert names == {FIRST_ID: "first"} | ({SECOND_ID: spelling} if spelling != SECOND_ID else {})


def test_a_project_is_called_by_its_first_name_and_rather_so_than_by_an_id_in_capitals() -> None:
    manifest = {f"icav2://{FIRST_ID}/a": [f"icav2://{each}/x/" for each in (SECOND_ID.upper(), "second", "renamed")]}
    assert refusal(lambda: flipped(manifest)) == [
        (f"icav2://{FIRST_ID}/a", "names the destination icav2://second/x/ more than once")
    ]
    projects = Projects(look_up)
    for each in (SECOND_ID.upper(), "renamed", "second"):
        assert projects.id_of(each) == SECOND_ID
    assert projects.names == {SECOND_ID: "renamed"}


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (
            {f"icav2://{FIRST_ID}/r/x": ["icav2://second/"], "icav2://first/x": [f"icav2://{SECOND_ID}/"]},
            (
                "icav2://first/x",
                "has the same name as icav2://first/r/x in icav2://second/; one of the two would be lost",
            ),
        ),
        (
            {"icav2://first/t/": ["icav2://second/"], "icav2://first/x": [f"icav2://{SECOND_ID.upper()}/t/"]},
            (
                "icav2://second/t/",
                "lies in icav2://second/t/, to which icav2://first/t/ is copied; submit it later, as another copy",
            ),
        ),
        (
            {"icav2://first/x": [f"icav2://{FIRST_ID}/y/"]},
            (
                "icav2://first/x",
                "is in the same project as its destination icav2://first/y/; ICA copies between two projects",
            ),
        ),
        (
            {f"icav2://{FIRST_ID}/x": [f"icav2://{FIRST_ID.upper()}/y/"]},
            (
                f"icav2://{FIRST_ID.upper()}/x",
                (
                    f"is in the same project as its destination icav2://{FIRST_ID.upper()}/y/; "
                    "ICA copies between two projects"
                ),
            ),
        ),
        (
            {"icav2://first/x": ["icav2://second/"], f"icav2://{FIRST_ID}/x": [f"icav2://{SECOND_ID}/y/"]},
            (
                "icav2://first/x",
                "is a key more than once, in several spellings; list all its destinations under one key",
            ),
        ),
    ],
    ids=["same name", "inside a tree", "same project", "capitals", "same source"],
)
def test_what_is_checked_is_checked_over_ids_and_told_in_the_clients_words(
    manifest: object, problem: tuple[str, str]
) -> None:
    assert refusal(lambda: flipped(manifest)) == [problem]


def test_a_project_that_nobody_knows_is_one_problem_among_all_others() -> None:
    manifest = {
        "icav2://nobody/a": ["icav2://second/x/", "icav2://nowhere/x/", "icav2://nowhere/y/"],
        "icav2://nobody/b": ["icav2://second/x/", 7, "icav2://second"],
        "icav2://no\nbody/c": [],
    }
    assert refusal(lambda: flipped(manifest)) == [
        ("icav2://nobody/a", "is in nobody, which nobody knows"),
        ("icav2://nowhere/x/", "is in nowhere, which nobody knows"),
        ("icav2://nobody/b", "has a destination that is a number; each has to be a string"),
        ("icav2://second", "has no path: a slash must follow the project"),
        ("icav2://no\nbody/c", "contains a control character"),
        ("icav2://no\nbody/c", "must have a non-empty list of destination folders"),
    ]


def test_what_is_no_uri_hides_no_project_and_is_told_as_it_is() -> None:
    manifest = {
        "": [TO],
        "icav2://": [TO],
        "icav2://firsts": [TO],
        "icav2://first/a": ["", "icav2://seconds", "icav2://second/x/"],
    }
    assert refusal(lambda: flip(manifest, Limits(), Projects(lambda name: KNOWN.get(name, name)))) == [
        ("", "does not start with icav2://"),
        ("icav2://", "has no path: a slash must follow the project"),
        ("icav2://firsts", "has no path: a slash must follow the project"),
        ("", "does not start with icav2://"),
        ("icav2://seconds", "has no path: a slash must follow the project"),
    ]


def test_a_manifest_of_very_many_names_has_a_hundred_looked_up() -> None:
    """One from which the project was left out would take a call for each of its folders."""
    asked: list[str] = []

    def known(name: str) -> str:
        asked.append(name)
        if len(asked) % 2:
            raise UnknownProject("is in a project that nobody knows")
        return str(uuid5(NAMESPACE_URL, name))

    manifest = {f"icav2://{number}/{number}": [TO] for number in range(150)}
    with pytest.raises(Refused) as refused:
        flip(manifest, Limits(), Projects(known))
    assert len(asked) == MOST_NAMES
    assert refused.value.total == MOST_NAMES // 2 + 151 - MOST_NAMES
    assert "give their ids" in str(refused.value.problems[-1])


# --- the digest ------------------------------------------------------------------------------------------------------

PLAN = [PlannedJob(ELSEWHERE, (A,)), PlannedJob(TO, (A, B))]


@pytest.mark.parametrize("limits", [Limits(max_sources_per_job=1), Limits(max_sources_bytes=1)])
def test_the_digest_of_the_same_submission_is_the_same_however_it_is_split_and_in_whatever_order(
    limits: Limits,
) -> None:
    manifest = {B: [TO], A: [TO, ELSEWHERE]}
    turned = {A: [ELSEWHERE, TO], B: [TO]}
    assert len(flip(turned, limits)) > len(flip(manifest, Limits()))
    assert digest(flip(turned, limits), CopyOptions()) == digest(flip(manifest, Limits()), CopyOptions())


def test_the_plan_hangs_on_no_order() -> None:
    manifest = bclconvert_manifest()
    turned = {source: to[::-1] for source, to in reversed(manifest.items())}
    assert flip(turned, Limits(max_sources_per_job=2)) == flip(manifest, Limits(max_sources_per_job=2))


@pytest.mark.parametrize(
    ("planned", "options"),
    [
        (PLAN[:1], CopyOptions()),
        ([PLAN[0], PlannedJob(TO, (A,))], CopyOptions()),
        ([PLAN[0], PlannedJob(TO, (A, B + "x"))], CopyOptions()),
        ([PlannedJob(ELSEWHERE, (A, B)), PlannedJob(TO, (A,))], CopyOptions()),
        ([PlannedJob(TO, (A, A, B))], CopyOptions()),
        (PLAN, CopyOptions("OVERWRITE")),
        (PLAN, CopyOptions(copy_user_tags=False)),
        (PLAN, CopyOptions(copy_technical_tags=False)),
        (PLAN, CopyOptions(copy_instrument_info=False)),
    ],
    ids=[
        "fewer jobs",
        "fewer sources",
        "another source",
        "elsewhere",
        "one destination",
        "action",
        "user",
        "technical",
        "instrument",
    ],
)
def test_the_digest_of_another_submission_is_another(planned: list[PlannedJob], options: CopyOptions) -> None:
    assert digest(planned, options) != digest(PLAN, CopyOptions())
