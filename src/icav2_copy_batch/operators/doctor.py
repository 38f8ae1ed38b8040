"""Doctor: looks at everything that a stack needs, one thing after the other, and says what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from icav2_copy_batch.domain.health import HealthFinding, Look, Seen, ok, problem, unknown, warning
from icav2_copy_batch.domain.job import Clock, JobStatus
from icav2_copy_batch.domain.requests import Examine
from icav2_copy_batch.domain.version import VERSION
from icav2_copy_batch.operators.doctor_ica import IcaLooks
from icav2_copy_batch.operators.doctor_stack import StackLooks
from icav2_copy_batch.ports import Table

RECENT = timedelta(days=30)
RECENT_COPIES = 5
"""So many of the newest copies name the projects that are looked at, by their first jobs."""
MOST_PROJECTS = 10
"""The most projects that are looked at where none is named."""
MOST_LISTED = 5
"""The most jobs that are listed in a finding."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Looks at ICA, at AWS and at the table. What it cannot look at is a finding, and the other looks go on."""

    ica: IcaLooks
    stack: StackLooks
    table: Table
    clock: Clock

    def examine(self, request: Examine) -> dict[str, Any]:
        """The findings, always in the same order, and the version of the stack."""
        projects = list(dict.fromkeys(request.projects)) if request.projects else self._projects()
        findings = [_found(look) for look in chain(self.ica.looks(projects), self.stack.looks(), self._looks())]
        return {"version": VERSION, "findings": [asdict(finding) for finding in findings]}

    def _looks(self) -> Iterator[Look]:
        yield Look("pauses", None, self._pauses)
        yield Look("undecided", None, self._undecided)

    def _projects(self) -> list[str]:
        """Ids of the destination projects of open copies and of the newest; none where the table cannot be read."""
        try:
            return list(dict.fromkeys(self._destinations()))[:MOST_PROJECTS]
        except Exception:
            logger.exception("the table does not tell which projects are copied into")
            return []

    def _destinations(self) -> Iterator[str]:
        yield from (backlog.project for backlog in self.table.backlogs())
        yield from (project_id for project_id, count in self.table.slots_in_use().items() if count)
        now = self.clock()
        for copy in self.table.submitted_copies(now - RECENT, now, RECENT_COPIES):
            if first := next(iter(self.table.jobs(copy.copy_id)), None):
                yield first.project

    def _pauses(self) -> Seen:
        pauses = self.table.pauses()
        if not pauses:
            return ok("nothing is paused")
        told = [
            f"{each.subject} since {each.since}"
            + (f" by {each.by}" if each.by else "")
            + (f" ({each.reason})" if each.reason else "")
            for each in pauses
        ]
        return warning(f"paused: {'; '.join(told)}", "icav2-copy resume ID, --project ID or --all, when it is to go on")

    def _undecided(self) -> Seen:
        jobs = [job for job in self.table.jobs_in(JobStatus.LAUNCHING) if job.undecided_since]
        if not jobs:
            return ok("no launch waits for a person's decision")
        listed = [f"job {job.job_id} of {job.copy_id} since {job.undecided_since}" for job in jobs[:MOST_LISTED]]
        more = f" and {len(jobs) - MOST_LISTED} more" if len(jobs) > MOST_LISTED else ""
        return problem(
            f"it cannot be found out whether ICA has started a copy batch for {', '.join(listed)}{more}",
            "look in ICA for a job into its folder: if there is one, icav2-copy adopt ID JOB ICA_JOB; "
            "if there is certainly none, icav2-copy release ID JOB",
        )


def _found(look: Look) -> HealthFinding:
    try:
        seen = look.see()
    except Exception as error:
        logger.warning("could not be looked at", extra={"check": look.check, "about": look.about}, exc_info=True)
        seen = unknown(
            f"it could not be looked at: {error}",
            "try again; if the control function lacks a right, deploy the stack's newest version",
        )
    return HealthFinding(look.check, seen.status, seen.what, look.about, seen.fix)
