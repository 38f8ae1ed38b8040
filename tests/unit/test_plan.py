"""Plans: what a submission would do, as ICA and the table show it. Nothing is written."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from icav2_copy_batch.domain.findings import CONSEQUENCES, MAY_WAIT, THERE_ALREADY, UNCOMPARED, FindingKind
from icav2_copy_batch.domain.ica import IcaData, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Copy, Job, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.requests import PLAN
from icav2_copy_batch.domain.schedule import Slots, backlogs_of
from icav2_copy_batch.domain.stops import ALL, Paused, copy_subject, project_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.operators import plan as plans
from icav2_copy_batch.operators import survey
from icav2_copy_batch.operators.control import Control
from icav2_copy_batch.operators.plan import Plan
from icav2_copy_batch.operators.survey import (
    MOST_COPIES_OF_A_FOLDER,
    MOST_OF_A_FOLDER,
    MOST_REFUSED,
    PORTION,
    SECONDS_TO_FINISH,
    SIDE_BY_SIDE,
    portions_of,
)
from icav2_copy_batch.stages.verify import Verification
from tests import doubles

FROM, TO = "b23fb516-d852-4985-adcc-831c12e8cd22", "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
MANIFEST = {
    f"icav2://{FROM}/run/a.txt": [f"icav2://{TO}/to/1/", f"icav2://{TO}/to/2/"],
    f"icav2://{FROM}/run/b.txt": [f"icav2://{TO}/to/1/"],
    f"icav2://{FROM}/run/tree/": [f"icav2://{TO}/to/3/"],
}
SOURCES = "/run/a.txt", "/run/b.txt", "/run/tree/"
Findings = dict[str, list[str]]


class World(doubles.World):
    verification = Verification.SIZE
    limits = Limits()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ica = doubles.SmallIca()
        self.ica.add(*SOURCES)
        self.projects = {"run": FROM, "archive": TO}

    def project_id(self, name: str) -> str:
        if name not in self.projects:
            raise IcaRefused(f"no project named {name!r} can be seen")
        return self.projects[name]

    @property
    def stage(self) -> Plan:
        return Plan(
            table=self.table,
            ica=self.ica,
            project_id=self.project_id,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            spread=doubles.in_turn,
            limits=self.limits,
            slots=self.slots,
            max_attempts=6,
            verification=self.verification,
        )

    def ask(self, manifest: object = MANIFEST, **options: Any) -> dict[str, Any]:
        control = Control(
            table=self.table,
            operate=self.operate,
            of_ica=SimpleNamespace(plan=self.stage),
            poller=None,  # type: ignore[arg-type]
            submissions=None,  # type: ignore[arg-type]
            bucket_name="our-bucket",
            clock=self.clock,
        )
        body = options if "manifest_b64gz" in options else {"manifest": manifest, **options}
        answer = control.answer({"command": PLAN, **body})
        assert json.loads(json.dumps(answer)) == answer, "Lambda returns JSON"
        return answer

    def plan(self, manifest: object = MANIFEST, **options: Any) -> dict[str, Any]:
        answer = self.ask(manifest, **options)
        assert "ok" in answer, answer
        found: dict[str, Any] = answer["ok"]
        return found

    def findings(self, manifest: object = MANIFEST, **options: Any) -> list[tuple[str, str]]:
        """FindingKind and path of each."""
        found = self.plan(manifest, **options)
        assert sum(found["finding_counts"].values()) == len(found["findings"])
        return [(each["kind"], each["uri"]) for each in found["findings"]]

    def there(self, path: str, size: int | None = 7, status: str = "AVAILABLE", etag: str | None = None) -> None:
        """Something that lies in the destination project already, with its folder."""
        self.ica.add(f"{path.rpartition('/')[0]}/")
        self.ica.data[path] = IcaData(path, path, status, size, etag)

    def waiting(self, copy_id: str, *folders: int) -> None:
        """A copy whose jobs, into these folders, have never had a launch message."""
        planned = [PlannedJob(f"icav2://{TO}/to/{number}/", tuple(self.sources)) for number in folders]
        self.create_copy(planned, copy_id)
        self.table.create_jobs(copy_id, planned, CopyOptions(), self.clock())
        self.table.create_backlogs(backlogs_of(copy_id, planned, timestamp(self.clock())))

    def settled(self, copy_id: str, outcomes: Iterable[tuple[str, float]]) -> None:
        """A settled copy of one job, with attempts that ended so after so many seconds each."""
        (job,) = self.create(f"icav2://{TO}/of {copy_id}/", copy_id=copy_id)
        for outcome, seconds in outcomes:
            job = self.now(job)
            running = doubles.run(self.table, job, self.clock(), f"ica {job.key} {job.attempt}", TO)
            self.clock.forward(seconds)
            ended, now = running.ended_attempt(outcome, None, self.clock()), self.clock()
            if outcome == "SUCCEEDED":
                assert self.table.mark_passed(running, ended, now)
            else:
                assert self.table.requeue(running, ended, frozenset(), now, now, doubles.hold("again"))


@pytest.fixture
def world() -> World:
    return World()


# --- counts ----------------------------------------------------------------------------------------------------------


def test_a_plan_counts_what_would_be_copied(world: World) -> None:
    found = world.plan()
    assert {key: found[key] for key in ("jobs", "files", "folders", "bytes", "would_fail", "refused_jobs")} == {
        "jobs": 3, "files": 3, "folders": 1, "bytes": 21, "would_fail": False, "refused_jobs": 0,
    }  # fmt: skip
    assert found["projects"] == [
        {"project": TO, "project_id": TO, "jobs": 3, "files": 3, "folders": 1, "bytes": 21},
    ]
    assert (found["findings"], found["stopped"]) == ([], None)
    assert found["looked_at"] == {"sources": {"done": 3, "of": 3}, "copies": {"done": 4, "of": 4}}


def test_nothing_is_written(world: World) -> None:
    world.create(f"icav2://{TO}/elsewhere/", copy_id="other")

    def held() -> str:
        return repr({name: value for name, value in vars(world.table).items() if name != "line"})

    before = held()
    world.plan()
    assert held() == before
    assert {name for name, *_ in world.ica.calls} == {"find"}
    assert world.queue.sent == []


def test_a_manifest_may_come_zipped_with_the_options_of_a_message(world: World) -> None:
    zipped = b64encode(gzip.compress(json.dumps(MANIFEST).encode())).decode()
    found = world.plan(manifest_b64gz=zipped, action_on_exist="RENAME", tags={"run": "42"}, copy_id="run-42")
    assert (found["files"], found["action_on_exist"]) == (3, "RENAME")


def test_each_project_is_counted_as_the_manifest_calls_it(world: World) -> None:
    other = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
    found = world.plan({"icav2://run/run/a.txt": ["icav2://archive/to/", f"icav2://{other}/to/"]})
    assert [(each["project"], each["project_id"]) for each in found["projects"]] == [(other, other), ("archive", TO)]


def test_what_ingest_would_reject_is_refused_with_its_problems(world: World) -> None:
    error = world.ask({"nonsense": [f"icav2://{TO}/to/"], f"icav2://{TO}/a": [f"icav2://{TO}/to/"]})["error"]
    assert (error["kind"], error["message"]) == ("refused", "the submission would be rejected: it has 2 problems")
    assert [each["about"] for each in error["problems"]] == ["nonsense", f"icav2://{TO}/a"]
    many = world.ask({f"nonsense {number}": [f"icav2://{TO}/to/"] for number in range(250)})["error"]
    assert (len(many["problems"]), many["problem_count"]) == (100, 250)
    zipped = world.ask(manifest_b64gz="no base64!")["error"]
    assert [each["about"] for each in zipped["problems"]] == ["manifest_b64gz"]
    assert world.ica.calls == []


# --- findings --------------------------------------------------------------------------------------------------------


def test_a_source_that_is_missing_or_not_available_is_found(world: World) -> None:
    del world.ica.data["/run/a.txt"]
    world.ica.add("/run/b.txt", status="ARCHIVED")
    found = world.plan()
    assert [(each["kind"], each["uri"], each["what"]) for each in found["findings"]] == [
        ("SOURCE_MISSING", f"icav2://{FROM}/run/a.txt", "is not there"),
        ("SOURCE_NOT_AVAILABLE", f"icav2://{FROM}/run/b.txt", "is ARCHIVED"),
    ]
    assert all(each["fails"] and "fail at once" in each["follows"] for each in found["findings"])
    assert (found["would_fail"], found["refused_jobs"], found["forecast"]["chance_all_pass"]) == (True, 2, 0)


@pytest.mark.parametrize(
    ("action", "size", "kind", "follows", "fails"),
    [
        ("SKIP", 7, "EXISTS_SAME", "would be skipped", False),
        ("SKIP", 8, "EXISTS_DIFFERENT", "would be skipped by ICA and then fail verification", True),
        ("OVERWRITE", 8, "EXISTS_OVERWRITTEN", "would be overwritten", False),
        ("RENAME", 8, "EXISTS_RENAMED", "stays; the copy gets another name", False),
    ],
)
def test_what_is_there_already_is_found(
    world: World, action: str, size: int, kind: str, follows: str, fails: bool
) -> None:
    world.there("/to/2/a.txt", size)
    found = world.plan(action_on_exist=action)
    (finding,) = found["findings"]
    assert (finding["kind"], finding["uri"]) == (kind, f"icav2://{TO}/to/2/a.txt")
    assert (finding["follows"], finding["fails"]) == (follows, fails)
    assert f"{size} bytes" in finding["what"]
    assert (found["would_fail"], found["refused_jobs"]) == (fails, 0)


def test_a_file_that_is_there_and_not_whole_is_another(world: World) -> None:
    world.there("/to/2/a.txt", 7, status="PARTIAL")
    (finding,) = world.plan()["findings"]
    assert (finding["kind"], finding["what"]) == ("EXISTS_DIFFERENT", "is there already, PARTIAL")


def test_etags_count_where_they_are_compared_and_nothing_where_nothing_is(world: World) -> None:
    world.there("/to/2/a.txt", 7, etag="another")
    assert [kind for kind, _ in world.findings()] == ["EXISTS_SAME"]
    world.verification = Verification.ETAG
    assert [kind for kind, _ in world.findings()] == ["EXISTS_DIFFERENT"]
    world.verification = Verification.NONE
    world.there("/to/2/a.txt", 8)
    found = world.plan()
    assert [(each["kind"], each["follows"], each["fails"]) for each in found["findings"]] == [
        ("EXISTS_DIFFERENT", UNCOMPARED, False)
    ]
    assert not found["would_fail"]


def test_a_folder_that_is_there_already_is_said(world: World) -> None:
    world.ica.add("/to/3/", "/to/3/tree/")
    assert world.findings() == [("FOLDER_EXISTS", f"icav2://{TO}/to/3/tree/")]


def test_in_a_folder_that_is_not_there_nothing_is_looked_for(world: World) -> None:
    world.there("/to/2/a.txt")
    world.plan()
    asked = [paths for project, *paths in world.ica.called("find") if project == TO]
    assert asked == [["/to/1/", "/to/2/", "/to/3/"], ["/to/2/a.txt"]]


def test_the_root_of_a_project_is_always_there(world: World) -> None:
    world.ica.add("/a.txt")
    assert world.findings({f"icav2://{FROM}/run/a.txt": [f"icav2://{TO}/"]}) == [("EXISTS_SAME", f"icav2://{TO}/a.txt")]


def test_names_that_differ_by_case_only_are_found_within_a_folder(world: World) -> None:
    world.ica.add("/x/A.txt")
    manifest = {
        f"icav2://{FROM}/run/a.txt": [f"icav2://{TO}/1/", f"icav2://{TO}/2/"],
        f"icav2://{FROM}/x/A.txt": [f"icav2://{TO}/1/", f"icav2://{TO}/3/"],
    }
    (finding,) = world.plan(manifest)["findings"]
    assert (finding["kind"], finding["uri"], finding["fails"]) == (
        "NAMES_DIFFER_BY_CASE", f"icav2://{TO}/1/a.txt", False,
    )  # fmt: skip
    assert "A.txt" in finding["what"]


def test_names_that_differ_by_case_are_found_across_the_jobs_of_a_folder(world: World) -> None:
    world.limits = Limits(max_sources_per_job=1)
    world.ica.add("/x/A.txt")
    manifest = {f"icav2://{FROM}/{path}": [f"icav2://{TO}/1/"] for path in ("run/a.txt", "x/A.txt")}
    assert [kind for kind, _ in world.findings(manifest)] == ["NAMES_DIFFER_BY_CASE"]


def test_a_project_of_an_unknown_name_is_found_once(world: World) -> None:
    manifest = {f"icav2://nobody/{name}": ["icav2://archive/to/1/"] for name in "ab"}
    found = world.plan({**manifest, "icav2://run/run/a.txt": ["icav2://nothing/to/"]})
    assert [(each["kind"], each["uri"]) for each in found["findings"]] == [
        ("UNKNOWN_PROJECT", "icav2://nobody/a"),
        ("UNKNOWN_PROJECT", "icav2://nothing/to/"),
    ]
    assert (found["would_fail"], found["refused_jobs"]) == (True, 2)
    assert {project for project, *_ in world.ica.called("find")} == {FROM, TO}


def test_a_project_of_an_unknown_id_is_found_once(world: World) -> None:
    world.ica.trouble("find", IcaRefused("no such project", http_status=404), only=FROM)
    found = world.plan()
    assert [(each["kind"], each["uri"]) for each in found["findings"]] == [
        ("UNKNOWN_PROJECT", f"icav2://{FROM}/run/a.txt")
    ]
    assert found["refused_jobs"] == 3


def test_another_refusal_of_ica_is_told_in_its_words(world: World) -> None:
    world.ica.trouble("find", IcaRefused("what a path", http_status=400), only="/run/b.txt")
    found = world.plan()
    (finding,) = found["findings"]
    assert (finding["kind"], finding["what"], finding["fails"]) == ("LOOK_UP_REFUSED", "what a path", True)
    assert (finding["uri"], found["refused_jobs"]) == (f"icav2://{FROM}/run/b.txt", 1)
    assert found["looked_at"] == {"sources": {"done": 3, "of": 3}, "copies": {"done": 4, "of": 4}}


def test_a_path_that_ica_refuses_is_found_among_many(world: World) -> None:
    names = [f"/run/{number:04d}" for number in range(500)]
    world.ica.add(*names)
    world.ica.trouble("find", IcaRefused("what a path", http_status=400), only="/run/0123")
    del world.ica.data["/run/0124"]
    found = world.plan({f"icav2://{FROM}{name}": [f"icav2://{TO}/to/{name[-4:]}/"] for name in names})
    assert [(each["kind"], each["uri"]) for each in found["findings"]] == [
        ("LOOK_UP_REFUSED", f"icav2://{FROM}/run/0123"),
        ("SOURCE_MISSING", f"icav2://{FROM}/run/0124"),
    ]
    assert (found["refused_jobs"], found["bytes"]) == (2, 498 * 7)
    assert len(world.ica.called("find")) < 25


def test_a_project_of_which_ica_refuses_many_paths_is_asked_no_more(world: World) -> None:
    names = [f"/run/{number:04d}" for number in range(500)]
    world.ica.trouble("find", IcaRefused("not today", http_status=400), only=FROM)
    found = world.plan({f"icav2://{FROM}{name}": [f"icav2://{TO}/to/{name[-4:]}/"] for name in names})
    assert found["finding_counts"] == {"LOOK_UP_REFUSED": MOST_REFUSED}
    assert found["refused_jobs"] == 500
    assert len(world.ica.called("find")) < 3 * MOST_REFUSED


def test_while_a_refused_path_is_searched_for_the_time_may_run_out(world: World) -> None:
    world.ica.trouble("find", IcaRefused("what a path", http_status=400), only="/run/a.txt")
    world.seconds_left = SECONDS_TO_FINISH + 1
    find = world.ica.find

    def slow(project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        world.seconds_left -= 2
        return find(project_id, paths)

    world.ica.find = slow  # type: ignore[method-assign]
    found = world.plan()
    assert (found["stopped"], found["findings"]) == ("the time was up", [])
    assert len(world.ica.called("find")) == 1


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING])
def test_a_folder_into_which_another_copy_writes_is_busy(world: World, status: JobStatus) -> None:
    (job,) = world.create(f"icav2://{TO}/to/2/", copy_id="other")
    if status is JobStatus.RUNNING:
        doubles.run(world.table, job, world.clock(), "ica-1", TO)
    (finding,) = world.plan()["findings"]
    assert (finding["kind"], finding["uri"], finding["fails"]) == ("FOLDER_BUSY", f"icav2://{TO}/to/2/", False)
    assert "copy other" in finding["what"]
    assert (finding["follows"] == MAY_WAIT) == (status is JobStatus.QUEUED)


def test_a_folder_into_which_another_copy_will_write_may_be_busy(world: World) -> None:
    world.waiting("other", 2, 5)
    (finding,) = world.plan()["findings"]
    assert (finding["kind"], finding["uri"], finding["follows"]) == ("FOLDER_BUSY", f"icav2://{TO}/to/2/", MAY_WAIT)
    assert finding["what"] == "jobs of copy other wait to go into it"


def test_folders_that_are_busy_are_named_before_those_that_may_be(world: World) -> None:
    (job,) = world.create(f"icav2://{TO}/to/2/", copy_id="first")
    doubles.run(world.table, job, world.clock(), "ica-1", TO)
    world.waiting("other", 1, 2)
    found = world.plan()["findings"]
    assert [(each["uri"][-5:], each["follows"] == MAY_WAIT) for each in found] == [
        ("/to/2/"[1:], False),
        ("to/1/", True),
    ]


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_is_held_or_cancelled_keeps_nobody_from_a_folder_or_a_slot(world: World, cancelled: bool) -> None:
    world.waiting("other", 2, 5)
    world.create(f"icav2://{TO}/to/3/", copy_id="third")
    assert world.plan()["forecast"]["jobs_waiting"] == 3
    for copy_id in ("other", "third"):
        if cancelled:
            world.table.mark_cancelled(copy_id, world.clock())
        else:
            world.table.pause(Paused(copy_subject(copy_id), timestamp(world.clock())), copy_id)
    found = world.plan()
    assert (found["findings"], found["forecast"]["jobs_waiting"]) == ([], 0)


def test_what_a_pause_holds_beside_ours_is_launched_with_it(world: World) -> None:
    """The time is that after the pause has ended, for all."""
    world.waiting("other", 2)
    world.table.pause(Paused(project_subject(TO), timestamp(world.clock())))
    found = world.plan()
    assert found["finding_counts"] == {"FOLDER_BUSY": 1, "PAUSED": 1}
    assert found["forecast"]["jobs_waiting"] == 1


def test_an_id_that_is_in_use_is_found(world: World) -> None:
    world.create(f"icav2://{TO}/elsewhere/", copy_id="other")
    found = world.plan(copy_id="other")
    (finding,) = found["findings"]
    assert (finding["kind"], finding["uri"], finding["fails"]) == ("ID_IN_USE", "other", True)
    assert found["would_fail"] is True
    assert world.findings(copy_id="another") == []


def test_a_submission_that_is_there_already_copies_nothing(world: World) -> None:
    jobs = flip(MANIFEST, Limits())
    count, now = len(jobs), timestamp(world.clock())
    world.table.create_copy(Copy("run-42", digest(jobs, CopyOptions()), now, count, count, "s3://our-bucket/m"))
    found = world.plan(copy_id="run-42")
    (finding,) = found["findings"]
    assert (finding["kind"], finding["follows"], found["would_fail"]) == ("ID_IN_USE", THERE_ALREADY, False)
    assert world.plan(copy_id="run-42", action_on_exist="RENAME")["would_fail"] is True


def test_a_copy_that_is_to_be_held_is_said_to_be_paused(world: World) -> None:
    assert world.findings(hold=True) == [("PAUSED", "this copy")]
    assert world.findings(hold=True, copy_id="run-42") == [("PAUSED", "run-42")]


def test_what_is_paused_is_said(world: World) -> None:
    for subject in (ALL, project_subject(TO), project_subject(FROM)):
        world.table.pause(Paused(subject, "2024-05-28T03:12:00.000Z", "ann", "disk full"))
    found = world.plan()
    assert [(each["kind"], each["uri"]) for each in found["findings"]] == [
        ("PAUSED", "everything"),
        ("PAUSED", f"icav2://{TO}/"),
    ]
    assert found["findings"][0]["what"] == "is paused since 2024-05-28T03:12:00.000Z by ann: disk full"
    assert not found["would_fail"]


def test_findings_are_listed_by_kind_the_gravest_first_and_in_the_clients_words(world: World) -> None:
    del world.ica.data["/run/b.txt"]
    world.there("/to/2/a.txt")
    found = world.findings(
        {uri.replace(FROM, "run"): [each.replace(TO, "archive") for each in to] for uri, to in MANIFEST.items()}
    )
    assert found == [("SOURCE_MISSING", "icav2://run/run/b.txt"), ("EXISTS_SAME", "icav2://archive/to/2/a.txt")]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_paths_are_looked_up_in_portions_that_keep_folders_together() -> None:
    small = [f"/{folder}/{name}" for folder in range(400) for name in "abc"]
    portions = list(portions_of(small))
    assert [path for portion in portions for path in portion] == small
    assert [len(each) for each in portions] == [999, 201]
    assert [len(each) for each in portions_of(f"/one/{number}" for number in range(PORTION + 1))] == [PORTION + 1]
    large = [f"/one/{number}" for number in range(2 * MOST_OF_A_FOLDER + 5)]
    assert [len(each) for each in portions_of(large)] == [MOST_OF_A_FOLDER, MOST_OF_A_FOLDER, 5]
    assert list(portions_of([])) == []


def test_of_copies_in_one_folder_fewer_are_looked_up_at_once(world: World) -> None:
    """What its list does not have is looked up once more by the paths: dozens of calls, one after the other."""
    world.limits = Limits(max_sources_per_job=100_000, max_sources_bytes=100_000_000)
    names = [f"/run/{number:05d}" for number in range(MOST_COPIES_OF_A_FOLDER + 1)]
    world.ica.add("/to/", *names)
    world.plan({f"icav2://{FROM}{name}": [f"icav2://{TO}/to/"] for name in names})
    asked = [len(paths) for project, *paths in world.ica.called("find") if project == TO]
    assert asked == [1, MOST_COPIES_OF_A_FOLDER, 1]


def many(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A manifest of 20 folders with a file each, whose paths are looked up one by one."""
    monkeypatch.setattr(survey, "PORTION", 1)
    world.ica.add(*(f"/run/{number:02d}/a" for number in range(20)))
    return {f"icav2://{FROM}/run/{number:02d}/a": [f"icav2://{TO}/to/{number:02d}/"] for number in range(20)}


def test_where_time_runs_out_it_says_how_far_it_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = many(world, monkeypatch)
    del world.ica.data["/run/03/a"]
    find = world.ica.find

    def slow(project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        world.seconds_left -= 60
        return find(project_id, paths)

    monkeypatch.setattr(world.ica, "find", slow)
    world.seconds_left = SECONDS_TO_FINISH + (2 * SIDE_BY_SIDE - 1) * 60
    found = world.plan(manifest)
    assert found["looked_at"] == {"sources": {"done": 2 * SIDE_BY_SIDE, "of": 20}, "copies": {"done": 0, "of": 20}}
    assert found["stopped"] == "the time was up"
    assert found["finding_counts"] == {"SOURCE_MISSING": 1}
    assert found["would_fail"] is True
    assert (found["jobs"], found["files"], found["bytes"]) == (20, 20, 7 * (2 * SIDE_BY_SIDE - 1))


def test_where_ica_stops_answering_what_was_looked_at_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = many(world, monkeypatch)
    world.ica.trouble("find", IcaUnavailable("out for lunch"), only="/run/12/")
    found = world.plan(manifest)
    assert found["looked_at"]["sources"] == {"done": 15, "of": 20}
    assert found["stopped"] == "ICA cannot be asked now: out for lunch"
    assert found["findings"] == []


def test_where_ica_does_not_answer_at_all_there_is_no_plan(world: World) -> None:
    world.ica.trouble("find", IcaUnavailable("out for lunch"))
    error = world.ask()["error"]
    assert (error["kind"], "out for lunch" in error["message"]) == ("unavailable", True)


# --- what to expect --------------------------------------------------------------------------------------------------


def test_a_new_stack_has_only_defaults_to_tell(world: World) -> None:
    expected = world.plan()["forecast"]
    assert (expected["is_of_history"], expected["history_attempts"], expected["failure_rate"]) == (False, 0, 0.2)
    assert 0 < expected["p50_seconds"] <= expected["p95_seconds"]


def test_the_history_is_that_of_settled_copies(world: World) -> None:
    for number in range(12):
        world.settled(f"old-{number}", [("FAILED", 50), ("SUCCEEDED", 100)])
    world.settled("open", [("FAILED", 1)])
    expected = world.plan()["forecast"]
    assert (expected["is_of_history"], expected["history_attempts"], expected["history_copies"]) == (True, 24, 12)
    assert expected["failure_rate"] == pytest.approx(13 / 29, abs=1e-4)
    assert expected["p50_seconds"] >= 100


def test_many_open_copies_do_not_hide_the_history(world: World) -> None:
    world.settled("old", [("SUCCEEDED", 100)])
    world.clock.forward(1)
    for number in range(plans.MOST_COPIES):
        world.waiting(f"open-{number}", 100 + number)
        world.clock.forward(1)
    assert world.plan()["forecast"]["history_attempts"] == 1


def test_of_a_large_copy_a_part_is_read_for_the_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "JOBS_OF_A_COPY", 2)
    read: list[object] = []
    jobs = world.table.jobs

    def noted(copy_id: str, after: str | None = None) -> Iterable[Job]:
        for job in jobs(copy_id, after):
            read.append(job)
            yield job

    world.waiting("large", *range(100, 120))
    world.table.mark_cancelled("large", world.clock())
    for job in list(jobs("large")):
        world.table.cancel(job, world.clock())
    monkeypatch.setattr(world.table, "jobs", noted)
    expected = world.plan()["forecast"]
    assert (expected["history_attempts"], expected["history_copies"], len(read)) == (0, 0, 2)


def test_what_the_history_says_of_each_source_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of 1,000 files has 400 KB of it, and the history is of up to 1,000 attempts."""
    for number in range(4):
        world.settled(f"old-{number}", [("SUCCEEDED", 100)])
    heavy = doubles.HeavyJobs(world.table)
    monkeypatch.setattr(world.table, "jobs", heavy.jobs)
    assert world.plan()["forecast"]["history_attempts"] == 4
    assert (len(heavy.kept), max(heavy.kept)) == (4, 0)


def test_the_history_is_not_older_than_three_months(world: World) -> None:
    world.settled("old", [("SUCCEEDED", 100)])
    world.clock.forward(days=100)
    assert world.plan()["forecast"]["history_attempts"] == 0


def test_what_others_have_under_way_counts(world: World) -> None:
    running, _ = world.create(f"icav2://{TO}/x/", f"icav2://{TO}/y/", copy_id="other")
    doubles.run(world.table, running, world.clock(), "ica-1", TO)
    world.waiting("third", *range(100, 130))
    expected = world.plan()["forecast"]
    assert (expected["jobs_in_flight"], expected["jobs_waiting"]) == (1, 31)
    alone = expected["p50_seconds"]
    world.slots = Slots(total=2)
    assert world.plan()["forecast"]["p50_seconds"] > 2 * alone


def test_jobs_that_would_be_refused_cost_nothing_more(world: World) -> None:
    whole = world.plan()["cost"]
    del world.ica.data["/run/b.txt"]
    rest = world.plan()["cost"]
    assert 0 < rest["ica_calls"] < whole["ica_calls"]
    assert 0 < rest["dollars"] < whole["dollars"]
    assert whole["attempts"] == pytest.approx(3 / 0.8, abs=0.1)


def test_every_kind_of_finding_has_a_consequence() -> None:
    assert CONSEQUENCES.keys() == set(FindingKind)
    assert all(each.fails for each in CONSEQUENCES.values() if each.is_refused)
