"""``explain``: a paragraph on why a copy or a job is in its state, and what has to happen next."""

from __future__ import annotations

from collections.abc import Mapping

from icav2_copy_batch.cli.view import in_words, pause_in_words, short_time
from icav2_copy_batch.client import CopySummary, JobSummary, Pause
from icav2_copy_batch.client.errors import number

WHAT_MOVES: Mapping[str, str] = {
    "NEXT_ATTEMPT": "The next attempt is launched automatically, as soon as a slot is free.",
    "NO_SLOT": "It is launched automatically when ICA jobs end; MaxRunningJobs and MaxRunningJobsPerProject say how "
    "many may run at once.",
    "FOLDER_BUSY": "It is launched automatically when the other copy has finished with that folder.",
    "THROTTLED": "It is launched automatically; all functions call ICA more slowly until it accepts calls (429).",
    "TOO_LATE": "It is launched automatically, within a minute or so.",
    "ICA_UNAVAILABLE": "It is launched automatically when ICA answers again; the pauses between tries grow. If this "
    "lasts, look at ICA's status page and at the stack's token.",
    "OUTAGE": "It is launched automatically when attempts into its project succeed; a few jobs test that now.",
    "LOOKED_UP_ANEW": "It is launched automatically: its sources and its folder are looked up again then.",
    "BATCH_TOO_LARGE": "It is launched automatically, with fewer sources at a time.",
    "LAUNCH_DIED": "It is launched automatically, within a minute or so.",
    "ANSWER_LOST": "ICA is being searched for the copy batch that may have been started; within minutes it is found "
    "and followed, or proven not to exist and launched again.",
    "UNDECIDED": "A person has to decide. Look in ICA for a job into that folder: if there is one, icav2-copy adopt; "
    "if there is certainly none, icav2-copy release.",
    "PAUSED": "It is launched after icav2-copy resume.",
    "CANCELLED": "It is not launched any more, and ends within a minute or so.",
    "LAUNCH_MESSAGE": "It is launched automatically, within a minute or so.",
}
"""What moves a job that is held for a reason of ``domain.job.HoldReason``."""


def explain_copy(copy: CopySummary, failed: JobSummary | None = None) -> str:
    """A paragraph about a copy, from its counts, what holds its jobs, what is paused, and the first job that failed."""
    told = [f"Copy {copy.copy_id} is {copy.status}: {in_words(copy)}."]
    if copy.redrive_of:
        told.append(f"It copies what failed in {copy.redrive_of}.")
    if copy.is_open:
        told += _why_open(copy)
    else:
        told += _why_settled(copy, failed)
    return " ".join(filter(None, told))


def explain_job(copy: CopySummary, job: JobSummary) -> str:
    """A paragraph about one job."""
    told = [f"Job {job.job_id} of copy {copy.copy_id}, into {job.dest_uri}, is {job.status}."]
    if job.attempts:
        last = job.attempts[-1]
        why = f": {last.reason}" if last.reason else ""
        ended = number(len(job.attempts), "attempt")
        have = "has" if len(job.attempts) == 1 else "have"
        told.append(sentence(f"{ended} {have} ended, the last {last.outcome}{why}"))
    if job.has_ended:
        told.append(_why_ended(job))
        return " ".join(filter(None, told))
    if not job.hold or job.hold.reason != "PAUSED":  # else its detail says the same
        told += [sentence(pause_in_words(each)) for each in copy.pauses if _concerns(each, job)]
    if job.hold:
        told += [sentence(f"it is held ({job.hold.reason}): {job.hold.detail}"), WHAT_MOVES.get(job.hold.reason, "")]
    elif job.status == "RUNNING":
        told.append(f"ICA has run its job {job.ica_job_id} since {short_time(job.running_at)} UTC.")
        told.append("When that has ended, its files are compared, and it passes or is tried again.")
    elif job.status == "LAUNCHING":
        told.append(f"It has been launching since {short_time(job.claimed_at)}; that takes seconds.")
    if job.due_at:
        told.append(f"It is looked at next at {short_time(job.due_at)} UTC.")
    return " ".join(filter(None, told))


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('. ')}."


def _why_open(copy: CopySummary) -> list[str]:
    if copy.cancelled_at:
        why = "What runs at ICA cannot be stopped, ends by itself, and is not tried again; then the copy settles."
        return [f"It was cancelled at {short_time(copy.cancelled_at)} UTC.", why]
    told = [sentence(pause_in_words(each)) for each in copy.pauses]
    for held in copy.holds:
        is_told = held.reason == "PAUSED" and copy.pauses
        detail = "" if is_told else f": {held.detail}"
        are = "is" if held.jobs == 1 else "are"
        told.append(sentence(f"{number(held.jobs, 'job')} {are} held ({held.reason}){detail}"))
        told.append(WHAT_MOVES.get(held.reason, ""))
    if running := copy.running_jobs:
        told.append(f"{number(running, 'job')} {'runs' if running == 1 else 'run'} at ICA.")
    if launching := copy.launching_jobs:
        told.append(f"{number(launching, 'job')} {'is' if launching == 1 else 'are'} being launched.")
    if not copy.open_jobs:
        told.append("Every job has ended; its result is being written and published, which takes seconds.")
    if copy.delayed_at:
        told.append(f"CopyDelayed was published at {short_time(copy.delayed_at)} UTC.")
    return told


def _why_settled(copy: CopySummary, failed: JobSummary | None) -> list[str]:
    told = [f"It settled at {short_time(copy.settled_at)} UTC."]
    if failed:
        told.append(sentence(f"the first job that failed, {failed.job_id} into {failed.dest_uri}: {failed.reason}"))
    if copy.redriven_as:
        told.append(f"What is missing is copied again by {', '.join(copy.redriven_as)}.")
    elif copy.failed_jobs or copy.cancelled_jobs:
        told.append(f"icav2-copy redrive {copy.copy_id} copies again what failed or was cancelled.")
    return told


def _why_ended(job: JobSummary) -> str:
    if job.status == "PASSED":
        return "Its files are there."
    why = f"{sentence(job.reason)} " if job.reason else ""
    return f"{why}Once the copy has settled, icav2-copy redrive copies what is missing again, as a new copy."


def _concerns(pause: Pause, job: JobSummary) -> bool:
    """Whether a pause of its copy is one of a job's own project too, or of no project."""
    return not pause.subject.startswith("project ") or pause.subject == f"project {job.project_id}"
