"""Ingest: a submission becomes a copy with its jobs, which wait to be launched; or it is rejected with every reason.

An ingest that dies anywhere is done again and ends in the same state: each of its writes may be repeated. The launch
messages come last; one that is sent twice launches once, since a launch claims its job. The jobs of a large copy are
written in portions, and if one invocation has not enough time for all, the next goes on. As many launch messages are
sent at once as there are free slots; the poller sends the others.

Projects that are called by their names are looked up here, and nowhere later. If ICA cannot be asked, the message comes
again, as after every other trouble that is not the client's.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from icav2_copy_batch.domain import events
from icav2_copy_batch.domain.ica import IcaRefused
from icav2_copy_batch.domain.job import Clock, Copy, Job, JobStatus, timestamp
from icav2_copy_batch.domain.json_text import decode_b64gz, read_json
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.projects import Projects, UnknownProject, as_spelled
from icav2_copy_batch.domain.requests import (
    BY_QUEUE,
    Cancel,
    CannotDo,
    Failure,
    Pause,
    Redrive,
    Resume,
    is_command,
    read_request,
)
from icav2_copy_batch.domain.schedule import backlogs_of
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.stops import TOO_MANY_PAUSED, copy_subject
from icav2_copy_batch.domain.submission import UPLOAD_PREFIX, Sent, Upload, uploads_in
from icav2_copy_batch.domain.submit import COMMAND_KEY, CopyOptions, Submit, is_message, read_submit
from icav2_copy_batch.ports import Bucket, Bus, Dispatcher, LateAnswers, Table, Tasks
from icav2_copy_batch.stages.operate import Operate
from icav2_copy_batch.stages.rejection import reject
from icav2_copy_batch.stages.unwritten import is_given_up

PORTION = 1000
"""How many jobs are written before the remaining time is checked again."""
SECONDS_FOR_A_PORTION = 60.0

logger = logging.getLogger(__name__)


class OutOfTime(Exception):
    """This invocation has to end. What it has done stays, and the next one goes on from there."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many submissions of one queue message were accepted (or were there already), and how many rejected."""

    accepted: int = 0
    rejected: int = 0
    sent_again: int = 0
    """Launch messages of jobs that had had one before."""

    def __add__(self, other: Ingested) -> Ingested:
        return Ingested(
            self.accepted + other.accepted, self.rejected + other.rejected, self.sent_again + other.sent_again
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a submission asks for, worked out."""

    manifest: object
    jobs: Sequence[PlannedJob]
    options: CopyOptions
    digest: str
    project_names: Mapping[str, str]
    """Id → how the client spells it."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Handles the messages of the ingest queue."""

    table: Table
    bucket: Bucket
    dispatch: Dispatcher
    bus: Bus
    tasks: Tasks
    publish: LateAnswers
    clock: Clock
    seconds_left: Callable[[], float]
    limits: Limits
    operate: Operate
    spread: Spread = in_threads
    project_id: Callable[[str], str]
    """ICA's answer to a project's name. Raises ``IcaRefused`` if the name means no project or several."""

    def receive(self, message_id: str, body: str) -> Ingested:
        """Handle one message of the ingest queue: one submission, or notice of several uploads.

        What the client did wrong is rejected, and raises nothing. Raises ``OutOfTime`` if the message has to come again
        for the rest, and the errors of AWS and ICA, after which it has to come again too.
        """
        sent = Sent(message_id, body)
        try:
            parsed = read_json(body.encode(errors="surrogatepass"), "message", self.limits.max_manifest_bytes)
            uploads = uploads_in(parsed)
        except Refused as refused:
            return self._reject(sent, refused.parsed, refused)
        each = [self._submit(sent, parsed)] if uploads is None else map(self._submit_upload, uploads)
        ingested = sum(each, Ingested())
        # Also if the copy is there already: the invocation that accepted it may have died before this.
        sent_again = self._dispatch() if ingested.accepted else 0
        return ingested + Ingested(sent_again=sent_again)

    def _submit_upload(self, upload: Upload) -> Ingested:
        try:
            parsed = self._read(upload.bucket, upload.key, upload.version_id)
        except Refused as refused:
            return self._reject(upload, refused.parsed, refused)
        return self._submit(upload, parsed)

    def _submit(self, submission: Sent | Upload, parsed: object) -> Ingested:
        """Accept one submission or reject it."""
        try:
            if isinstance(submission, Sent) and is_command(parsed):
                self._operate(parsed)
            else:
                self._accept(submission, _command_in(submission, parsed))
        except Refused as refused:
            return self._reject(submission, parsed, refused)
        return Ingested(accepted=1)

    def _reject(self, submission: Sent | Upload, parsed: object, refused: Refused) -> Ingested:
        reject(submission, parsed, refused, self.clock(), bucket=self.bucket, bus=self.bus, tasks=self.tasks)
        return Ingested(rejected=1)

    def _dispatch(self) -> int:
        """Have as many jobs launched at once as there are slots; how many had had a launch message before."""
        try:
            return self.dispatch.send().again
        except Exception:
            logger.exception("launch messages not sent: the poller sends them")
            return 0

    # --- accepting ---------------------------------------------------------------------------------------------------

    def _accept(self, submission: Sent | Upload, command: Submit) -> None:
        """Write the copy that a command asks for, or finish the one that is there. Raises ``Refused``."""
        copy_id = command.copy_id or submission.submission_id
        present = self.table.get_copy(copy_id)
        plan = self._plan(command, present)
        if present:
            self._finish(present, plan, command.task_token)
            return
        if command.hold and not self.table.stops().has_room_for(copy_subject(copy_id)):
            raise Refused([Problem("hold", f"is not possible: {TOO_MANY_PAUSED}")])
        copy = replace(
            self._new_copy(copy_id, plan),
            manifest_uri=self._manifest_uri(submission, command, plan.manifest),
            task_tokens=frozenset(filter(None, [command.task_token])),
            tags=command.tags,
            # Paused by the write that makes it: nobody can launch or resume it before, and it is not paused again.
            paused_at=timestamp(self.clock()) if command.hold else None,
        )
        if self.table.create_copy(copy):
            self._accept(submission, command)  # somebody was faster: what is there now has its own limits
            return
        self._start(copy, plan)

    def _new_copy(self, copy_id: str, plan: _Plan) -> Copy:
        return Copy(
            copy_id=copy_id,
            digest=plan.digest,
            submitted_at=timestamp(self.clock()),
            total_jobs=len(plan.jobs),
            open_jobs=len(plan.jobs),
            manifest_uri="",
            project_names=plan.project_names,
            max_sources_per_job=self.limits.max_sources_per_job,
        )

    def _finish(self, present: Copy, plan: _Plan, task_token: str | None) -> None:
        """Have a task wait for a copy that is there, and write what an invocation that died has left unwritten."""
        copy_id = present.copy_id
        if present.digest != plan.digest:
            raise Refused([Problem(copy_id, "is the copy_id of another manifest; choose another one, or omit it")])
        if task_token and not self.table.add_task_token(copy_id, task_token):
            self.publish.answer_published(copy_id, task_token)
        if present.ingested_at:
            logger.info("copy is there already", extra={"copy_id": copy_id})
            return
        if is_given_up(present, self.clock()):
            logger.warning("copy was cancelled: what is not written of it is given up", extra={"copy_id": copy_id})
            return
        if present.total_jobs != len(plan.jobs):
            raise RuntimeError(f"copy {copy_id} was begun with {present.total_jobs} jobs and now has {len(plan.jobs)}")
        # Portions are written one after the other: all before that of the last job which is there are complete.
        complete = max(self.table.jobs_written(copy_id) - 1, 0) // PORTION * PORTION
        self._start(present, plan, complete)

    def _start(self, copy: Copy, plan: _Plan, complete: int = 0) -> None:
        """Write the jobs, except the first ``complete`` ones, and then their backlogs. Raises ``OutOfTime``."""
        for start in range(complete, len(plan.jobs), PORTION):
            if self.seconds_left() < SECONDS_FOR_A_PORTION:
                raise OutOfTime(f"copy {copy.copy_id}: {start} of {len(plan.jobs)} jobs are written")
            portion = plan.jobs[start : start + PORTION]
            self.table.create_jobs(copy.copy_id, portion, plan.options, self.clock(), first=start + 1)
        self.bus.put(events.COPY_STARTED, events.started_detail(copy))
        self.table.create_backlogs(backlogs_of(copy.copy_id, plan.jobs, copy.submitted_at))
        self.table.mark_ingested(copy.copy_id, self.clock())
        logger.info("copy accepted", extra={"copy_id": copy.copy_id, "jobs": len(plan.jobs)})

    # --- what operators ask by a message -----------------------------------------------------------------------------

    def _operate(self, parsed: object) -> None:
        """Do what a message asks for copies that are there. Raises ``Refused``."""
        request = read_request(parsed)
        if not isinstance(request, BY_QUEUE):
            raise Refused([Problem(COMMAND_KEY, "is not for this queue: call the control function")])
        try:
            match request:
                case Redrive():
                    self._redrive(request)
                case Cancel():
                    self.operate.cancel(request)
                case Resume():
                    self.operate.resume(request)
                case Pause():
                    self.operate.pause(request)
        except CannotDo as error:
            raise Refused([Problem(COMMAND_KEY, str(error))]) from error

    def _redrive(self, request: Redrive) -> None:
        """Write the copy that copies what a settled copy has not, or finish it. Raises ``Refused`` and ``CannotDo``."""
        origin = self.operate.copy(request.copy_id)
        if not origin.is_settled:
            raise CannotDo(Failure.REFUSED, f"copy {origin.copy_id} has not settled")
        copy_id = self.operate.id_of_redrive(request)
        present = self.table.get_copy(copy_id)
        if present and present.ingested_at:
            return
        plan = self._plan_redrive(origin, request.job_id, copy_id)
        uri = self.bucket.put(f"submitted/{copy_id}.json", json.dumps(plan.manifest).encode())
        copy = replace(self._new_copy(copy_id, plan), manifest_uri=uri, tags=origin.tags, redrive_of=origin.copy_id)
        present = self.table.create_copy(copy)
        self.table.mark_copy_redriven(origin.copy_id, copy_id)
        if present:
            self._finish(present, plan, None)
        else:
            self._start(copy, plan)

    def _plan_redrive(self, origin: Copy, job_id: str | None, copy_id: str) -> _Plan:
        """Mark the jobs that the new copy does again: no other copy does. Raises ``CannotDo`` where there is none."""

        def is_ours(job: Job) -> bool:
            return self.table.mark_redriven(job, copy_id)

        ended = [
            job
            for job in self.table.jobs(origin.copy_id)
            if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and job_id in (None, job.job_id)
        ]
        ours = [job for job, is_one in zip(ended, self.spread(is_ours, ended), strict=True) if is_one]
        if not ours:
            raise CannotDo(Failure.REFUSED, f"copy {origin.copy_id} has nothing left that is not redriven already")
        # What became of each source is in the old copy's result.
        tried = [tuple(attempt.without_sources for attempt in job.tried) for job in ours]
        planned = zip(ours, tried, strict=True)
        jobs = [PlannedJob(job.destination, tuple(job.left), former) for job, former in planned]
        manifest: dict[str, list[str]] = defaultdict(list)
        for job in jobs:
            for source in job.sources:
                manifest[as_spelled(source, origin.project_names)].append(
                    as_spelled(job.destination, origin.project_names)
                )
        options = ours[0].options
        return _Plan(manifest, jobs, options, digest(jobs, options), origin.project_names)

    # --- planning ----------------------------------------------------------------------------------------------------

    def _plan(self, command: Submit, present: Copy | None) -> _Plan:
        """Flip the manifest of a command. Raises ``Refused``."""
        manifest = self._manifest(command, present)
        projects = Projects(partial(self._look_up, present))
        jobs = flip(manifest, self._limits(present), projects)
        return _Plan(manifest, jobs, command.options, digest(jobs, command.options), projects.names)

    def _manifest(self, command: Submit, present: Copy | None) -> object:
        """The manifest of a command, fetched and unpacked if need be."""
        if command.manifest_b64gz is not None:
            return decode_b64gz(command.manifest_b64gz, self.limits.max_manifest_bytes)
        if command.manifest_uri is None:
            return command.manifest
        bucket, key = command.manifest_uri
        uri = f"s3://{bucket}/{key}"
        # No client may read what this stack keeps in its bucket, except what a copy of theirs came from.
        is_ours = bucket == self.bucket.name and not key.startswith(UPLOAD_PREFIX)
        if is_ours and not (present and present.manifest_uri == uri):
            raise Refused([Problem(uri, f"may not be read as a manifest; upload it under {UPLOAD_PREFIX}")])
        return self._read(bucket, key, version_id=None)

    def _read(self, bucket: str, key: str, version_id: str | None) -> object:
        max_bytes = self.limits.max_manifest_bytes
        return read_json(self.bucket.read(bucket, key, version_id, max_bytes), f"s3://{bucket}/{key}", max_bytes)

    def _limits(self, present: Copy | None) -> Limits:
        """The limits for a manifest; for a copy that is there, those by which it was accepted and planned."""
        if present is None:
            return self.limits
        most = present.max_sources_per_job or self.limits.max_sources_per_job
        return replace(self.limits, allow_same_project=True, max_sources_per_job=most)

    def _look_up(self, present: Copy | None, name: str) -> str:
        """The id of a project by its name. Raises ``UnknownProject``.

        A copy that is there has found its projects: what they are called in ICA today does not make it another copy.
        """
        for project_id, known in present.project_names.items() if present else ():
            if known == name:
                return project_id
        try:
            return self.project_id(name)
        except IcaRefused as error:
            raise UnknownProject(f"is in a project that cannot be found: {error}") from error

    def _manifest_uri(self, submission: Sent | Upload, command: Submit, manifest: object) -> str:
        """Where the manifest can be read later; one that came inside a message is stored first."""
        if command.manifest_uri is not None:
            bucket, key = command.manifest_uri
            return f"s3://{bucket}/{key}"
        if isinstance(submission, Upload):
            return submission.uri
        return self.bucket.put(f"submitted/{submission.submission_id}.json", json.dumps(manifest).encode())


def _command_in(submission: Sent | Upload, parsed: object) -> Submit:
    """The command that was sent or uploaded; an uploaded file may be a bare manifest. Raises ``Refused``."""
    if isinstance(submission, Sent):
        return read_submit(parsed, "message")
    return read_submit(parsed, submission.uri) if is_message(parsed) else Submit(manifest=parsed)
