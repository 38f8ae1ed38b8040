"""What a copy costs, counted: calls to ICA, and units and requests of AWS. Times are for the benchmarks."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import replace
from email.message import Message
from threading import Lock
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.costs import WRITE_UNITS_A_SOURCE
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import CopyStatus, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outcomes import Fingerprint
from icav2_copy_batch.domain.schedule import Backlog
from icav2_copy_batch.domain.stops import Paused, copy_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import parse_uri
from local.bench.cost import PRICES
from local.bench.meter import Meter
from local.manifests import Manifest, bclconvert_manifest
from local.simulator.model import JobStatus as IcaStatus
from local.simulator.model import Outcome, Script
from tests import doubles
from tests.doubles.simulated_ica import COPY_BATCH, CREATE_FOLDER, DATA, DELETE
from tests.integration import template
from tests.integration.aws_calls import AwsCalls, moto, text_of
from tests.integration.pipeline import Pipeline
from tests.integration.tables import (
    DESTINATION,
    at,
    copy_of,
    create_jobs,
    failed,
    items,
    launch,
    now,
    passed,
    request,
    requeue,
    run,
    size_of,
    stored,
)

JOBS = "/api/jobs"
ITEMS = "/api/projects/{project_id}/dataCopyBatch/{batch_id}/items"
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
UNIT = 1024
"""Bytes of an item that one unit writes."""


# --- calls to ICA ----------------------------------------------------------------------------------------------------


def settle(pipeline: Pipeline, manifest: Manifest, failing: int = 0) -> Counter[str]:
    """Copy a manifest, with one look for each wave of ICA jobs that have ended; the calls that it took, by kind.

    The first attempts into so many of its folders fail.
    """
    ica, destinations = pipeline.ica, sorted({uri for uris in manifest.values() for uri in uris})
    for uri in map(parse_uri, [*manifest, *destinations]):
        project_id = ica.world.add_project(uri.project).id
        if not uri.is_folder:
            ica.file(uri.path, project_id)
        elif str(uri) in destinations[:failing]:
            ica.world.scripts[project_id, uri.path] = Script([Outcome(IcaStatus.PARTIALLY_SUCCEEDED)])
    pipeline.submit({"manifest": manifest})
    pipeline.ingest()
    pipeline.events()
    ica.sim.calls.clear()
    for _ in range(5):
        for _ in range(2):  # two deliveries take all
            pipeline.launch()
        ica.clock.forward(20)
        pipeline.poll()
        pipeline.publish()
        if settled := pipeline.events():
            assert [name for name, _ in settled] == ["CopyCompleted"]
            return Counter(ica.sim.calls)
    raise AssertionError("it did not settle")


def test_a_run_takes_few_calls(pipeline: Pipeline) -> None:
    """Of 118 files in 44 jobs, of which a fifth fails once: what cannot be fewer, and the looks."""
    calls = settle(pipeline, bclconvert_manifest(), failing=9)
    launches, folders, parents, looks = 53, 44, 8, 2
    assert calls.pop(f"POST {COPY_BATCH}") == launches
    assert calls.pop(f"POST {CREATE_FOLDER}") == folders + parents
    assert calls.pop(f"GET {ITEMS}") == 9, "one for each copy batch that failed"
    failures = [job for job in pipeline.ica.world.jobs.values() if job.status is IcaStatus.PARTIALLY_SUCCEEDED]
    left = sum(item.status.value != "COPIED" for job in failures for item in job.items)
    assert calls.pop(f"POST {DELETE}") == left, "one for each file that one of these has left PARTIAL"
    assert calls.pop(f"GET {DATA}/{{data_id}}") == left, "and one to see that it is PARTIAL still"
    assert calls.pop(f"GET {JOBS}") == looks
    assert calls.pop(f"GET {DATA}") <= 26 + 2 * 9, "two for what each of these has left: before and after the deletion"
    assert not calls


def test_calls_do_not_grow_with_the_files_in_a_folder(pipeline: Pipeline) -> None:
    few = settle(pipeline, {"icav2://source/run/a.txt": ["icav2://destination/few/"]})
    names = [f"{number:03d}_S1_L001_R1_001.fastq.gz" for number in range(900)]
    assert settle(pipeline, {f"icav2://source/many/{name}": ["icav2://destination/many/"] for name in names}) == few


# --- units of the table ----------------------------------------------------------------------------------------------


def written(aws: AwsCalls, since: int) -> tuple[int, int]:
    """Units that the writes since then take, as long as no item is larger than one; and the largest request's bytes.

    A write in a transaction takes two. What the indexes take besides is counted by ``index_units``.
    """
    units = largest = 0
    for operation, sent in aws.sent[since:]:
        if operation in WRITES:
            asked = json.loads(text_of(sent))
            units += 2 * len(asked["TransactItems"]) if operation == "TransactWriteItems" else 1
            largest = max(largest, len(text_of(sent)))
    return units, largest


def index_units(aws: AwsCalls) -> Counter[str]:
    """Units that the indexes take from now on, by their names; it grows with each write.

    A write takes none where the entry stays as it is, one for each KB of an entry that comes, goes or changes, and
    those of both entries where its key changes: see "Global secondary indexes" in the developer guide.
    """
    units: Counter[str] = Counter()
    one_at_a_time = Lock()

    def count(asked: AWSPreparedRequest) -> AWSResponse:
        with one_at_a_time:
            before = stored()
            answer = moto(asked)
            after = stored()
            changed = [key for key in before | after if before.get(key) != after.get(key)]
            for index in template.properties("CopyTable")["GlobalSecondaryIndexes"]:
                for key in changed:
                    units[index["IndexName"]] += _units_of(*(_entry(index, each.get(key)) for each in (before, after)))
        return answer

    for operation in WRITES:
        aws.answer(operation, count)
    return units


Entry = dict[str, Any]


def _entry(index: dict[str, Any], item: Entry | None) -> tuple[Entry, Entry] | None:
    """What an index holds of an item: its key there, and all of it."""
    names = [key["AttributeName"] for key in index["KeySchema"]]
    if item is None or not item.keys() >= set(names):
        return None
    shown = {"copy_id", "item", *names, *index["Projection"]["NonKeyAttributes"]}
    return {name: item[name] for name in names}, {name: value for name, value in item.items() if name in shown}


def _units_of(before: tuple[Entry, Entry] | None, after: tuple[Entry, Entry] | None) -> int:
    if before == after:
        return 0
    sizes = [math.ceil(size_of({"M": each[1]}) / UNIT) for each in (before, after) if each]
    has_moved = before and after and before[0] != after[0]
    return sum(sizes) if has_moved else max(sizes)


def largest_job_item() -> int:
    """Bytes, as DynamoDB counts them, or a few more."""
    return max(size_of({"M": item}) for item in items() if item["item"]["S"].startswith("JOB#"))


@pytest.mark.parametrize("sources", [2, 1000])
def test_a_job_that_passes_takes_sixteen_units_however_many_sources_it_has(
    table: CopyTable, aws: AwsCalls, sources: int
) -> None:
    """One creates it, six claim it with its slot and folder, one notes its ICA job, eight end and count it.

    Before them another has taken it from the backlog. What is due takes five more: the job's entry comes, moves and
    goes, and its copy's changes. The list of copies takes none.
    """
    table.create_copy(copy_of())
    hard_to_pack = [
        f"icav2://from/run/{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()}" for n in range(sources)
    ]
    began = len(aws.sent)
    table.create_jobs("c", [PlannedJob(DESTINATION, tuple(hard_to_pack))], CopyOptions(), at(0))
    created, _ = written(aws, began)
    assert created == (1 if sources == 2 else 2), "many sources are an item of their own, written once"
    in_indexes = index_units(aws)
    began = len(aws.sent)
    running = run(table, now(table, *table.jobs("c")))
    assert table.mark_passed(running, passed(running), at(20))
    units, largest = written(aws, began)
    assert units == 6 + 1 + 8
    assert +in_indexes == {"due": 1 + 2 + 1 + 1}
    assert largest < 4096, "what is sent for a move does not hold the sources"
    assert largest_job_item() <= UNIT


def test_the_list_of_copies_is_written_once_a_copy_and_never_for_a_job(table: CopyTable, aws: AwsCalls) -> None:
    """Whatever becomes of it: each write that concerns a copy or one of its jobs."""
    in_indexes = index_units(aws)
    tags = {f"tag {number}": "x" * 60 for number in range(10)}
    table.create_copy(replace(copy_of(8, task_tokens=["one"]), tags=tags, redrive_of="another"))
    assert in_indexes["listed"] == 1
    table.create_backlogs([Backlog("c", "to", 1, 8, timestamp(at(0)))])
    create_jobs(table, [f"{DESTINATION}{number}/" for number in range(8)])
    table.shorten_backlog(table.backlogs()[0], 9)
    table.mark_ingested("c", at(1))
    assert table.add_task_token("c", "two")
    table.drop_task_token("c", "two")
    assert table.note_heartbeat("c", at(2))
    for number, job in enumerate(list(table.jobs("c"))):
        if number == 0:
            assert table.wait(request(job), at(5), doubles.hold("ICA was unavailable"))
            assert table.release(launch(table, job), at(11), at(12), doubles.hold("ICA was unavailable"))
            assert requeue(table, run(table, job, 13))
            assert table.mark_passed(run(table, now(table, job), 30), passed(job), at(40))
        elif number == 1:
            launched = launch(table, job)
            intent = Intent.of(timestamp(at(11)), "fol.1", ["fil.1"])
            assert table.record_intent(launched, intent, at(12), 10**12)
            assert table.mark_answer_lost(launched, at(13), at(14), doubles.hold("connection dropped"))
            assert table.mark_undecided(now(table, job), at(15), doubles.hold("nobody can tell"))
            assert table.mark_running(now(table, job), "ica-job", "ica-batch", at(16), at(17))
            assert table.postpone(now(table, job), at(18))
            assert table.note_comparison(now(table, job), at(19), at(19), "icav2://from/b")
            assert table.mark_passed(now(table, job), passed(job), at(20))
        elif number == 2:
            assert table.give_up(run(table, job), failed(job), at(21))
            assert table.mark_redriven(job, "c.r1")
    pause = Paused(copy_subject("c"), timestamp(at(30)))
    assert table.pause(pause, "c")
    table.mark_delayed("c", at(31))
    assert table.resume(pause.subject, at(31), "c")
    assert table.mark_cancelled("c", at(32))
    for job in list(table.jobs("c"))[3:]:
        assert table.cancel(job, at(33))
    table.forget_cancelled("c")
    assert table.begin_publication("c", at(40), at(41))
    table.abandon_publication("c")
    settled = table.begin_publication("c", at(42), at(43))
    assert settled
    assert table.mark_published(settled, at(44), frozenset())
    table.forget_waiting("c")
    table.mark_copy_redriven("c", "c.r1")
    statuses = Counter(job.status for job in table.jobs("c"))
    assert statuses == {JobStatus.PASSED: 2, JobStatus.FAILED: 1, JobStatus.CANCELLED: 5}
    assert in_indexes["listed"] == 1
    (copy,) = table.get_copies([each.copy_id for each in table.submitted_copies(at(0), at(1), 9)])
    assert (copy.status, copy.tags) == (CopyStatus.CANCELLED, tags)


def test_the_benchmarks_meter_counts_indexes_and_each_item_of_a_batch() -> None:
    """Writes as the local AWS reports them, which is with the indexes since each write asks for that."""
    meter = Meter()

    def count(operation: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        headers = Message()
        headers["X-Amz-Target"] = f"DynamoDB_20120810.{operation}"
        headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=test/20261126/us-east-1/dynamodb/aws4_request"
        meter.count("POST", headers, json.dumps(asked).encode(), 200, json.dumps(answer).encode())

    keys = [{"copy_id": {"S": copy_id}} for copy_id in ("small", "large", "nobody")]
    found = [keys[0], {**keys[1], "manifest_uri": {"S": "x" * 5000}}]
    batch = {"RequestItems": {"copies": {"Keys": keys, "ConsistentRead": True}}}
    count("BatchGetItem", batch, {"Responses": {"copies": found}, "UnprocessedKeys": {}})
    assert dict(meter.units) == {"rru": 1 + 2 + 1}
    consumed = [{"TableName": "copies", "CapacityUnits": 8.0 + 1.0}]
    count("TransactWriteItems", {"TransactItems": [{}]}, {"ConsumedCapacity": consumed})
    assert dict(meter.units) == {"rru": 4, "wru": 9}


def test_each_write_asks_for_the_units_that_it_takes(table: CopyTable, aws: AwsCalls) -> None:
    """With those of the indexes: the benchmarks count them."""
    (job,) = create_jobs(table, [DESTINATION])
    table.create_copy(copy_of())
    running = run(table, job)
    assert table.mark_passed(running, passed(running), at(20))
    writes = [json.loads(text_of(sent)) for operation, sent in aws.sent if operation in WRITES]
    assert {asked["ReturnConsumedCapacity"] for asked in writes} == {"TOTAL"}


def test_a_run_writes_the_list_of_copies_once(pipeline: Pipeline, aws: AwsCalls) -> None:
    """With jobs that fail, are tried again, and end."""
    in_indexes = index_units(aws)
    settle(pipeline, pipeline.manifest(*map(str, range(5))), failing=2)
    assert in_indexes["listed"] == 1
    assert in_indexes["due"] > 5 * 5


def test_the_sizes_and_etags_of_a_jobs_copies_take_units_as_a_plan_says(table: CopyTable) -> None:
    number = 1000
    sources = tuple(f"icav2://from/run/{n:04d}" for n in range(number))
    table.create_copy(copy_of())
    table.create_jobs("c", [PlannedJob(DESTINATION, sources)], CopyOptions(), at(0))
    running = run(table, now(table, *table.jobs("c")))
    before = largest_job_item()
    hashes = {each: hashlib.md5(each.encode(), usedforsecurity=False) for each in sources}
    copies = {each: Fingerprint(int.from_bytes(it.digest()[:4]), it.hexdigest()) for each, it in hashes.items()}
    assert table.mark_passed(running, replace(passed(running), fingerprints=copies), at(20))
    units = 2 * (largest_job_item() - before) / UNIT
    assert units / number == pytest.approx(WRITE_UNITS_A_SOURCE, rel=0.1)


def test_a_job_that_has_no_slot_costs_no_refused_claim(pipeline: Pipeline, table: CopyTable, aws: AwsCalls) -> None:
    pipeline.submit({"copy_id": "run", "manifest": pipeline.manifest(*map(str, range(30)))})
    pipeline.ingest()
    pipeline.references |= {"MaxRunningJobs": "2"}
    began = len(aws.sent)
    pipeline.launch()
    assert [job.status for job in table.jobs("run")].count(JobStatus.RUNNING) == 2
    units, _ = written(aws, began)
    assert units == 2 * (6 + 1 + 1) + 28 + 1, "two are started, the others wait, and the poller is triggered"


def test_what_a_look_costs_does_not_grow_with_what_waits(pipeline: Pipeline, table: CopyTable, aws: AwsCalls) -> None:
    pipeline.references |= {"MaxRunningJobs": "2"}
    found: list[int] = []

    def count(request: AWSPreparedRequest) -> AWSResponse:
        answer = moto(request)
        if not any(read in text_of(request) for read in ("#backlog", '"OPEN"')):  # one entry a copy, not a job
            found.append(json.loads(answer.content)["Count"])
        return answer

    aws.answer("Query", count)
    pipeline.ica.set(job_seconds=10_000)
    costs = []
    for waiting, backlogs in ((5, 1), (200, 2)):
        names = [f"{backlogs} {number}" for number in range(waiting)]
        pipeline.submit({"copy_id": f"run-{backlogs}", "manifest": pipeline.manifest(*names)})
        pipeline.ingest()
        pipeline.launch()
        pipeline.poll()
        found.clear()
        began = len(aws.sent)
        pipeline.poll()
        costs.append((written(aws, began), len(found), sum(found)))
        assert len(table.backlogs()) == backlogs
    assert costs[0] == costs[1]


@pytest.mark.parametrize(("source", "event"), [("y/a.txt", "CopyCompleted"), ("none.txt", "CopyFailed")])
def test_to_publish_a_copy_its_jobs_are_read_once(pipeline: Pipeline, source: str, event: str) -> None:
    """For its result, its table of files and its page, and also where some have failed."""
    pipeline.manifest("y")
    pipeline.submit(
        {"manifest": {**pipeline.manifest("x"), f"icav2://source/run/{source}": ["icav2://destination/z/"]}}
    )
    pipeline.ingest()
    pipeline.launch()
    pipeline.ica.clock.forward(10)
    pipeline.poll()
    pipeline.events()
    began = len(pipeline.aws.sent)
    pipeline.publish()
    asked = [(operation, text_of(sent)) for operation, sent in pipeline.aws.sent[began:]]
    assert [name for name, _ in pipeline.events()] == [event]
    assert sum(operation == "Query" and "JOB#" in text for operation, text in asked) == 1


# --- while nothing is open -------------------------------------------------------------------------------------------

MINUTES_A_MONTH = 43_200
PRICE_OF_AN_ALARM = 0.10
"""A month, for each metric that it looks at (aws.amazon.com/cloudwatch/pricing); no free tier is counted."""
POLLS_OF_A_QUEUE = 5 * 3 * MINUTES_A_MONTH
"""Lambda waits at a queue with five connections, each for 20 s at a time (docs.aws.amazon.com/lambda, "with-sqs")."""
PRINTED_BYTES, SECONDS_OF_A_LOOK = 500, 0.2
"""START, END and REPORT of an invocation; what a look takes that finds nothing, with plenty to spare."""


def test_while_nothing_is_open_a_month_costs_less_than_two_dollars(
    pipeline: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline.poll()
    capfd.readouterr()
    began = len(pipeline.aws.sent)
    pipeline.poll()
    assert capfd.readouterr() == ("", ""), "no metrics, which would cost $0.30 each"
    looked = [(called, text_of(request)) for called, request in pipeline.aws.sent[began:]]
    assert {called for called, _ in looked} == {"Query"}, "of AWS, the poller asks the table alone"
    reads = sum(1.0 if '"ConsistentRead": true' in body else 0.5 for _, body in looked)
    resources = list(template.transformed()["Resources"].values())
    alarms = [each["Properties"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    dashboards = [each for each in resources if each["Type"] == "AWS::CloudWatch::Dashboard"]
    assert [each["Condition"] for each in dashboards] == ["HasDashboard"], (
        "who has three of them already may leave it out"
    )
    assert all("Metrics" not in alarm for alarm in alarms), "each looks at one metric"
    mappings = [each["Properties"] for each in resources if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    queues = [each for each in mappings if "Queue" in str(each["EventSourceArn"])]
    poller = template.transformed()["Resources"]["PollFunction"]["Properties"]
    assert poller["TracingConfig"] == {"Mode": "PassThrough"}, "X-Ray would record each look"
    dollars = {
        "alarms": len(alarms) * PRICE_OF_AN_ALARM,
        "queues": len(queues) * POLLS_OF_A_QUEUE * PRICES["SQS requests"],
        "table": MINUTES_A_MONTH * reads * PRICES["DynamoDB read units"],
        "invocations": MINUTES_A_MONTH * PRICES["Lambda requests"],
        "seconds": MINUTES_A_MONTH * SECONDS_OF_A_LOOK * poller["MemorySize"] / 1024 * PRICES["Lambda GB-s (arm64)"],
        "logs": MINUTES_A_MONTH * PRINTED_BYTES / 2**30 * PRICES["CloudWatch Logs GB"],
    }
    assert sum(dollars.values()) < 2, dollars
