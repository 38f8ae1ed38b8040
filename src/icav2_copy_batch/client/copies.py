"""The client: submits, queries and controls copies, from any Python program with AWS credentials.

::

    client = CopyClient.from_stack()
    copy_id = client.submit(Manifest().add("icav2://run/Reports/report.html", "icav2://archive/run 42/"))
    print(client.wait(copy_id).status)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from botocore.session import Session

from icav2_copy_batch.client.answers import (
    Cancelled,
    Change,
    CopySummary,
    FileSummary,
    HealthFinding,
    JobSummary,
    Pause,
    Redriven,
    Subscribed,
    Verified,
    read,
)
from icav2_copy_batch.client.aws import Aws, asked
from icav2_copy_batch.client.control import Control
from icav2_copy_batch.client.doctor import examine
from icav2_copy_batch.client.errors import Invalid, Refused, Unavailable
from icav2_copy_batch.client.logs import Insights, Logs
from icav2_copy_batch.client.manifest import Manifest, check_message
from icav2_copy_batch.client.plan import Plan
from icav2_copy_batch.client.stack import STACK_VARIABLE, Stack, find_stack
from icav2_copy_batch.client.submission import Submission, Submissions, new_copy_id, zipped
from icav2_copy_batch.client.waiting import Follow, Time
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.requests import MAX_LISTED
from icav2_copy_batch.domain.s3 import parse_s3_uri
from icav2_copy_batch.domain.uri import is_project_id

REPORT_FORMATS = ("json", "csv", "html")
CHUNK_BYTES = 1024 * 1024
LOGS_BEFORE, LOGS_AFTER = timedelta(minutes=2), timedelta(minutes=15)
"""How long before a copy's submission its first log line may be, and how long after its end the last."""


@dataclass(frozen=True)
class CopyClient:
    """The copies of one stack. Each method raises ``Unavailable`` where AWS or ICA does not answer as it should."""

    stack: Stack
    aws: Aws
    time: Time = field(default_factory=Time)
    _sent: dict[str, Submission] = field(default_factory=dict, repr=False)
    """This client's submissions, by copy id: their rejections can be told from earlier ones."""

    @classmethod
    def from_stack(
        cls,
        name: str | None = None,
        *,
        session: Session | None = None,
        environment: Mapping[str, str] = os.environ,
        time: Time | None = None,
    ) -> CopyClient:
        """Find a stack by its name, or by the path of its SSM parameters where ``name`` begins with ``/``.

        Without a name, ``ICAV2_COPY_STACK`` counts, and else the template's default path of SSM parameters. botocore
        finds credentials and region as it always does. Raises ``StackNotFound``.
        """
        aws = Aws(environment, session)
        return cls(find_stack(aws, name or environment.get(STACK_VARIABLE)), aws, time or Time())

    # --- submitting --------------------------------------------------------------------------------------------------

    def submit(
        self,
        manifest: Manifest | Mapping[str, Sequence[str]],
        *,
        copy_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        hold: bool = False,
        **options: Any,
    ) -> str:
        """Submit a copy and return its id at once.

        ``hold`` waits for ``resume``; ``options`` are further keys of a message, such as ``action_on_exist``.
        Raises ``Refused`` with every problem that can be seen without asking ICA.
        """
        entries = manifest.to_dict() if isinstance(manifest, Manifest) else dict(manifest)
        given = {"copy_id": copy_id, "tags": tags and dict(tags), "hold": hold or None, **options}
        message = {"manifest": entries, **{key: value for key, value in given.items() if value is not None}}
        return self.submit_message(message)

    def submit_message(self, message: Mapping[str, Any], about: str = "message") -> str:
        """Submit a message of the ingest queue (docs/submit.md), and return its copy's id at once.

        A message without a copy id is given one, so that sending it again makes no second copy. ``about`` is what the
        message is called where it is refused. Raises ``Refused``.
        """
        given = message.get("copy_id")
        sent = {**message, "copy_id": given or new_copy_id(self.time.now())}
        check_message(sent, about, allow_same_project=True)  # the stack knows whether it allows that
        copy_id: str = sent["copy_id"]
        sent_at = self.time.now()
        submission_id = self._submissions.send(sent)
        self._sent[copy_id] = Submission(copy_id, submission_id, sent_at, is_of_new_id=not given)
        return copy_id

    def plan(self, manifest: Manifest | Mapping[str, Sequence[str]], **options: Any) -> Plan:
        """Return what a submission would do: what would block it, its cost and its duration. Nothing is written.

        ``options`` are as for ``submit``. Raises ``Refused`` with every problem for which it would be rejected.
        """
        entries = manifest.to_dict() if isinstance(manifest, Manifest) else dict(manifest)
        return self.plan_message({"manifest": entries, **options})

    def plan_message(self, message: Mapping[str, Any], about: str = "message") -> Plan:
        """What a message of the ingest queue would do; as ``plan``. Its manifest has to be in it."""
        check_message(message, about, allow_same_project=True)  # the stack knows whether it allows that
        return read(Plan, self._control.query("plan", **zipped(message)))

    def rejection(self, copy_id: str, submission_id: str | None = None) -> Refused | None:
        """Why the last submission of this copy id was refused; None if it was not, or was another submission."""
        return self._submissions.rejection(copy_id, submission_id)

    # --- asking ------------------------------------------------------------------------------------------------------

    def status(self, copy_id: str, *, holds: bool = False) -> CopySummary:
        """A copy and its counts. Raises ``NoSuchCopy``.

        ``holds``: also how many of its jobs are queued, launching and running, what holds them, and which pauses
        concern them. That costs the stack some reads, however many jobs there are.
        """
        return read(CopySummary, self._control.query("status", copy_id=copy_id, holds=holds or None).get("copy"))

    def jobs(
        self, copy_id: str, *, failed: bool = False, open_only: bool = False, after: str | None = None
    ) -> Iterator[JobSummary]:
        """A copy's jobs in their order, page by page; or only those that failed or were cancelled, or are still open.

        ``after`` is the id of the job after which to begin. Raises ``NoSuchCopy``.
        """
        only = {"failed": failed or None, "open": open_only or None}
        while True:
            answer = self._control.query("status", copy_id=copy_id, jobs=True, after=after, **only)
            yield from (read(JobSummary, each) for each in answer.get("jobs") or ())
            after = answer.get("next_after")
            if not after:
                return

    def list_copies(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> list[CopySummary]:
        """Copies, newest first: up to ``limit``, by default of the last 90 days. They come in pages of 1,000."""
        found: list[CopySummary] = []
        before = None
        while True:
            answer = self._control.query(
                "list",
                since=since and timestamp(since),
                until=until and timestamp(until),
                status=status,
                tags=dict(tags) if tags else None,
                limit=min(limit - len(found), MAX_LISTED),
                before=before,
            )
            found += (read(CopySummary, each) for each in answer.get("copies") or ())
            before = answer.get("next_before")
            if not before or len(found) >= limit:
                return found

    def files(self, folder: str) -> list[FileSummary]:
        """The files below a folder in ICA, given by its URI, sorted by their paths: for ``Manifest.from_files``.

        Raises ``Refused`` where there is no file, and where there are more than 200,000.
        """
        answer = self._control.query("files", uri=folder)
        listed = answer.get("files") or ()
        return [read(FileSummary, {**each, "uri": f"{folder}{each.get('path', '')}"}) for each in listed]

    def logs(
        self, copy_id: str, job_id: str | None = None, *, since: datetime | None = None, limit: int = 1000
    ) -> Logs:
        """The functions' log lines about a copy, or one of its jobs: the newest ``limit``, the oldest of these first.

        They are those from its submission, or from ``since``, until some minutes after it has settled, or now. Raises
        ``NoSuchCopy``, ``Invalid`` where ``since`` is yet to come, and ``Refused`` where the logs of that time are not
        kept any more.
        """
        now = self.time.now()
        if since and since > now:
            raise Invalid(f"there are no logs since {timestamp(since)}, which is in the future")
        copy = self.status(copy_id)
        begin = since or datetime.fromisoformat(copy.submitted_at) - LOGS_BEFORE
        ended = None if since or copy.is_open else copy.settled_at
        until = min(datetime.fromisoformat(ended) + LOGS_AFTER, now) if ended else now
        groups = self.stack.output("LogGroupNames")
        return Insights.of(self.aws, groups, self.time).about(copy_id, job_id, begin, until, limit)

    def verify(self, copy_id: str) -> Verified:
        """Compare a settled copy with what ICA shows now. Raises ``NoSuchCopy`` and ``Refused``."""
        whole, after = Verified(), None
        while True:
            answer = self._control.query("verify", copy_id=copy_id, after=after)
            part = read(Verified, answer)
            whole = Verified(
                whole.copied + part.copied,
                whole.same + part.same,
                whole.unknown + part.unknown,
                (*whole.changed, *part.changed),
            )
            after = answer.get("next_after")
            if not after:
                return whole

    def wait(self, copy_id: str, *, timeout: float | None = None) -> CopySummary:
        """Wait until a copy has settled. Raises ``WaitTimedOut``, ``NoSuchCopy``, or ``Refused`` if it was rejected."""
        *_, last = self.watch(copy_id, timeout=timeout)
        return last.copy

    def watch(
        self, copy_id: str | None = None, *, jobs: bool = False, timeout: float | None = None
    ) -> Iterator[Change]:
        """The changes of a copy until it has settled, with its jobs if asked for; or of all copies, without an end.

        Each look asks for up to 3,000 jobs, from the first that has not ended; what lies behind these comes with the
        next looks. Of a copy of more than 20,000 jobs the first 20,000 are looked at. Raises what ``wait`` raises.
        """
        follow = Follow(self, self.time)
        if copy_id is None:
            return follow.all(timeout)
        return follow.one(copy_id, self._sent.get(copy_id), jobs=jobs, timeout=timeout)

    def result(self, copy_id: str) -> dict[str, Any]:
        """The whole result of a settled copy, as its settling event describes it. Raises ``Refused`` before that."""
        document: dict[str, Any] = json.loads(b"".join(self.report(copy_id)))
        return document

    def report(self, copy_id: str, format: str = "json") -> Iterator[bytes]:  # noqa: A002 # what it is called
        """The report of a settled copy, in pieces: ``json`` (its result), ``csv`` or ``html``. Raises ``Refused``."""
        if format not in REPORT_FORMATS:
            raise Invalid(f"there is no report format {format}; choose one of {', '.join(REPORT_FORMATS)}")
        copy = self.status(copy_id)
        place = parse_s3_uri(copy.result_uri)
        if copy.is_open or place is None:
            raise Refused(f"copy {copy_id} has no report yet: it is {copy.status}; wait until it has settled")
        bucket, key = place
        key = f"{key.removesuffix('.json')}.{format}"
        try:
            with asked(f"read s3://{bucket}/{key}"):
                body = self.aws.s3.get_object(Bucket=bucket, Key=key)["Body"]
        except Unavailable as error:
            if error.code == "NoSuchKey":
                why = "it has expired, or this stack does not write it"
                raise Refused(f"copy {copy_id} has no report s3://{bucket}/{key}: {why}") from None
            raise
        return body.iter_chunks(CHUNK_BYTES)

    # --- steering ----------------------------------------------------------------------------------------------------

    def cancel(self, copy_id: str) -> Cancelled:
        """Cancel a copy: its queued jobs end now. Jobs that ICA runs end by themselves and are not retried."""
        return read(Cancelled, self._command("cancel", copy_id=copy_id))

    def pause(
        self,
        copy_id: str | None = None,
        *,
        project: str | None = None,
        everything: bool = False,
        reason: str | None = None,
    ) -> list[Pause]:
        """Launch no more jobs of a copy, into a project, or at all; running jobs go on. Returns all pauses.

        A project is given by its name or its id.
        """
        return self._switch("pause", copy_id, project, everything, reason)

    def resume(
        self,
        copy_id: str | None = None,
        *,
        project: str | None = None,
        everything: bool = False,
        reason: str | None = None,
    ) -> list[Pause]:
        """End a pause. Returns the pauses that remain. A project is given by its name or its id."""
        return self._switch("resume", copy_id, project, everything, reason)

    def pauses(self) -> list[Pause]:
        """What is paused."""
        return _pauses(self._control.query("pauses"))

    def redrive(self, copy_id: str, *, job_id: str | None = None) -> Redriven:
        """Retry what failed or was cancelled in a settled copy, as a new copy."""
        return read(Redriven, self._command("redrive", copy_id=copy_id, job_id=job_id))

    def adopt(self, copy_id: str, job_id: str, ica_job_id: str) -> JobSummary:
        """Say that this ICA job is what an undecided launch has started."""
        return read(
            JobSummary, self._command("adopt", copy_id=copy_id, job_id=job_id, ica_job_id=ica_job_id).get("job")
        )

    def release(self, copy_id: str, job_id: str) -> JobSummary:
        """Say that an undecided launch has started nothing, so that the job is launched again."""
        return read(JobSummary, self._command("release", copy_id=copy_id, job_id=job_id).get("job"))

    def subscribe(self, projects: Sequence[str]) -> list[Subscribed]:
        """Make ICA notify this stack of jobs in these projects (names or ids). Returns the outcome of each.

        Existing subscriptions are kept.
        """
        answer = self._command("subscribe", projects=list(projects))
        return [read(Subscribed, each) for each in answer.get("projects") or ()]

    def doctor(self, projects: Sequence[str] = ()) -> list[HealthFinding]:
        """Check everything that the stack needs, at AWS and at ICA. Returns one finding for each check.

        ``projects``, by name or id, are looked at too; without any, those into which the newest copies go. Where the
        stack does not answer, that is a finding.
        """
        return examine(lambda: self._control.query("doctor", projects=list(projects) or None))

    def _switch(
        self, command: str, copy_id: str | None, project: str | None, everything: bool, reason: str | None
    ) -> list[Pause]:
        if sum((copy_id is not None, project is not None, everything)) != 1:
            raise Invalid(f"{command} needs exactly one of copy_id, project and everything")
        subject: dict[str, str | bool | None] = {"copy_id": copy_id, "all": everything or None}
        if project is not None and is_project_id(project):
            subject["project_id"] = project.lower()  # no need to ask ICA, which may be down
        else:
            subject["project"] = project
        return _pauses(self._command(command, **subject, reason=reason))

    def _command(self, name: str, **request: Any) -> Mapping[str, Any]:
        return self._control.command(name, by=self.aws.caller, **request)

    @cached_property
    def _control(self) -> Control:
        return Control(self.aws, self.stack.output("ControlFunctionName"), self.time.sleep)

    @cached_property
    def _submissions(self) -> Submissions:
        return Submissions(self.aws, self.stack.output("IngestQueueUrl"), self.stack.output("ManifestBucketName"))


def _pauses(answer: Mapping[str, Any]) -> list[Pause]:
    return [read(Pause, each) for each in answer.get("pauses") or ()]
