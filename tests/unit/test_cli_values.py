"""Values on the command line, and the words and numbers that are shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from icav2_copy_batch.cli import values, view
from icav2_copy_batch.cli.exits import OF_ERRORS, OF_STATUSES, Exit
from icav2_copy_batch.client import CopySummary, errors
from icav2_copy_batch.client.stack import variable_name
from icav2_copy_batch.domain.job import CopyStatus

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert values.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T08:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T08:00:00+02:00", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 18, 12, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_date_or_how_long_ago(text: str, moment: datetime) -> None:
    assert values.moment(text, NOW) == moment


def test_what_is_not_given_stays_so() -> None:
    assert (values.seconds(None), values.moment(None, NOW), values.tags(None)) == (None, None, {})


def test_tags_are_split_at_their_first_equals_sign() -> None:
    assert values.tags(["run=42", "query=a=b", "empty="]) == {"run": "42", "query": "a=b", "empty": ""}


def test_a_jobs_number_is_its_id() -> None:
    assert [values.job_id(each) for each in ("3", "000003", "1234567", "x")] == ["000003", "000003", "1234567", "x"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: values.seconds("soon"),
        lambda: values.seconds("-1"),
        lambda: values.moment("yesterday", NOW),
        lambda: values.tags(["run"]),
        lambda: values.tags(["=42"]),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(typer.BadParameter, match="give"):
        wrong()


def test_every_error_and_every_status_has_its_exit_code() -> None:
    kinds = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CopyBatchError)
    }
    assert set(OF_ERRORS) == kinds - {errors.CopyBatchError}
    assert set(OF_STATUSES) == set(CopyStatus) - {CopyStatus.OPEN}
    assert {*OF_ERRORS.values(), *OF_STATUSES.values()} == set(Exit) - {Exit.STOPPED}


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("IngestQueueUrl", "INGEST_QUEUE_URL"),
        ("ManifestBucketName", "MANIFEST_BUCKET_NAME"),
        ("IngestDeadLetterQueueArn", "INGEST_DEAD_LETTER_QUEUE_ARN"),
    ],
)
def test_an_output_has_its_variable(output: str, name: str) -> None:
    assert variable_name(output) == name


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (80e9, "80.0 GB"), (2e15, "2.0 PB"), (3e18, "3000.0 PB")],
)
def test_bytes_are_said_in_thousands(count: float, said: str) -> None:
    assert view.in_bytes(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (600, "10 min"), (12600, "3.5 h")])
def test_durations_are_said_in_round_numbers(seconds: float, said: str) -> None:
    assert view.duration(seconds) == said


def test_counts_are_said_in_a_sentence() -> None:
    one = CopySummary("run-42", "OPEN", "2024-05-28T03:12:00.000Z", total_jobs=1, open_jobs=1)
    assert view.in_words(one) == "0 of 1 job has ended"
    many = CopySummary("x", "OPEN", "", total_jobs=1200, open_jobs=2, passed_jobs=1190, failed_jobs=5, cancelled_jobs=3)
    assert view.in_words(many) == "1,198 of 1,200 jobs have ended: 1,190 passed, 5 failed, 3 cancelled"


@pytest.mark.parametrize(
    ("uris", "folder"),
    [
        (["icav2://a/to/x/", "icav2://a/to/y/"], "icav2://a/to/"),
        (["icav2://a/to/", "icav2://a/to/y/"], "icav2://a/"),
        (["icav2://a/x/", "icav2://a/y/"], "icav2://a/"),
        (["icav2://a1/x/", "icav2://a2/x/"], ""),
        (["icav2://a/to/x/"], ""),
        ([], ""),
    ],
)
def test_what_destinations_have_in_common_is_a_folder(uris: list[str], folder: str) -> None:
    assert view.common_folder(uris) == folder
