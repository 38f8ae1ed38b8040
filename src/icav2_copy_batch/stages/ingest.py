"""Ingest: a submission becomes a copy with its jobs, which wait to be launched, or is refused with every reason.

Killed anywhere, it is done again and ends in the same: each write is one that may be repeated, and the launch messages
come last (a launch claims its job, so that a message sent twice launches once). A copy of very many jobs is written in
portions; where the time of one invocation is not enough, the next goes on. As many launch messages are sent at once as
there are free slots; the poller sends the others.

Projects that are called by their names are looked up here, and nowhere later. Where ICA cannot be asked, the message
comes again, as with all trouble that is not the sender's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from icav2_copy_batch.domain import events as documents
from icav2_copy_batch.domain.commands import CopyOptions, Submit, is_message, read_submit, readable_task_token
from icav2_copy_batch.domain.ica import IcaRefused
from icav2_copy_batch.domain.job import Clock, Copy, timestamp
from icav2_copy_batch.domain.json_text import decode_b64gz, read_json
from icav2_copy_batch.domain.manifest import Limits, PlannedJob, digest, flip
from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.projects import Projects, UnknownProject
from icav2_copy_batch.domain.schedule import backlogs_of
from icav2_copy_batch.domain.submission import UPLOAD_PREFIX, Sent, Upload, uploads_in
from icav2_copy_batch.ports import Bucket, Bus, Dispatcher, LateAnswers, Table, Tasks

PORTION = 1000
"""So many jobs are written between two looks at the clock."""
SECONDS_FOR_A_PORTION = 60.0

logger = logging.getLogger(__name__)


class OutOfTime(Exception):
    """This invocation has to end. All that it did stays, and the next goes on from there."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many submissions of one queue message were accepted (or were there already), and how many refused."""

    accepted: int = 0
    rejected: int = 0
    sent_again: int = 0
    """Launch messages of jobs that had had one before."""

    def __add__(self, other: Ingested) -> Ingested:
        return Ingested(
            self.accepted + other.accepted, self.rejected + other.rejected, self.sent_again + other.sent_again
        )


@dataclass(frozen=True, kw_only=True)
class Ingest:
    table: Table
    bucket: Bucket
    dispatch: Dispatcher
    bus: Bus
    tasks: Tasks
    publish: LateAnswers
    clock: Clock
    seconds_left: Callable[[], float]
    limits: Limits
    project_id: Callable[[str], str]
    """ICA's answer to a project's name. Raises ``IcaRefused`` where it means no project or several."""

    def receive(self, message_id: str, body: str) -> Ingested:
        """Handle one message of the ingest queue: never raises for what the client did wrong.

        Raises ``OutOfTime`` where the message has to come again for the rest.
        """
        sent = Sent(message_id, body)
        try:
            parsed = read_json(body.encode(errors="surrogatepass"), "message", self.limits.max_manifest_bytes)
            uploads = uploads_in(parsed)
        except Refused as refused:
            self._reject(sent, refused.parsed, refused)
            return Ingested(rejected=1)
        submissions: Sequence[Sent | Upload] = [sent] if uploads is None else uploads
        accepted = sum(self._submit(submission, parsed) for submission in submissions)
        # Also where the copy is there already: what accepted it may have died before this.
        sent_again = self._send() if accepted else 0
        return Ingested(accepted, len(submissions) - accepted, sent_again)

    def _send(self) -> int:
        """Have as many jobs launched at once as there are slots; how many had had a message before."""
        try:
            return self.dispatch.send()["sent_again"]
        except Exception:
            logger.exception("the poller sends what was not sent")
            return 0

    def _submit(self, submission: Sent | Upload, parsed: object) -> bool:
        """Accept one submission or reject it; whether it was accepted."""
        try:
            if isinstance(submission, Upload):
                parsed = None  # the notice; what counts is what was uploaded
                parsed = self._read_upload(submission)
            self._accept(submission, self._message(parsed, submission))
        except Refused as refused:
            self._reject(submission, refused.parsed if parsed is None else parsed, refused)
            return False
        return True

    def _read_upload(self, upload: Upload) -> object:
        max_bytes = self.limits.max_manifest_bytes
        data = self.bucket.read(upload.bucket, upload.key, upload.version_id, max_bytes)
        return read_json(data, upload.uri, max_bytes)

    def _message(self, parsed: object, submission: Sent | Upload) -> Submit:
        if isinstance(submission, Sent):
            return read_submit(parsed, "message")
        return read_submit(parsed, submission.uri) if is_message(parsed) else Submit(manifest=parsed)

    def _manifest(self, message: Submit, present: Copy | None) -> object:
        """The manifest of a message, fetched and unpacked where need be."""
        if message.manifest_b64gz is not None:
            return decode_b64gz(message.manifest_b64gz, self.limits.max_manifest_bytes)
        if message.manifest_uri is not None:
            bucket, key = message.manifest_uri
            uri = f"s3://{bucket}/{key}"
            # What this stack keeps in its bucket is no sender's to read, but for what a copy of theirs came from.
            is_ours = bucket == self.bucket.name and not key.startswith(UPLOAD_PREFIX)
            if is_ours and not (present and present.manifest_uri == uri):
                raise Refused([Problem(uri, f"may not be named; upload the manifest under {UPLOAD_PREFIX}")])
            data = self.bucket.read(bucket, key, None, self.limits.max_manifest_bytes)
            return read_json(data, uri, self.limits.max_manifest_bytes)
        return message.manifest

    def _accept(self, submission: Sent | Upload, message: Submit) -> None:
        copy_id = message.copy_id or submission.submission_id
        present = self.table.get_copy(copy_id)
        manifest = self._manifest(message, present)
        projects = Projects(partial(self._look_up, present))
        planned = flip(manifest, self._limits(present), projects)
        fingerprint = digest(planned, message.options)
        if present is None:
            copy = Copy(
                copy_id=copy_id,
                digest=fingerprint,
                submitted_at=timestamp(self.clock()),
                total_jobs=len(planned),
                open_jobs=len(planned),
                manifest_uri=self._manifest_uri(submission, message, manifest),
                task_tokens=frozenset(filter(None, [message.task_token])),
                project_names=projects.names,
                max_sources_per_job=self.limits.max_sources_per_job,
            )
            if self.table.create_copy(copy):
                return self._accept(submission, message)  # somebody was faster: as what is there wants it
            return self._start(copy, planned, message.options)
        if present.digest != fingerprint:
            raise Refused([Problem(copy_id, "is a copy_id in use for another manifest; choose another, or none")])
        if message.task_token and not self.table.add_task_token(copy_id, message.task_token):
            self.publish.answer_published(copy_id, message.task_token)
        if present.ingested_at:
            logger.info("copy is there already", extra={"copy_id": copy_id})
            return None
        if present.total_jobs != len(planned):
            raise RuntimeError(f"copy {copy_id} was begun with {present.total_jobs} jobs and now has {len(planned)}")
        # Portions are written one after the other: all before that of the last job which is there are complete.
        written = self.table.jobs_written(copy_id)
        return self._start(present, planned, message.options, max(written - 1, 0) // PORTION * PORTION)

    def _limits(self, present: Copy | None) -> Limits:
        """The limits for a manifest; of a copy that is there those by which it was accepted and planned."""
        if present is None:
            return self.limits
        most = present.max_sources_per_job or self.limits.max_sources_per_job
        return replace(self.limits, allow_same_project=True, max_sources_per_job=most)

    def _look_up(self, present: Copy | None, name: str) -> str:
        """The id of a project by its name.

        A copy that is there has found its projects: what they are called in ICA today does not make it another copy.
        """
        for project_id, known in present.project_names.items() if present else ():
            if known == name:
                return project_id
        try:
            return self.project_id(name)
        except IcaRefused as error:
            raise UnknownProject(f"is in a project that cannot be found: {error}") from error

    def _start(self, copy: Copy, planned: Sequence[PlannedJob], options: CopyOptions, complete: int = 0) -> None:
        """Write the jobs, but for the first so many that are ``complete``, and then their backlogs."""
        for start in range(complete, len(planned), PORTION):
            if self.seconds_left() < SECONDS_FOR_A_PORTION:
                raise OutOfTime(f"copy {copy.copy_id}: {start} of {len(planned)} jobs are written")
            portion = planned[start : start + PORTION]
            self.table.create_jobs(copy.copy_id, portion, options, self.clock(), first=start + 1)
        self.bus.put(documents.COPY_STARTED, documents.started_detail(copy))
        self.table.create_backlogs(backlogs_of(copy.copy_id, planned, copy.submitted_at))
        self.table.mark_ingested(copy.copy_id, self.clock())
        logger.info("copy accepted", extra={"copy_id": copy.copy_id, "jobs": len(planned)})

    def _manifest_uri(self, submission: Sent | Upload, message: Submit, manifest: object) -> str:
        """Where the manifest can be read later; one that came inside a message is stored first."""
        if message.manifest_uri is not None:
            bucket, key = message.manifest_uri
            return f"s3://{bucket}/{key}"
        if isinstance(submission, Upload):
            return submission.uri
        return self.bucket.put(f"submitted/{submission.submission_id}.json", json.dumps(manifest).encode())

    def _reject(self, submission: Sent | Upload, parsed: object, refused: Refused) -> None:
        """Keep what was sent with the reasons, and tell everybody who may be waiting. Then it is dealt with."""
        folder = f"rejected/{submission.submission_id}"
        submission_uri = None
        if isinstance(submission, Upload):
            target = f"{folder}/submission"
            submission_uri = self.bucket.keep(submission.bucket, submission.key, submission.version_id, target)
        elif submission.body:
            content = submission.body.encode(errors="surrogatepass")
            submission_uri = self.bucket.put(f"{folder}/submission", content, "application/octet-stream")
        copy_id = parsed.get("copy_id") if isinstance(parsed, dict) else None
        problems = {"problem_count": refused.total, "problems": [asdict(problem) for problem in refused.problems]}
        stored = {
            "upload_uri": submission.uri if isinstance(submission, Upload) else None,
            "submission_uri": submission_uri,
            "problems_uri": self.bucket.put(f"{folder}/problems.json", json.dumps(problems, indent=1).encode()),
        }
        detail = documents.rejected_detail(
            submission.submission_id,
            copy_id if isinstance(copy_id, str) else None,
            refused,
            timestamp(self.clock()),
            stored,
        )
        self.bus.put(documents.COPY_REJECTED, detail)
        if task_token := readable_task_token(parsed):
            self.tasks.fail(task_token, documents.COPY_REJECTED, detail)
        logger.warning(
            "submission rejected",
            extra={"submission_id": submission.submission_id, "problem_count": refused.total, "first": str(refused)},
        )
