"""The Python client on moto, with a control function that each test scripts."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.session import Session

from icav2_copy_batch.client import (
    CopyBatchError,
    CopyClient,
    HealthFinding,
    HoldSummary,
    Invalid,
    Manifest,
    NoSuchCopy,
    NoSuchJob,
    Refused,
    StackNotFound,
    Subscribed,
    Unavailable,
    WaitTimedOut,
)
from icav2_copy_batch.client.aws import LONGEST_INVOCATION_SECONDS
from icav2_copy_batch.client.doctor import READ_LOG
from icav2_copy_batch.client.stack import DEFAULT_PATH
from icav2_copy_batch.client.submission import MESSAGE_BYTES, PLAIN_BYTES
from icav2_copy_batch.domain.requests import MAX_BYTES
from icav2_copy_batch.domain.submission import Upload, rejection_key
from icav2_copy_batch.domain.submit import read_submit
from icav2_copy_batch.domain.version import VERSION
from tests.doubles.clock import Clock
from tests.integration import clients, template
from tests.integration.aws_calls import AwsCalls, error, json_answer, xml_answer
from tests.integration.operators import (
    BUCKET,
    FUNCTION,
    ScriptedControl,
    deploy,
    deploy_way_in,
    describe_stacks,
    time_of,
)

COPY = {
    "copy_id": "run-42",
    "status": "OPEN",
    "submitted_at": "2024-05-28T03:12:05.000Z",
    "total_jobs": 2,
    "open_jobs": 2,
}
DONE = {**COPY, "status": "COMPLETED", "open_jobs": 0, "passed_jobs": 2}


def manifest(files: int = 1, name: str = "a") -> Manifest:
    built = Manifest()
    for number in range(files):
        built.add(f"icav2://run/{name}{number}.txt", "icav2://archive/to/")
    return built


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def control(aws: AwsCalls) -> ScriptedControl:
    control = ScriptedControl()
    aws.answer("Invoke", control)
    return control


@pytest.fixture
def client(control: ScriptedControl, clock: Clock) -> CopyClient:
    deploy_way_in()
    return CopyClient.from_stack(environment={}, session=clients.session(), time=time_of(clock))


def messages() -> list[dict[str, Any]]:
    """What lies in the ingest queue."""
    url = clients.sqs().get_queue_url(QueueName="ingest")["QueueUrl"]
    received = clients.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(each["Body"]) for each in received]


def reject(copy_id: str, submission_id: str) -> None:
    """Keep a rejection, as ingest does."""
    problems = [{"about": "icav2://run/a", "problem": "is wrong"}]
    rejected = {"submission_id": submission_id, "problem_count": 120, "problems": problems}
    clients.s3().put_object(Bucket=BUCKET, Key=rejection_key(copy_id), Body=json.dumps(rejected).encode())


# --- which stack -----------------------------------------------------------------------------------------------------


def test_a_stack_is_found_by_the_ssm_parameters_of_the_template(aws: AwsCalls) -> None:
    assert template.template()["Parameters"]["SsmPrefix"]["Default"] == DEFAULT_PATH
    deploy({"IngestQueueUrl": "url", "state_machine_arn": "arn"})
    assert CopyClient.from_stack(environment={}).stack.outputs == {"IngestQueueUrl": "url", "StateMachineArn": "arn"}


def test_there_may_be_more_parameters_than_one_page_has(aws: AwsCalls) -> None:
    deploy({f"Output{number}": "value" for number in range(25)})
    assert len(CopyClient.from_stack(environment={}).stack.outputs) == 25


@pytest.mark.parametrize("environment", [{}, {"ICAV2_COPY_STACK": "/ours"}])
def test_another_path_is_given_or_in_the_environment(aws: AwsCalls, environment: dict[str, str]) -> None:
    deploy({"IngestQueueUrl": "theirs"})
    deploy({"IngestQueueUrl": "ours"}, "/ours")
    given = None if environment else "/ours"
    assert CopyClient.from_stack(given, environment=environment).stack.output("IngestQueueUrl") == "ours"


def test_a_name_counts_for_more_than_the_environment(aws: AwsCalls) -> None:
    describe_stacks(aws, "mine", {"IngestQueueUrl": "url"})
    found = CopyClient.from_stack("mine", environment={"ICAV2_COPY_STACK": "theirs"})
    assert (found.stack.name, found.stack.outputs) == ("mine", {"IngestQueueUrl": "url"})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, "there are no SSM parameters below /icav2_copy_batch_utility in us-east-1; name the stack"),
        ("/other", "no SSM parameters below /other"),
        ("other", "there is no stack other in us-east-1; name the stack"),
    ],
)
def test_a_stack_that_is_not_there_is_named_with_what_to_do(aws: AwsCalls, name: str | None, says: str) -> None:
    describe_stacks(aws, "mine", {})
    with pytest.raises(StackNotFound, match=says):
        CopyClient.from_stack(name, environment={})


def test_a_stack_of_an_older_version_is_named(aws: AwsCalls) -> None:
    deploy({"IngestQueueUrl": "url"})
    with pytest.raises(StackNotFound, match="has no output ControlFunctionName; deploy"):
        CopyClient.from_stack(environment={}).status("run-42")


def test_the_region_is_that_of_aws_region(aws: AwsCalls) -> None:
    with pytest.raises(StackNotFound, match="in eu-west-1"):
        CopyClient.from_stack(environment={"AWS_REGION": "eu-west-1"})
    assert "eu-west-1" in str(aws.requests("GetParametersByPath")[0].url)


def test_a_right_that_is_missing_is_said_with_what_was_asked(aws: AwsCalls) -> None:
    aws.refuse("GetParametersByPath", "AccessDeniedException")
    with pytest.raises(Unavailable, match=r"did not list the SSM parameters .*AccessDenied.*give this role the right"):
        CopyClient.from_stack(environment={})


def test_without_credentials_one_is_told_to_sign_in(aws: AwsCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    monkeypatch.setattr(session, "create_client", raising(NoCredentialsError()))
    with pytest.raises(Unavailable, match="sign in to AWS"):
        CopyClient.from_stack(session=session, environment={})


def raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# --- submitting ------------------------------------------------------------------------------------------------------


def test_a_submission_is_a_message_and_its_id_is_known_at_once(client: CopyClient) -> None:
    copy_id = client.submit(manifest(), action_on_exist="OVERWRITE")
    (message,) = messages()
    assert message == {"manifest": manifest().to_dict(), "copy_id": copy_id, "action_on_exist": "OVERWRITE"}
    assert copy_id.startswith("20240528-")
    assert read_submit(message, "message").copy_id == copy_id


def test_each_new_id_is_another(client: CopyClient) -> None:
    assert len({client.submit(manifest()) for _ in range(5)}) == 5


def test_an_own_id_tags_and_hold_are_sent(client: CopyClient) -> None:
    assert client.submit(manifest().to_dict(), copy_id="run-42", tags={"run": "42"}, hold=True) == "run-42"
    assert messages() == [
        {"manifest": manifest().to_dict(), "copy_id": "run-42", "tags": {"run": "42"}, "hold": True},
    ]


def test_what_ingest_would_refuse_is_not_sent(client: CopyClient) -> None:
    with pytest.raises(Refused) as refused:
        client.submit({"nonsense": ["icav2://archive/to/"]}, copy_id="/")
    assert [str(each) for each in refused.value.problems] == [
        "copy_id: must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit"
    ]
    with pytest.raises(Refused, match="1 problem"):
        client.submit({"nonsense": ["icav2://archive/to/"]})
    assert messages() == []


def test_whether_one_project_will_do_is_left_to_the_stack(client: CopyClient) -> None:
    client.submit({"icav2://run/a": ["icav2://run/to/"]})
    assert len(messages()) == 1


def test_a_large_manifest_is_sent_zipped(client: CopyClient) -> None:
    large = manifest(5000)
    assert len(large.to_json()) > PLAIN_BYTES
    client.submit(large, copy_id="run-42", tags={"run": "42"})
    (message,) = messages()
    assert json.loads(gzip.decompress(b64decode(message.pop("manifest_b64gz")))) == large.to_dict()
    assert message == {"copy_id": "run-42", "tags": {"run": "42"}}


def test_what_the_queue_cannot_take_is_uploaded_as_a_message(
    client: CopyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icav2_copy_batch.client.submission.MESSAGE_BYTES", 1000)
    client.submit(manifest(9000), copy_id="run-42")
    assert messages() == []
    stored = clients.s3().get_object(Bucket=BUCKET, Key="manifests/run-42.json.gz")
    assert json.loads(gzip.decompress(stored["Body"].read())) == {
        "manifest": manifest(9000).to_dict(),
        "copy_id": "run-42",
    }
    reject("run-42", Upload(BUCKET, "manifests/run-42.json.gz", stored["VersionId"], None).submission_id)


def test_the_rejection_of_an_upload_is_known_by_its_version(
    client: CopyClient, control: ScriptedControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icav2_copy_batch.client.submission.MESSAGE_BYTES", 1000)
    client.submit(manifest(9000), copy_id="run-42")
    version = clients.s3().head_object(Bucket=BUCKET, Key="manifests/run-42.json.gz")["VersionId"]
    control.fail("status", "no_such_copy", "there is no copy run-42")
    reject("run-42", Upload(BUCKET, "manifests/run-42.json.gz", version, None).submission_id)
    with pytest.raises(Refused, match="run-42 was rejected: it has 120 problems") as refused:
        client.wait("run-42", timeout=10)
    assert (refused.value.total, str(refused.value.problems[0])) == (120, "icav2://run/a: is wrong")


def test_the_limits_are_those_of_the_stacks_queue() -> None:
    assert template.properties("IngestQueue")["MaximumMessageSize"] > MESSAGE_BYTES > PLAIN_BYTES


# --- the control function --------------------------------------------------------------------------------------------


def test_a_copy_is_read_and_keys_that_are_not_known_are_passed_over(
    client: CopyClient, control: ScriptedControl
) -> None:
    control.ok("status", copy={**COPY, "tags": {"run": "42"}, "colour": "blue", "settled_at": None})
    copy = client.status("run-42")
    assert (copy.copy_id, copy.status, copy.tags, copy.settled_at, copy.is_open) == (
        "run-42",
        "OPEN",
        {"run": "42"},
        None,
        True,
    )
    assert control.requests == [{"command": "status", "copy_id": "run-42"}]


def test_jobs_are_read_page_by_page(client: CopyClient, control: ScriptedControl) -> None:
    hold = {"reason": "NO_SLOT", "detail": "200 ICA jobs are in flight"}
    pages: dict[str | None, dict[str, Any]] = {
        None: {"jobs": [{"job_id": "000001", "status": "RUNNING", "hold": None}], "next_after": "000001"},
        "000001": {"jobs": [{"job_id": "000002", "status": "QUEUED", "hold": hold, "sources": 3}]},
    }
    control.answers["status"] = lambda asked: {"ok": {"copy": COPY, **pages[asked.get("after")]}}
    first, second = client.jobs("run-42", failed=True)
    assert (first.job_id, first.hold, second.sources) == ("000001", None, 3)
    assert second.hold == HoldSummary("NO_SLOT", "200 ICA jobs are in flight")
    assert control.requests[1] == {
        "command": "status", "copy_id": "run-42", "jobs": True, "failed": True, "after": "000001",
    }  # fmt: skip


def test_copies_are_listed_as_asked_for(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("list", copies=[COPY, DONE])
    since = datetime(2024, 5, 1, tzinfo=UTC)
    listed = client.list_copies(since=since, until=since, status="OPEN", tags={"run": "42"}, limit=2)
    assert [copy.status for copy in listed] == ["OPEN", "COMPLETED"]
    moment = "2024-05-01T00:00:00.000Z"
    assert control.requests == [
        {"command": "list", "since": moment, "until": moment, "status": "OPEN", "tags": {"run": "42"}, "limit": 2}
    ]


def test_more_copies_are_listed_than_one_answer_has(client: CopyClient, control: ScriptedControl) -> None:
    pages = {None: ("a", 1000), "a": ("b", 0), "b": ("c", 1000), "c": (None, 7)}

    def page(asked: dict[str, Any]) -> dict[str, Any]:
        next_before, copies = pages[asked.get("before")]
        return {"ok": {"copies": [COPY] * min(copies, asked["limit"]), "next_before": next_before}}

    control.answers["list"] = page
    assert len(client.list_copies(limit=5000)) == 2007
    assert [asked["limit"] for asked in control.requests] == [1000, 1000, 1000, 1000]
    control.requests.clear()
    assert len(client.list_copies(limit=1005)) == 1005
    assert [(asked["limit"], asked.get("before")) for asked in control.requests] == [(1000, None), (5, "a"), (5, "b")]
    control.requests.clear()
    assert len(client.list_copies(limit=1000)) == len(client.list_copies(limit=1000)) == 1000
    assert len(control.requests) == 2, "no answer more than is needed"


@pytest.mark.parametrize(
    ("kind", "raises"),
    [
        ("invalid", Invalid),
        ("refused", Refused),
        ("no_such_copy", NoSuchCopy),
        ("no_such_job", NoSuchJob),
        ("unavailable", Unavailable),
        ("of a newer stack", Refused),
    ],
)
def test_each_kind_of_error_is_raised_with_its_words(
    client: CopyClient, control: ScriptedControl, kind: str, raises: type[CopyBatchError]
) -> None:
    control.fail("status", kind, "because of that")
    with pytest.raises(raises, match="because of that"):
        client.status("run-42")


def test_a_function_that_fails_says_so(client: CopyClient, aws: AwsCalls) -> None:
    failed = {"errorMessage": "Task timed out", "errorType": "Sandbox.Timedout"}
    aws.answer("Invoke", lambda request: json_answer(request, failed, headers={"X-Amz-Function-Error": "Unhandled"}))
    with pytest.raises(Unavailable, match=f"{FUNCTION} has failed: .*Task timed out.*; see its log"):
        client.status("run-42")


@pytest.mark.parametrize(
    "answer", [{}, {"ok": 1}, {"error": "words"}, {"ok": {}}, {"ok": {"copy": {"status": "OPEN"}}}]
)
def test_what_is_no_answer_is_not_taken_for_one(client: CopyClient, control: ScriptedControl, answer: Any) -> None:
    control.answers["status"] = answer
    with pytest.raises(Unavailable, match="answer"):
        client.status("run-42")


def test_a_refusal_of_aws_is_unavailable(client: CopyClient, aws: AwsCalls) -> None:
    aws.refuse("Invoke", "AccessDeniedException")
    with pytest.raises(Unavailable, match=r"did not call the control function .*give this role the right"):
        client.status("run-42")


# --- answers and requests that are long, and calls that fail ---------------------------------------------------------


LONG = f"s3://{BUCKET}/answers/one.json.gz"


def store(content: bytes) -> None:
    clients.s3().put_object(Bucket=BUCKET, Key="answers/one.json.gz", Body=content)


def test_a_long_answer_is_read_from_the_bucket(client: CopyClient, control: ScriptedControl) -> None:
    control.answers["status"] = {"answer_uri": LONG}
    store(gzip.compress(json.dumps({"ok": {"copy": DONE}}).encode()))
    assert client.status("run-42").status == "COMPLETED"
    store(gzip.compress(json.dumps({"error": {"kind": "no_such_copy", "message": "there is none"}}).encode()))
    with pytest.raises(NoSuchCopy, match="there is none"):
        client.status("run-42")


def test_a_long_answer_that_cannot_be_read_is_unavailable(client: CopyClient, control: ScriptedControl) -> None:
    control.answers["status"] = {"answer_uri": LONG}
    with pytest.raises(Unavailable, match=f"AWS did not read {LONG}: .*NoSuchKey.*; try again"):
        client.status("run-42")
    for damaged in (b"no gzip", gzip.compress(b"{}" * 1000)[:-9]):
        store(damaged)
        with pytest.raises(Unavailable, match=r"does not hold a valid answer: .*; try again"):
            client.status("run-42")
    store(gzip.compress(json.dumps({"answer_uri": LONG}).encode()))
    with pytest.raises(Unavailable, match="has sent an invalid answer"):
        client.status("run-42")
    control.answers["status"] = {"answer_uri": "nowhere"}
    with pytest.raises(Unavailable, match="with an invalid S3 URI: nowhere"):
        client.status("run-42")


def test_a_request_that_lambda_does_not_take_is_not_sent(client: CopyClient, control: ScriptedControl) -> None:
    with pytest.raises(
        Refused, match=r"the request pause has 5,000,\d\d\d bytes, .* takes 5,000,000; split the manifest"
    ):
        client.pause("run-42", reason="x" * MAX_BYTES)
    assert control.requests == []


def failing(aws: AwsCalls, control: ScriptedControl, failure: str | Exception) -> None:
    """Have the first call of the control function fail, before or after the function has seen it."""

    def answer(request: AWSPreparedRequest) -> AWSResponse:
        if aws.count("Invoke") > 1:
            return control(request)
        if isinstance(failure, Exception):
            raise failure
        said = {"message": "made by the test"}
        return json_answer(request, said, STATUS_OF[failure], {"x-amzn-ErrorType": failure})

    aws.answer("Invoke", answer)


STATUS_OF = {"TooManyRequestsException": 429, "ServiceException": 500, "AccessDeniedException": 403}
URL = "https://lambda.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("failure", "asked", "ordered"),
    [
        ("TooManyRequestsException", 2, 2),
        (EndpointConnectionError(endpoint_url=URL), 2, 2),
        (ConnectTimeoutError(endpoint_url=URL), 2, 2),
        ("ServiceException", 2, 1),
        (ConnectionClosedError(endpoint_url=URL), 2, 1),
        (ReadTimeoutError(endpoint_url=URL), 1, 1),
        ("AccessDeniedException", 1, 1),
    ],
    ids=str,
)
def test_a_call_is_repeated_only_where_that_does_nothing_twice(
    client: CopyClient, control: ScriptedControl, aws: AwsCalls, failure: str | Exception, asked: int, ordered: int
) -> None:
    control.ok("status", copy=COPY)
    control.ok("cancel", copy=COPY)
    commands: list[tuple[Callable[[], object], int]] = [
        (lambda: client.status("run-42"), asked),
        (lambda: client.cancel("run-42"), ordered),
    ]
    for call, times in commands:
        aws.sent.clear()
        failing(aws, control, failure)
        if times > 1:
            call()
        else:
            with pytest.raises(Unavailable):
                call()
        assert aws.count("Invoke") == times


def test_an_order_whose_answer_is_lost_may_have_been_carried_out(
    client: CopyClient, control: ScriptedControl, aws: AwsCalls
) -> None:
    failing(aws, control, ConnectionClosedError(endpoint_url=URL))
    with pytest.raises(Unavailable, match="it may have been carried out nevertheless: check before you try again"):
        client.cancel("run-42")


def test_an_aws_that_cannot_be_reached_is_tried_some_times(
    client: CopyClient, control: ScriptedControl, aws: AwsCalls, clock: Clock
) -> None:
    def unreachable(request: AWSPreparedRequest) -> AWSResponse:
        raise EndpointConnectionError(endpoint_url=URL)

    aws.answer("Invoke", unreachable)
    began = clock.now
    with pytest.raises(Unavailable, match=r"Could not connect to the endpoint URL.*; try again"):
        client.cancel("run-42")
    assert (aws.count("Invoke"), (clock.now - began).total_seconds()) == (4, 7)


def test_the_client_waits_for_as_long_as_the_function_may_take(client: CopyClient) -> None:
    assert template.properties("ControlFunction")["Timeout"] == LONGEST_INVOCATION_SECONDS
    config: Any = client.aws.functions.meta.config
    assert config.read_timeout > LONGEST_INVOCATION_SECONDS
    assert config.tcp_keepalive


# --- steering --------------------------------------------------------------------------------------------------------


def test_who_steers_is_named_and_who_asks_is_not(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("status", copy=COPY)
    control.ok(
        "cancel", copy=COPY, cancelled=1, left=[{"job_id": "000002", "status": "RUNNING", "ica_job_id": "ica-2"}]
    )
    control.ok("redrive", copy_id="run-42.r1", jobs=2)
    control.ok("adopt", job={"job_id": "000002", "status": "RUNNING"})
    control.ok("release", job={"job_id": "000002", "status": "QUEUED"})
    client.status("run-42")
    cancelled = client.cancel("run-42")
    assert (cancelled.cancelled, cancelled.left[0].ica_job_id, cancelled.copy.copy_id) == (1, "ica-2", "run-42")
    assert client.redrive("run-42", job_id="000002").copy_id == "run-42.r1"
    assert client.adopt("run-42", "000002", "ica-2").status == "RUNNING"
    assert client.release("run-42", "000002").status == "QUEUED"
    asked, *steered = control.requests
    assert "by" not in asked
    assert all(each["by"].startswith("arn:aws:") for each in steered)
    assert [{**each, "by": ""} for each in steered] == [
        {"command": "cancel", "copy_id": "run-42", "by": ""},
        {"command": "redrive", "copy_id": "run-42", "job_id": "000002", "by": ""},
        {"command": "adopt", "copy_id": "run-42", "job_id": "000002", "ica_job_id": "ica-2", "by": ""},
        {"command": "release", "copy_id": "run-42", "job_id": "000002", "by": ""},
    ]


def test_where_aws_does_not_say_who_one_is_nobody_is_named(
    client: CopyClient, control: ScriptedControl, aws: AwsCalls
) -> None:
    denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
    aws.answer("GetCallerIdentity", lambda request: xml_answer(request, 403, denied))
    control.ok("cancel", copy=COPY)
    client.cancel("run-42")
    assert control.requests == [{"command": "cancel", "copy_id": "run-42"}]


def test_projects_are_subscribed(client: CopyClient, control: ScriptedControl) -> None:
    told = {"project": "archive", "project_id": None, "status": "refused", "detail": "no", "since": "later"}
    control.ok("subscribe", address="https://queue", projects=[told])
    assert client.subscribe(["archive"]) == [Subscribed("archive", "refused", None, "no")]
    assert control.requests[0]["projects"] == ["archive"]
    assert control.requests[0]["by"]


def test_a_doctors_findings_come_after_those_of_the_control_function_and_the_versions(
    client: CopyClient, control: ScriptedControl
) -> None:
    found = {"check": "bus", "about": "b", "status": "problem", "what": "gone", "fix": "make it", "since": "later"}
    control.ok("doctor", version=VERSION, findings=[found])
    answers, version, bus = client.doctor()
    assert (answers.check, answers.status, version.check, version.status) == ("control", "ok", "version", "ok")
    assert bus == HealthFinding("bus", "problem", "gone", "b", "make it")
    assert control.requests == [{"command": "doctor"}]
    client.doctor(["archive"])
    assert control.requests[1]["projects"] == ["archive"]


def test_another_version_is_a_warning(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("doctor", version="0.9.0", findings=[])
    _, version = client.doctor()
    assert (version.status, version.what) == ("warning", f"the program is {VERSION}, and the stack 0.9.0")
    assert version.fix


def test_a_stack_that_is_too_old_for_a_doctor_is_a_problem(client: CopyClient, control: ScriptedControl) -> None:
    control.fail("doctor", "invalid", "the request is invalid: command: must be one of cancel")
    (version,) = client.doctor()
    assert (version.check, version.status) == ("version", "problem")
    assert "is older than this program" in version.what


def test_a_control_function_that_does_not_answer_is_a_problem(client: CopyClient, aws: AwsCalls) -> None:
    aws.refuse("Invoke", "AccessDeniedException")
    (found,) = client.doctor()
    assert (found.check, found.status) == ("control", "problem")
    assert found.what.startswith(f"AWS did not call the control function {FUNCTION} in us-east-1: ")
    assert str(found.fix).startswith("give this role the right")
    failed = {"X-Amz-Function-Error": "Unhandled"}
    aws.answer("Invoke", lambda request: json_answer(request, {"errorMessage": "no module"}, 200, failed))
    (found,) = client.doctor()
    assert "has failed" in found.what
    assert found.fix == "see its log, then try again"


def test_where_an_error_names_no_fix_none_is_read_into_its_text(client: CopyClient, control: ScriptedControl) -> None:
    said = "ICA is unavailable, try again: no route to it; 3 tries"
    control.fail("doctor", "unavailable", said)
    (found,) = client.doctor()
    assert (found.what, found.fix) == (said, READ_LOG)


def test_an_error_of_aws_has_its_code_and_a_fix(client: CopyClient, aws: AwsCalls) -> None:
    aws.refuse("Invoke", "AccessDeniedException")
    with pytest.raises(Unavailable) as raised:
        client.status("run-42")
    error = raised.value
    assert (error.code, str(error)) == ("AccessDeniedException", f"{error.what}; {error.fix}")


def test_a_stack_without_a_control_function_is_a_problem(aws: AwsCalls) -> None:
    deploy({"IngestQueueUrl": "the url"})
    (found,) = CopyClient.from_stack(session=clients.session(), environment={}).doctor()
    assert (found.check, found.status) == ("control", "problem")
    assert found.fix == "deploy the stack's newest version"


def test_pauses_have_one_subject(client: CopyClient, control: ScriptedControl) -> None:
    paused = {"subject": "all", "since": "2024-05-28T03:12:00.000Z", "by": "ann", "reason": "maintenance"}
    for command in ("pause", "resume", "pauses"):
        control.ok(command, pauses=[paused])
    assert [each.reason for each in client.pause(everything=True, reason="maintenance")] == ["maintenance"]
    client.pause("run-42")
    client.pause(project="7595E8F2-32D3-4C76-A324-C6A85DAE87B5")
    client.resume(project="archive")
    assert client.pauses()[0].by == "ann"
    assert [{key: value for key, value in each.items() if key != "by"} for each in control.requests] == [
        {"command": "pause", "all": True, "reason": "maintenance"},
        {"command": "pause", "copy_id": "run-42"},
        {"command": "pause", "project_id": "7595e8f2-32d3-4c76-a324-c6a85dae87b5"},
        {"command": "resume", "project": "archive"},
        {"command": "pauses"},
    ]
    for arguments in ({}, {"copy_id": "run-42", "everything": True}):
        with pytest.raises(Invalid, match="exactly one"):
            client.pause(**arguments)  # type: ignore[arg-type]


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_wait_ends_when_the_copy_has_settled(client: CopyClient, control: ScriptedControl, clock: Clock) -> None:
    looks: Iterator[dict[str, Any]] = iter(
        [{"error": {"kind": "no_such_copy", "message": "none"}}, {"ok": {"copy": COPY}}, {"ok": {"copy": DONE}}]
    )
    control.answers["status"] = lambda _: next(looks)
    client.submit(manifest(), copy_id="run-42")
    assert client.wait("run-42").status == "COMPLETED"


def test_a_wait_may_time_out(client: CopyClient, control: ScriptedControl, clock: Clock) -> None:
    control.ok("status", copy=COPY)
    began = clock.now
    with pytest.raises(WaitTimedOut):
        client.wait("run-42", timeout=100)
    assert (clock.now - began).total_seconds() == 100


def test_a_message_that_was_rejected_is_found(client: CopyClient, control: ScriptedControl, aws: AwsCalls) -> None:
    client.submit(manifest(), copy_id="run-42")
    url = clients.sqs().get_queue_url(QueueName="ingest")["QueueUrl"]
    message_id = clients.sqs().receive_message(QueueUrl=url)["Messages"][0]["MessageId"]
    control.ok("status", copy={**DONE, "submitted_at": "2024-05-01T00:00:00.000Z"})
    reject("run-42", f"sqs-{message_id}")
    with pytest.raises(Refused, match="was rejected"):
        client.wait("run-42")


def test_the_rejection_of_another_submission_is_not_ours(client: CopyClient, control: ScriptedControl) -> None:
    client.submit(manifest(), copy_id="run-42")
    reject("run-42", "sqs-of-yesterday")
    control.ok("status", copy=DONE)
    assert client.wait("run-42").status == "COMPLETED"


def test_a_bucket_that_may_not_be_read_is_said(client: CopyClient, control: ScriptedControl, aws: AwsCalls) -> None:
    control.fail("status", "no_such_copy", "none")
    aws.answer("GetObject", lambda request: error(request, "AccessDenied"))
    with pytest.raises(Unavailable, match=r"did not read s3://manifests/rejected/copies/run-42\.json"):
        client.wait("run-42")


def test_a_watch_yields_the_jobs_that_have_changed(client: CopyClient, control: ScriptedControl) -> None:
    jobs = [{"job_id": "000001", "status": "PASSED"}, {"job_id": "000002", "status": "PASSED"}]
    control.ok("status", copy=DONE, jobs=jobs)
    (change,) = client.watch("run-42", jobs=True)
    assert [job.job_id for job in change.jobs] == ["000001", "000002"]


def test_all_copies_can_be_watched(client: CopyClient, control: ScriptedControl) -> None:
    control.answers["list"] = lambda asked: {"ok": {"copies": [COPY] if asked.get("status") == "OPEN" else []}}
    assert next(client.watch()).copy.copy_id == "run-42"
    assert [request.get("since") for request in control.requests] == [None, "2024-05-28T03:11:00.000Z"]


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_result_is_read_where_it_lies(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("status", copy={**DONE, "result_uri": f"s3://{BUCKET}/results/run-42.json"})
    for form, text in (("json", b'{"status": "COMPLETED"}'), ("csv", b"source\r\n"), ("html", b"<html>")):
        clients.s3().put_object(Bucket=BUCKET, Key=f"results/run-42.{form}", Body=text)
        assert b"".join(client.report("run-42", form)) == text
    assert client.result("run-42") == {"status": "COMPLETED"}


def test_an_open_copy_has_no_result(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("status", copy=COPY)
    with pytest.raises(Refused, match="has no report yet: it is OPEN; wait until it has settled"):
        client.result("run-42")


def test_a_report_that_has_expired_is_said(client: CopyClient, control: ScriptedControl) -> None:
    control.ok("status", copy={**DONE, "result_uri": f"s3://{BUCKET}/results/run-42.json"})
    with pytest.raises(Refused, match=r"has no report s3://manifests/results/run-42\.html: it has expired"):
        client.report("run-42", "html")
    with pytest.raises(Invalid, match="there is no report format pdf; choose one of json, csv, html"):
        client.report("run-42", "pdf")


def test_the_example_in_the_documents_runs(control: ScriptedControl, capsys: pytest.CaptureFixture[str]) -> None:
    deploy_way_in()
    control.ok("status", copy={**DONE, "result_uri": f"s3://{BUCKET}/results/run-42.json"})
    clients.s3().put_object(Bucket=BUCKET, Key="results/run-42.json", Body=b'{"failed_jobs": []}')
    document = (template.TEMPLATE.parent / "docs/program.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    exec(code, {})  # noqa: S102 # our own document
    assert capsys.readouterr().out == "COMPLETED 2 []\n"
    (message,) = messages()
    assert message["tags"] == {"run": "42"}
