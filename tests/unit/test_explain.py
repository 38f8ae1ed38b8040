"""``icav2-copy explain``: a paragraph for each way in which a copy or a job may stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icav2_copy_batch.cli.explain import WHAT_MOVES, explain_copy, explain_job, sentence
from icav2_copy_batch.client import AttemptSummary, CopySummary, HeldJobs, HoldSummary, JobSummary, Pause
from icav2_copy_batch.domain.job import HoldReason

PROJECT = "7595e8f2-32d3-4c76-a324-c6a85dae87b5"
COPY = CopySummary("run-42", "OPEN", "2024-05-28T03:12:00.000Z", total_jobs=4, open_jobs=3, passed_jobs=1)
JOB = JobSummary("000003", "QUEUED", attempt=2, dest_uri=f"icav2://{PROJECT}/to/", project_id=PROJECT, sources=7)


def held(reason: str, detail: str = "what was said") -> JobSummary:
    return replace(JOB, hold=HoldSummary(reason, detail))


def test_what_moves_a_job_is_known_for_every_reason() -> None:
    assert set(WHAT_MOVES) == {reason.value for reason in HoldReason}


@pytest.mark.parametrize("reason", list(HoldReason))
def test_a_held_job_says_why_and_what_would_move_it(reason: HoldReason) -> None:
    text = explain_job(COPY, held(reason))
    assert f"It is held ({reason}): what was said. {WHAT_MOVES[reason]}" in text


def test_a_reason_of_a_newer_stack_is_shown_without_what_moves_it() -> None:
    assert explain_job(COPY, held("ECLIPSE")).endswith("It is held (ECLIPSE): what was said.")


def test_a_copy_says_what_holds_its_jobs_and_how_many() -> None:
    holds = (HeldJobs("NO_SLOT", 2, "what was said"), HeldJobs("FOLDER_BUSY", 1, "copy run-41 writes there"))
    copy = replace(COPY, holds=holds, queued_jobs=3, launching_jobs=1, running_jobs=1)
    text = explain_copy(copy)
    assert text.startswith(
        "Copy run-42 is OPEN: 1 of 4 jobs have ended: 1 passed. 2 jobs are held (NO_SLOT): what was said."
    )
    assert f"1 job is held (FOLDER_BUSY): copy run-41 writes there. {WHAT_MOVES['FOLDER_BUSY']}" in text
    assert text.endswith("1 job runs at ICA. 1 job is being launched.")


PAUSES = (
    Pause("all", "2024-05-28T03:13:00.000Z", "arn:aws:iam::1:user/ann", "ICA is in Maintenance"),
    Pause(f"project {PROJECT}", "2024-05-28T03:14:00.000Z"),
    Pause("copy run-42", "2024-05-28T03:15:00.000Z"),
)


def test_a_pause_is_named_with_who_and_why() -> None:
    elsewhere = Pause("project another", "2024-05-28T03:16:00.000Z")
    copy = replace(COPY, pauses=(*PAUSES, elsewhere), holds=(HeldJobs("PAUSED", 3, "the same again"),))
    for text in (explain_copy(copy), explain_job(copy, JOB)):
        by = "All has been paused since 2024-05-28 03:13:00 by arn:aws:iam::1:user/ann: ICA is in Maintenance."
        assert by in text
        assert "Copy run-42 has been paused since 2024-05-28 03:15:00." in text
        assert f"Project {PROJECT} has been paused" in text
        assert "the same again" not in text
    assert "Project another has been paused" in explain_copy(copy)
    assert "another" not in explain_job(copy, JOB), "it is not the project of this job"
    assert f"3 jobs are held (PAUSED). {WHAT_MOVES['PAUSED']}" in explain_copy(copy)


def test_a_job_whose_hold_names_the_pause_does_not_name_it_twice() -> None:
    text = explain_job(replace(COPY, pauses=PAUSES), held("PAUSED", "all has been paused by ann"))
    assert text.count("has been paused") == 1


def test_a_cancelled_copy_that_is_open_waits_for_what_runs_at_ica() -> None:
    cancelled = replace(COPY, cancelled_at="2024-05-28T03:20:00.000Z", holds=(HeldJobs("CANCELLED", 3, "said"),))
    assert "It was cancelled at 2024-05-28 03:20:00 UTC. What runs at ICA cannot be stopped" in explain_copy(cancelled)


def test_a_copy_whose_jobs_have_all_ended_is_being_published() -> None:
    assert "is being written and published" in explain_copy(replace(COPY, open_jobs=0, passed_jobs=4))


def test_a_delayed_copy_is_named() -> None:
    text = explain_copy(replace(COPY, delayed_at="2024-05-28T04:12:00.000Z", redrive_of="run-41"))
    assert "It copies what failed in run-41." in text
    assert "CopyDelayed was published at 2024-05-28 04:12:00 UTC." in text


def test_a_failed_copy_says_what_failed_first_and_how_to_try_again() -> None:
    failed = replace(COPY, status="FAILED", open_jobs=0, failed_jobs=3, settled_at="2024-05-28T05:00:00.000Z")
    text = explain_copy(failed, replace(JOB, status="FAILED", reason="the source is ARCHIVED"))
    assert f"The first job that failed, 000003 into icav2://{PROJECT}/to/: the source is ARCHIVED." in text
    assert text.endswith("icav2-copy redrive run-42 copies again what failed or was cancelled.")


def test_a_failed_copy_that_was_redriven_names_the_new_one() -> None:
    failed = replace(COPY, status="FAILED", open_jobs=0, failed_jobs=3, redriven_as=("run-42.r1",))
    assert explain_copy(failed).endswith("What is missing is copied again by run-42.r1.")


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (replace(JOB, status="PASSED"), "Its files are there."),
        (replace(JOB, status="FAILED", reason="the source is gone"), "The source is gone. Once the copy has settled"),
        (
            replace(JOB, status="RUNNING", ica_job_id="ica-7", running_at="2024-05-28T03:13:00.000Z"),
            "ICA has run its job ica-7",
        ),
        (
            replace(JOB, status="LAUNCHING", claimed_at="2024-05-28T03:13:00.000Z"),
            "launching since 2024-05-28 03:13:00",
        ),
        (replace(JOB, due_at="2024-05-28T03:13:00.000Z"), "It is looked at next at 2024-05-28 03:13:00 UTC."),
        (
            replace(JOB, attempts=(AttemptSummary(1, "FAILED", reason="engine"),)),
            "1 attempt has ended, the last FAILED: engine.",
        ),
    ],
)
def test_a_job_says_how_it_stands(job: JobSummary, says: str) -> None:
    assert says in explain_job(COPY, job)


def test_a_sentence_keeps_its_capitals_and_has_one_full_stop() -> None:
    assert sentence("the file URI.") == "The file URI."
