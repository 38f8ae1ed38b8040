"""What goes wrong between us and ICA, on the deployed template: each copy still ends right, with not one ICA job more.

The copies of the first part are started together, since some of them end only after minutes: an answer that was lost
is taken to be carried out, or never to be, after two. Faults are told apart by the projects in a call's path.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from icav2_copy_batch.adapters.ica.http import READ_SECONDS
from icav2_copy_batch.adapters.table.models import JOB_PREFIX
from icav2_copy_batch.domain.job import JobStatus
from icav2_copy_batch.stages.launch import SECONDS_TO_LAUNCH
from local.demo import subscribed
from local.manifests import Manifest, bclconvert_manifest
from local.stack import TOKEN, LocalStack, StackOptions, local_stack
from tests.e2e.conftest import Event, Subscriber
from tests.e2e.steps import (
    assert_copied_whole,
    await_empty,
    destinations,
    first_folders,
    folder_of,
    function_name,
    ica_jobs,
    place,
    poll,
    script,
    send,
    simulator,
    stocked,
    until,
)

pytestmark = pytest.mark.usefixtures("runs")  # started before anything else, since they take longest

NEXT_TOKEN = "a-token-that-was-rotated-in"
SECRET = "ICAv2JWTKey-local"
STANDARD = {
    "single_part": "fails_with_tags",  # touches only small files, which fastq.gz are not
    "create_folder_seconds": 0.2,
    "delete_seconds": 0.3,
}
"""ICA's switches in this file, where nothing else is said; no job fails but by script."""
LAUNCH_SECONDS = int(SECONDS_TO_LAUNCH) + 5
"""The launch function's time-out when one is to be killed: a claim is given up 75 seconds after it."""
REDELIVERY_SECONDS = 30
MINUTES = 900.0
"""Of an ICA job that runs for longer than these tests do."""
FREEDOMS: list[dict[str, object]] = [{"items_lag_seconds": 8.0}, {"page_cap": 2}]
"""What ICA may keep back of a copy batch whose start nobody has heard of."""


@dataclass(frozen=True)
class Run:
    """A small part of a run, and the id of its copy."""

    copy_id: str
    manifest: Manifest

    @property
    def calls(self) -> str:
        """Matches the path of every call on its projects."""
        return "|".join(dict.fromkeys(place(uri)[0] for source, to in self.manifest.items() for uri in (source, *to)))

    @property
    def source_project(self) -> str:
        return place(next(iter(self.manifest)))[0]

    @property
    def destination_project(self) -> str:
        return place(destinations(self.manifest)[0])[0]

    @property
    def starts(self) -> str:
        """Matches the path of the call that starts a copy batch."""
        return f"{self.destination_project}/dataCopyBatch$"


# --- while ICA is in trouble ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """A stack of this file's own: it is left with another token, and its ICA does as it is told."""
    parameters = {"AllowSameProject": "true", "MaxSourcesPerJob": "2", "LaunchConcurrency": "3"}
    with local_stack(StackOptions(failure_rate=0.0, job_seconds="0.2:0.5", parameters=parameters)) as stack:
        simulator(stack).post("/switches", STANDARD)
        yield stack


@pytest.fixture(scope="module")
def subscriber(stack: LocalStack) -> Iterator[Subscriber]:
    with subscribed(stack) as events:
        yield Subscriber(events)


@pytest.fixture(scope="module")
def runs(stack: LocalStack, subscriber: Subscriber) -> dict[str, Run]:
    """Copies that are under way while everything goes wrong, by what goes wrong with each."""
    runs: dict[str, Run] = {}

    def run(name: str, folders: int = 4, file_size: int | None = None) -> Run:
        manifest = first_folders(bclconvert_manifest(seed=201 + len(runs)), folders)
        runs[name] = Run(name, stocked(stack, manifest, file_size))
        return runs[name]

    def start(run: Run, **options: object) -> None:
        submit(stack, run, **options)
        subscriber.wait_for(lambda event: event["detail"]["copy_id"] == run.copy_id)

    if sys.platform == "linux":
        kill_a_launch(stack, run("launch-killed", 2))
    lost = [run("answer-lost", 3), run("answers-lost"), run("html-for-starts")]
    lose_answers(stack, *lost)
    return_html(stack, run("html"))
    let_calls_hang(stack, run("calls-hang"))
    small = [run("small-files", 2, file_size=1000), run("small-files-with-tags", 2, file_size=1000)]
    running = [run("out-of-order-running", 2), run("token-rotated-running")]
    for destination in (destination for each in running for destination in destinations(each.manifest)):
        script(stack, destination, {"status": "SUCCEEDED", "seconds": 7.0})
    for each in (*lost, *running, runs["html"], runs["calls-hang"], small[1]):
        start(each)
    fault(stack, "status", run("out-of-order-launching").calls, status=503, seconds=60.0)
    start(runs["out-of-order-launching"])
    start(small[0], copy_user_tags=False, copy_technical_tags=False, copy_instrument_info=False)
    until(lambda: all(all(ica_jobs(stack, each.manifest)) for each in running), "the jobs run")
    until(lambda: all(all_hit(stack, each) for each in lost), "all answers are lost that are to be")

    rotate_token(stack, run("token-rotated-launching"))
    fault(stack, "status", runs["out-of-order-running"].calls, status=503, seconds=30.0)
    return runs


def kill_a_launch(stack: LocalStack, run: Run) -> None:
    """Kill a launch that has started one copy batch and was about to hear of the second."""
    fault(stack, "delay", run.starts, method="POST", after=1, count=1, delay=4.0)
    with timing_out_after(stack, "LaunchFunction", LAUNCH_SECONDS), redelivering_soon(stack):
        submit(stack, run)
        until(lambda: all_hit(stack, run), "the second copy batch is being started")
        processes = processes_of(stack, "LaunchFunction")
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        until(lambda: sum(ica_jobs(stack, run.manifest)) >= 2, "ICA has started it")
        for process in processes:
            os.kill(process, signal.SIGKILL)


def lose_answers(stack: LocalStack, one: Run, each: Run, html: Run) -> None:
    """ICA starts the copy batches, and nobody hears of it."""
    fault(stack, "drop_after", one.starts, method="POST", count=1)
    fault(stack, "drop_after", each.starts, method="POST", count=4)
    for after, status in enumerate([502, 200]):
        fault(stack, "html", html.starts, method="POST", after=after, count=1, status=status, processed=True)


def return_html(stack: LocalStack, run: Run) -> None:
    """From every call but the one that starts a copy batch: instead of what was asked for, and after it was done."""
    project = run.destination_project
    for method, path in (
        ("GET", f"{run.source_project}/data$"),
        ("GET", f"{project}/data$"),
        ("POST", f"{project}/data:createFolder$"),
        ("POST", f"{project}/data/.+:delete$"),
        ("GET", f"{project}/dataCopyBatch/.+/items$"),
        ("GET", "^/api/jobs"),
    ):
        fault(stack, "html", path, method=method, count=1, status=502)
        fault(stack, "html", path, method=method, after=1, count=1, status=200, processed=True)
    script(stack, destinations(run.manifest)[1], "FAILED")


def let_calls_hang(stack: LocalStack, run: Run) -> None:
    """One call of each kind is answered only after our client's time-out."""
    project = run.destination_project
    for method, path in (
        ("GET", f"{run.source_project}/data$"),
        ("POST", f"{project}/data:createFolder$"),
        ("GET", f"{project}/data$"),
    ):
        fault(stack, "delay", path, method=method, count=1, delay=READ_SECONDS + 5)


def rotate_token(stack: LocalStack, run: Run) -> None:
    """ICA takes another token, and only once it has refused the old one the secret is changed."""
    simulator(stack).post("/token", {"token": NEXT_TOKEN})
    submit(stack, run)
    until(lambda: simulator(stack).get("/state")["answers"].get("401", 0) > 2, "the old token is refused")
    stack.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=NEXT_TOKEN)


def test_every_message_sent_again_and_again_changes_nothing(stack: LocalStack, subscriber: Subscriber) -> None:
    run = Run("repeated", stocked(stack, first_folders(bclconvert_manifest(seed=251), 4)))
    _, once, twice, _ = destinations(run.manifest)
    script(stack, once, "FAILED")
    script(stack, twice, "PARTIALLY_SUCCEEDED", "STOPPED")
    send_again = partial(send_everything, stack, run, jobs=4)
    send_again()

    event = subscriber.settled(run.copy_id, meanwhile=send_again)
    send_again()
    await_empty(stack, "IngestQueueUrl", "LaunchQueueUrl")

    assert_right(stack, run, event, [1, 2, 3, 1])
    assert subscriber.of(run.copy_id) == ["CopyStarted", "CopyCompleted"]


# --- ICA as it may be -------------------------------------------------------------------------------------------------

ROUNDS: list[dict[str, Any]] = [
    {
        "several_file_paths": "first_only",
        "create_folder_on_existing": "conflict",
        "skip_counts_partial": True,
        "skipped_item_status": "QUEUED",
        "rename_scheme": "after_extension",
    },
    {
        "several_file_paths": "refused",
        "create_folder_on_existing": "return_existing",
        "skip_counts_partial": False,
        "skipped_item_status": "COPYING",
        "subject_id_is_batch": False,
    },
    {
        "url_limit": 700,
        "create_folder_on_existing": "duplicate",
        "skip_counts_partial": True,
        "skipped_item_status": "PARTIALLY_COPIED",
        "subject_type": "DataCopyBatch",
    },
    {
        "create_folder_on_existing": "duplicate",
        "skip_counts_partial": False,
        "skipped_item_status": "FAILED",
        "end_of_pages": "null",
    },
    {
        "create_folder_on_existing": "return_existing",
        "skip_counts_partial": True,
        "skipped_item_status": "COPIED",
        "rename_scheme": "before_extension",
    },
]
"""Answers to what is not known of ICA. Those that have nothing to do with each other are tried together."""


@pytest.mark.parametrize("number", range(len(ROUNDS)), ids=[", ".join(map(str, each.values())) for each in ROUNDS])
def test_copies_end_right_whichever_way_ica_is(stack: LocalStack, subscriber: Subscriber, number: int) -> None:
    switches = ROUNDS[number]
    with switched(stack, switches):
        failing, neighbour = started_together(stack, number)
        there = started_onto_files_that_are_there(stack, number)
        renamed = started_with_rename(stack, number)
        events = [subscriber.settled(run.copy_id) for run in (failing, neighbour, there, renamed)]

    assert_right(stack, failing, events[0], [1, 2, 2, 2])
    assert_right(stack, neighbour, events[1], [1, 1, 1, 1])
    assert_right(stack, there, events[2], [2])
    assert_right(stack, renamed, events[3], [1])
    assert_each_folder_is_there_once(stack, failing)
    assert_kept_both(stack, renamed, switches.get("rename_scheme", "before_extension"))


def started_together(stack: LocalStack, number: int) -> tuple[Run, Run]:
    """Two copies into folders beside each other, whose parents both have to create; of one, ICA jobs fail."""
    whole = stocked(stack, first_folders(bclconvert_manifest(seed=401 + 10 * number), 8))
    first = first_folders(whole, 4)
    for destination, outcome in zip(destinations(first)[1:], ("FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"), strict=True):
        script(stack, destination, outcome)
    failing = Run(f"failing-{number}", first)
    neighbour = Run(f"neighbour-{number}", {source: to for source, to in whole.items() if source not in first})
    submit(stack, failing)
    submit(stack, neighbour)
    return failing, neighbour


def started_onto_files_that_are_there(stack: LocalStack, number: int) -> Run:
    """One file is whole and the first ICA job fails."""
    run = Run(f"there-{number}", stocked(stack, first_folders(bclconvert_manifest(seed=402 + 10 * number), 1)))
    (whole,) = destinations(run.manifest)
    put_first_file(stack, run, whole)
    script(stack, whole, "FAILED")
    submit(stack, run)
    return run


def started_with_rename(stack: LocalStack, number: int) -> Run:
    run = Run(f"renamed-{number}", stocked(stack, first_folders(bclconvert_manifest(seed=403 + 10 * number), 1)))
    put_first_file(stack, run, destinations(run.manifest)[0])
    submit(stack, run, action_on_exist="RENAME")
    return run


def test_copying_inside_a_project_works_if_ica_lets_it_and_else_fails_with_a_sentence(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    with switched(stack, {"same_project_copy": "allow"}):
        run = inside_a_project(stack, "inside", seed=511)
        event = subscriber.settled(run.copy_id)
    with switched(stack, {"same_project_copy": "refuse"}):
        refused = inside_a_project(stack, "inside-refused", seed=512)
        failed = subscriber.settled(refused.copy_id)

    assert_right(stack, run, event, [1, 2, 1])
    assert_failed_at_once(stack, refused, failed, "data cannot be copied within a project")


def inside_a_project(stack: LocalStack, copy_id: str, seed: int) -> Run:
    between = Run(copy_id, first_folders(bclconvert_manifest(seed=seed), 3))
    text = json.dumps(between.manifest).replace(between.destination_project, between.source_project)
    run = Run(copy_id, stocked(stack, json.loads(text)))
    script(stack, destinations(run.manifest)[1], "FAILED")
    submit(stack, run)
    return run


def test_small_files_are_copied_without_tags_and_with_them_fail_with_icas_reason(
    stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]
) -> None:
    without, with_tags = runs["small-files"], runs["small-files-with-tags"]

    assert_each_took_one_ica_job(stack, subscriber, without)
    # Alone in their project they may be those of an outage: the last attempts wait for minutes, and are not waited for.
    until(lambda: all(len(ended) > 2 for ended in reasons(stack, with_tags)), "the first attempts have failed")
    assert all("S3 denied tagging of" in reason for ended in reasons(stack, with_tags) for reason in ended)


# --- how it has ended for the copies under way ------------------------------------------------------------------------


def test_a_token_rotated_while_jobs_run_and_start_costs_no_attempt(
    stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]
) -> None:
    for name in ("token-rotated-running", "token-rotated-launching"):
        assert_each_took_one_ica_job(stack, subscriber, runs[name])
    log = stack.log.read_text()
    assert TOKEN not in log
    assert NEXT_TOKEN not in log


def test_html_in_place_of_any_answer_is_trouble_that_passes(
    stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]
) -> None:
    run = runs["html"]

    event = subscriber.settled(run.copy_id)

    assert_right(stack, run, event, [1, 2, 1, 1])
    assert all_hit(stack, run)


def test_a_minute_of_5xx_costs_no_attempt(stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]) -> None:
    for name in ("out-of-order-running", "out-of-order-launching"):
        assert_each_took_one_ica_job(stack, subscriber, runs[name])
    assert all_hit(stack, runs["out-of-order-launching"])


@pytest.mark.parametrize("name", ["answer-lost", "answers-lost", "html-for-starts"])
def test_what_was_started_without_our_hearing_of_it_is_adopted(
    stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run], name: str
) -> None:
    assert_each_took_one_ica_job(stack, subscriber, runs[name])
    assert all_hit(stack, runs[name])


def test_calls_that_hang_are_made_again(stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]) -> None:
    assert_each_took_one_ica_job(stack, subscriber, runs["calls-hang"])
    assert all_hit(stack, runs["calls-hang"])


@pytest.mark.parametrize("freedom", FREEDOMS, ids=", ".join)
def test_a_start_whose_answer_was_lost_is_adopted_whatever_ica_shows_of_it(
    stack: LocalStack, freedom: dict[str, object]
) -> None:
    """Its ICA jobs take minutes, so that a second launch would write beside them. They are not waited for."""
    name = f"lost-{'-'.join(freedom)}"
    run = Run(name, stocked(stack, first_folders(bclconvert_manifest(seed=531 + FREEDOMS.index(freedom)), 3)))
    for destination in destinations(run.manifest):
        script(stack, destination, {"status": "SUCCEEDED", "seconds": MINUTES})
    with switched(stack, freedom):
        fault(stack, "drop_after", run.starts, method="POST", count=3)
        submit(stack, run)
        until(lambda: all_hit(stack, run), "all answers are lost")
        until(lambda: running_as(stack, run) == live_ica_jobs(stack, run), "what was started is adopted")

    assert ica_jobs(stack, run.manifest) == [1, 1, 1]
    assert simulator(stack).get("/state")["violations"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="finds the function's process in /proc")
def test_what_a_killed_launch_has_started_is_adopted(
    stack: LocalStack, subscriber: Subscriber, runs: dict[str, Run]
) -> None:
    assert_each_took_one_ica_job(stack, subscriber, runs["launch-killed"])


def test_a_limit_of_items_is_kept_by_splitting_jobs_and_else_by_copying_them_part_by_part(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    """The copies under way have settled by now: their jobs would be split as well."""
    with switched(stack, {"max_items": 2}):
        run = logs_of(stack, "items-limited", seed=501)
        event = subscriber.settled(run.copy_id)
    with switched(stack, {"max_items": 1}):
        too_many = logs_of(stack, "items-too-many", seed=502)
        in_parts = subscriber.settled(too_many.copy_id)

    for copied, settled, ica_jobs_each in ((run, event, 2), (too_many, in_parts, 4)):
        assert settled["detail-type"] == "CopyCompleted", settled["detail"]["failed_jobs"]
        assert simulator(stack).copied(copied.manifest) == (4, 4)
        assert ica_jobs(stack, copied.manifest) == [ica_jobs_each]


def logs_of(stack: LocalStack, copy_id: str, seed: int) -> Run:
    """Four files into one folder: two jobs, with two sources to each."""
    whole = bclconvert_manifest(seed=seed)
    logs = {source: to for source, to in whole.items() if "/Logs/" in source}
    run = Run(copy_id, stocked(stack, logs, file_size=20_000_000))
    submit(stack, run)
    return run


def test_jobs_that_ica_soon_forgets_are_read_in_time(stack: LocalStack, subscriber: Subscriber) -> None:
    with switched(stack, {"job_readable_seconds": 30.0}):
        run = Run("forgotten", stocked(stack, first_folders(bclconvert_manifest(seed=521), 3)))
        script(stack, destinations(run.manifest)[1], "FAILED")
        submit(stack, run)
        event = subscriber.settled(run.copy_id)

    assert_right(stack, run, event, [1, 2, 1])


def test_an_ica_that_takes_few_calls_is_asked_about_as_often_as_it_answers(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    run = Run("few-calls", stocked(stack, first_folders(bclconvert_manifest(seed=541), 6)))
    failing = destinations(run.manifest)[1]
    script(stack, failing, "FAILED")
    with switched(stack, {"rate_limit": 6}):
        simulator(stack).post("/counts:reset", {})
        submit(stack, run)
        event = subscriber.settled(run.copy_id)
        answers = Counter(simulator(stack).get("/state")["answers"])

    assert_right(stack, run, event, [2 if each == failing else 1 for each in destinations(run.manifest)])
    assert 0 < answers["429"] < answers.total() / 4


def test_a_storm_of_429_costs_no_attempt(stack: LocalStack, subscriber: Subscriber) -> None:
    """This one and the one before come last: calls are paced from then on."""
    running, launching = (
        Run(name, stocked(stack, first_folders(bclconvert_manifest(seed=551 + number), 2)))
        for number, name in enumerate(["throttled-running", "throttled-launching"])
    )
    for destination in destinations(running.manifest):
        script(stack, destination, {"status": "SUCCEEDED", "seconds": 7.0})
    submit(stack, running)
    until(lambda: all(ica_jobs(stack, running.manifest)), "the jobs run")
    fault(stack, "status", f"{running.calls}|{launching.calls}", status=429, seconds=5.0)
    submit(stack, launching)

    for run in (running, launching):
        assert_each_took_one_ica_job(stack, subscriber, run)
    assert all_hit(stack, launching)


def test_no_two_jobs_ever_wrote_one_file_and_no_message_was_left(stack: LocalStack, subscriber: Subscriber) -> None:
    await_empty(stack, "IngestQueueUrl", "LaunchQueueUrl", "IngestDeadLetterQueueUrl", "LaunchDeadLetterQueueUrl")
    assert simulator(stack).get("/state")["violations"] == []


# --- what the tests do, and what they look for ------------------------------------------------------------------------


def reasons(stack: LocalStack, run: Run) -> list[list[str]]:
    """For each job of a copy why its attempts have failed."""
    attempts = [item.get("attempts", {"L": []})["L"] for item in job_items(stack, run)]
    return [[each["M"]["reason"]["S"] for each in ended] for ended in attempts]


def running_as(stack: LocalStack, run: Run) -> set[str]:
    """The ICA jobs that a copy's running jobs are known to have."""
    return {item["ica_job_id"]["S"] for item in job_items(stack, run) if item["status"]["S"] == JobStatus.RUNNING}


def job_items(stack: LocalStack, run: Run) -> list[dict[str, Any]]:
    client, table = stack.client("dynamodb"), stack.outputs["CopyTableName"]
    asked = {":copy": {"S": run.copy_id}, ":job": {"S": JOB_PREFIX}}
    answer = client.query(
        TableName=table,
        KeyConditionExpression="copy_id = :copy AND begins_with(#item, :job)",
        ExpressionAttributeNames={"#item": "item"},
        ExpressionAttributeValues=asked,
        ConsistentRead=True,
    )
    items: list[dict[str, Any]] = answer["Items"]
    return items


def live_ica_jobs(stack: LocalStack, run: Run) -> set[str]:
    """ICA's jobs into a run's folders, all of which are live."""
    ours = [job for job in simulator(stack).get("/jobs") if folder_of(job) in destinations(run.manifest)]
    assert all(job["status"] in ("INITIALIZED", "WAITING_FOR_RESOURCES", "RUNNING") for job in ours)
    return {job["job_id"] for job in ours}


def submit(stack: LocalStack, run: Run, **options: object) -> None:
    send(stack, {"manifest": run.manifest, "copy_id": run.copy_id, **options})


def send_everything(stack: LocalStack, run: Run, jobs: int) -> None:
    """The submission, and a launch message for each of the jobs' first three attempts."""
    submit(stack, run)
    requests = [
        {"copy_id": run.copy_id, "job_id": f"{number:06d}", "attempt": attempt}
        for number in range(1, jobs + 1)
        for attempt in (1, 2, 3)
    ]
    for request in requests:
        stack.client("sqs").send_message(QueueUrl=stack.outputs["LaunchQueueUrl"], MessageBody=json.dumps(request))


def fault(stack: LocalStack, kind: str, path: str, **more: object) -> None:
    simulator(stack).post("/faults", {"kind": kind, "path": path, **more})


def all_hit(stack: LocalStack, run: Run) -> bool:
    """Whether each fault made for this run's projects has come, as often as it was to."""
    projects = (run.source_project, run.destination_project)
    state = simulator(stack).get("/state")
    faults = [each for each in state["faults"] if any(project in each["path"] for project in projects)]
    assert faults
    return all(each["hits"] >= (each["count"] or 1) for each in faults)


@contextmanager
def switched(stack: LocalStack, switches: Mapping[str, object]) -> Iterator[None]:
    before = simulator(stack).get("/state")["switches"]
    simulator(stack).post("/switches", switches)
    try:
        yield
    finally:
        simulator(stack).post("/switches", before)


@contextmanager
def timing_out_after(stack: LocalStack, logical_id: str, seconds: int) -> Iterator[None]:
    """Another time-out of a function; at both ends it must be at rest."""
    client, name = stack.client("lambda"), function_name(stack, logical_id)
    before = client.get_function_configuration(FunctionName=name)["Timeout"]
    client.update_function_configuration(FunctionName=name, Timeout=seconds)
    try:
        yield
    finally:
        client.update_function_configuration(FunctionName=name, Timeout=before)


@contextmanager
def redelivering_soon(stack: LocalStack) -> Iterator[None]:
    """The messages of a launch that dies come again soon, and not only after six times the function's time-out."""
    sqs, url, name = stack.client("sqs"), stack.outputs["LaunchQueueUrl"], "VisibilityTimeout"
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(REDELIVERY_SECONDS)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before})


def processes_of(stack: LocalStack, logical_id: str) -> list[int]:
    """The processes in which the local AWS of this stack runs a function."""
    wanted = {
        f"AWS_LAMBDA_FUNCTION_NAME={function_name(stack, logical_id)}".encode(),
        f"AWS_ENDPOINT_URL={stack.endpoint}".encode(),
    }
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted <= set(environment.read_bytes().split(b"\0")):
                found.append(int(environment.parent.name))
    return found


def put_first_file(stack: LocalStack, run: Run, destination: str, **more: object) -> None:
    """Have the first of the files that go into a folder be there already."""
    project, path = place(next(source for source, to in run.manifest.items() if to == [destination]))
    source = simulator(stack).files(project)[path]
    target_project, folder = place(destination)
    target = {"project": target_project, "path": folder + path.rpartition("/")[2]}
    simulator(stack).post("/files", {**target, "size": source["size"], "etag": source["etag"], **more})


def assert_right(stack: LocalStack, run: Run, event: Event, ica_jobs_each: list[int]) -> None:
    assert event["detail-type"] == "CopyCompleted", event["detail"]["failed_jobs"]
    assert_copied_whole(stack, run.manifest, event["detail"])
    assert ica_jobs(stack, run.manifest) == ica_jobs_each


def assert_each_took_one_ica_job(stack: LocalStack, subscriber: Subscriber, run: Run) -> None:
    event = subscriber.settled(run.copy_id, meanwhile=partial(poll, stack))
    assert_right(stack, run, event, [1] * len(destinations(run.manifest)))
    assert all(job["job_attempt_counter"] == 1 for job in event["detail"]["job_list_with_attempt_counter"])


def assert_failed_at_once(stack: LocalStack, run: Run, event: Event, reason: str) -> None:
    """No ICA job was started, and none tried a second time."""
    assert event["detail-type"] == "CopyFailed"
    assert event["detail"]["failed_jobs"]
    assert all(failed["attempts"] == 1 and reason in failed["reason"] for failed in event["detail"]["failed_jobs"])
    assert sum(ica_jobs(stack, run.manifest)) == 0


def assert_each_folder_is_there_once(stack: LocalStack, run: Run) -> None:
    everything = simulator(stack).get(f"/files?project={run.destination_project}&folders=true")
    paths = Counter(each["path"] for each in everything)
    assert {path for path, times in paths.items() if times > 1} == set()


def assert_kept_both(stack: LocalStack, run: Run, scheme: str) -> None:
    source = place(next(iter(run.manifest)))[1]
    name = source.rpartition("/")[2]
    stem, _, suffix = name.partition(".")
    other = f"{stem} (1).{suffix}" if scheme == "before_extension" else f"{name} (1)"
    files = simulator(stack).files(*place(destinations(run.manifest)[0]))
    folder = place(destinations(run.manifest)[0])[1]
    assert {path: files[path]["status"] for path in (folder + name, folder + other)} == {
        folder + name: "AVAILABLE",
        folder + other: "AVAILABLE",
    }
