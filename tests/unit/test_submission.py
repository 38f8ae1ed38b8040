"""What arrives in the ingest queue: which uploads a notification is about, and the ids of submissions."""

from __future__ import annotations

from typing import Any

import pytest

from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.submission import Sent, Upload, uploads_in
from icav2_copy_batch.domain.submit import read_submit
from tests.event_files import invocation, sample

BUCKET = "icav2-copy-batch-manifests"


def eventbridge_event(key: str = "manifests/run.json", **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = invocation("s3-object-created")
    event["detail"]["object"]["key"] = key
    return event | changes


def s3_notification(key: str = "manifests/run.json", **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = invocation("s3-notification")["Records"][0]
    record["s3"]["object"]["key"] = key
    return {"Records": [record | changes]}


def test_an_event_of_eventbridge_is_about_one_upload_with_its_key_as_it_is() -> None:
    assert uploads_in(invocation("s3-object-created")) == [
        Upload(
            BUCKET,
            "manifests/240229 run #1+2 100%.json",
            "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "b57f9512698f4b09e608f4f2a65852e5",
        )
    ]


def test_nothing_in_a_key_from_eventbridge_is_decoded() -> None:
    (upload,) = uploads_in(eventbridge_event("manifests/a+b%20c.json")) or []
    assert upload.key == "manifests/a+b%20c.json"


def test_a_notification_of_s3_is_about_each_of_its_records_with_the_keys_decoded() -> None:
    assert uploads_in(invocation("s3-notification")) == [
        Upload(BUCKET, "manifests/240229 run #1+2 100%.json", None, "b57f9512698f4b09e608f4f2a65852e5"),
        Upload(BUCKET, "manifests/2024/Übersicht.json.gz", None, "d41d8cd98f00b204e9800998ecf8427e-2"),
    ]


def test_a_notification_of_s3_names_the_version_where_the_bucket_keeps_versions() -> None:
    notification = s3_notification()
    notification["Records"][0]["s3"]["object"]["versionId"] = "v1"
    (upload,) = uploads_in(notification) or []
    assert upload.version_id == "v1"


def test_the_test_event_of_s3_is_about_nothing() -> None:
    assert uploads_in(invocation("s3-test-event")) == []


@pytest.mark.parametrize(
    "key",
    [
        "results/copy.json",
        "submitted/copy.json",
        "rejected/sqs-1/submission",
        "manifests",
        "manifests-of-2024/run.json",
        "Manifests/run.json",
        "old/manifests/run.json",
        "manifests/",
        "manifests/2024/",
    ],
)
def test_only_files_below_manifests_are_submissions(key: str) -> None:
    assert uploads_in(eventbridge_event(key)) == []
    assert uploads_in(s3_notification(key)) == []


@pytest.mark.parametrize("detail_type", ["Object Deleted", "Object Restore Completed", "object created", ""])
def test_another_event_of_a_bucket_is_about_no_upload(detail_type: str) -> None:
    assert uploads_in(eventbridge_event(**{"detail-type": detail_type})) == []


@pytest.mark.parametrize(
    "event_name", ["ObjectRemoved:Delete", "s3:ObjectRemoved:Delete", "ObjectRestore:Completed", ""]
)
def test_a_record_about_something_else_than_an_upload_is_passed_over(event_name: str) -> None:
    assert uploads_in(s3_notification(eventName=event_name)) == []


@pytest.mark.parametrize("event_name", ["ObjectCreated:Put", "ObjectCreated:Copy", "s3:ObjectCreated:Post"])
def test_a_file_may_be_uploaded_in_any_way(event_name: str) -> None:
    assert [upload.key for upload in uploads_in(s3_notification(eventName=event_name)) or []] == ["manifests/run.json"]


@pytest.mark.parametrize(
    "body",
    [
        sample("message-manifest"),
        sample("message-with-all-options"),
        sample("manifest"),
        {},
        [],
        None,
        "s3:TestEvent",
        {"Records": []},
        {"Records": "manifests/run.json"},
        {"Records": ["manifests/run.json"]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"Records": [s3_notification()["Records"][0], {"eventSource": "aws:sqs"}]},
        {"source": "aws.s3"},
        {"source": "aws.events", "detail": {}},
        {"source": "my.own", "detail-type": "Object Created", "detail": eventbridge_event()["detail"]},
    ],
)
def test_what_is_no_notification_is_a_message_of_a_clients(body: object) -> None:
    assert uploads_in(body) is None


def test_a_message_is_called_after_the_id_that_sqs_gave_it() -> None:
    assert Sent("059f36b4", "{}").submission_id == Sent("059f36b4", "[]").submission_id == "sqs-059f36b4"


def test_an_upload_has_the_same_id_however_it_is_notified() -> None:
    by_s3 = Upload("bucket", "manifests/a b.json", "v1", "e1")
    by_eventbridge = Upload("bucket", "manifests/a b.json", "v1", None)
    assert by_s3.submission_id == by_eventbridge.submission_id == "s3-6f2ff84ceb9fe76c813df95b16845431"


@pytest.mark.parametrize(
    "other",
    [
        Upload("other", "manifests/run.json", "v1", "e1"),
        Upload("bucket", "manifests/other.json", "v1", "e1"),
        Upload("bucket", "manifests/run.json", "v2", "e1"),
        Upload("bucket", "manifests/run.json", None, "e1"),
        Upload("bucketmanifests", "/run.json", "v1", "e1"),
    ],
)
def test_another_upload_has_another_id(other: Upload) -> None:
    assert other.submission_id != Upload("bucket", "manifests/run.json", "v1", "e1").submission_id


def test_without_versions_an_upload_of_other_content_has_another_id() -> None:
    one, same, other = (Upload("bucket", "manifests/run.json", None, etag) for etag in ("e1", "e1", "e2"))
    assert one.submission_id == same.submission_id != other.submission_id


def test_the_id_of_an_upload_can_be_the_id_of_a_copy() -> None:
    submission_id = Upload("bucket", "manifests/Übersicht #1.json", None, None).submission_id
    assert read_submit({"manifest": {}, "copy_id": submission_id}, "message").copy_id == submission_id


def test_an_upload_has_a_uri() -> None:
    assert Upload("bucket", "manifests/a b#.json", "v1", None).uri == "s3://bucket/manifests/a b#.json"


# --- what S3 cannot have sent ----------------------------------------------------------------------------------------


def with_part(part: str, name: str, value: object) -> list[dict[str, Any]]:
    """Both kinds of notice, a part of them changed."""
    event, notification = eventbridge_event(), s3_notification()
    for of_s3 in (event["detail"], notification["Records"][0]["s3"]):
        of_s3[part][name] = value
    return [event, notification]


ODD = {
    "bucket that is a number": with_part("bucket", "name", 5),
    "bucket that is null": with_part("bucket", "name", None),
    "bucket of a name that S3 does not allow": with_part("bucket", "name", "My Bucket"),
    "key that is a number": with_part("object", "key", 7),
    "key that is empty": with_part("object", "key", ""),
    "key that is too long": with_part("object", "key", "manifests/" + "é" * 508),
    "key with half a character": with_part("object", "key", "manifests/\ud800")[:1],
    "version that is a number": with_part("object", "version-id", 7),
    "version with half a character": with_part("object", "version-id", "\ud800"),
    "version that is a list": with_part("object", "versionId", ["v1"])[1:],
    "ETag that is a list": with_part("object", "etag", ["e"]),
}


@pytest.mark.parametrize("notices", ODD.values(), ids=ODD)
def test_a_notice_that_s3_cannot_have_sent_is_refused(notices: list[dict[str, Any]]) -> None:
    for notice in notices:
        with pytest.raises(Refused, match="is a notification from S3"):
            uploads_in(notice)


def test_a_notice_needs_neither_size_nor_version_nor_etag() -> None:
    for notice in (eventbridge_event(), s3_notification()):
        described = (notice["Records"][0]["s3"] if "Records" in notice else notice["detail"])["object"]
        key = described["key"]
        described.clear()
        described["key"] = key
        assert uploads_in(notice) == [Upload(BUCKET, "manifests/run.json", None, None)]


def test_a_key_may_be_as_long_as_s3_allows() -> None:
    key = "manifests/" + "é" * 507
    assert [upload.key for upload in uploads_in(eventbridge_event(key)) or []] == [key]
