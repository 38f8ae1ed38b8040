"""Leftovers: the PARTIAL files that earlier attempts of a job have left, and that its next one must not find.

With SKIP they may count as existing, and would never be completed. A file of somebody else's that happens to be PARTIAL
has the same names and lies in the same place: what is ours is known by its id, or by that ICA created it while an
attempt was under way.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from icav2_copy_batch.domain.ica import IcaData, IcaError
from icav2_copy_batch.domain.job import Job
from icav2_copy_batch.domain.uri import nfc, parse_uri
from icav2_copy_batch.ports import Ica

CREATED_APART = timedelta(seconds=3)
"""Two moments that ICA has noted may come in the wrong order by so much, as its clock is measured to a second or so."""
MOST_AT_ONCE = 2_000
"""So many files are deleted before it is looked again: each is a call."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    ica: Ica

    def delete(self, job: Job, incomplete: Sequence[IcaData] | None = None) -> list[str]:
        """Begin to delete what this job's earlier attempts have left of its sources; the paths that are not gone yet.

        Among these is what somebody else has begun to delete, since SKIP could take that too for files that are there.
        To be called again until none is left. ``incomplete`` is what was found since this attempt was claimed, if it
        has been looked for. Raises ``IcaError``.
        """
        if incomplete is None:
            incomplete = self.incomplete(job)
        ours = self._ours(job, [data for data in incomplete if data.status == "PARTIAL"])
        if ours:
            self.ica.delete_data(str(job.ica_project_id), [data.data_id for data in ours[:MOST_AT_ONCE]])
            incomplete = self.incomplete(job)
        deleted = {data.data_id for data in ours}
        return [data.path for data in incomplete if data.status != "PARTIAL" or data.data_id in deleted]

    def incomplete(self, job: Job) -> list[IcaData]:
        """What is PARTIAL or being deleted where this attempt of a job writes."""
        project_id, folder = str(job.ica_project_id), parse_uri(job.destination).path
        sources = [parse_uri(source) for source in job.uncopied]
        names = {nfc(folder + uri.name) for uri in sources if not uri.is_folder}  # ICA may hold another form
        in_folder = self.ica.incomplete_files(project_id, folder, recursive=False) if names else []
        found = [data for data in in_folder if nfc(data.path) in names]
        for uri in sources:
            if uri.is_folder:
                found += self.ica.incomplete_files(project_id, f"{folder}{uri.name}/", recursive=True)
        return found

    def _ours(self, job: Job, partial: Sequence[IcaData]) -> list[IcaData]:
        """Those that attempts of this job have made. Where neither ICA's time nor an item tells, it is none of ours."""
        if not partial:
            return []
        if all(is_created_by_an_attempt(data, job) for data in partial):
            return list(partial)
        made = self._made_by(job)
        ours = [data for data in partial if data.data_id in made or is_created_by_an_attempt(data, job)]
        if len(ours) < len(partial):
            known = {data.data_id for data in ours}
            let_be = [data.path for data in partial if data.data_id not in known]
            logger.warning(
                "PARTIAL files that may be somebody else's are left as they are",
                extra={"copy_id": job.copy_id, "job_id": job.job_id, "number": len(let_be), "paths": let_be[:10]},
            )
        return ours

    def _made_by(self, job: Job) -> set[str]:
        """The ids of what the copy batches of this job's earlier attempts have made, as far as ICA says."""
        made: set[str] = set()
        for attempt in job.attempts:
            if attempt.ica_batch_id:
                try:
                    items = self.ica.copy_batch_items(str(job.ica_project_id), attempt.ica_batch_id)
                except IcaError as error:
                    logger.warning(
                        "the items of a copy batch cannot be read",
                        extra={"copy_id": job.copy_id, "job_id": job.job_id, "reason": str(error)},
                    )
                else:
                    made |= {item.created.data_id for item in items if item.created}
        return made


def is_created_by_an_attempt(data: IcaData, job: Job) -> bool:
    """Whether ICA says that it has created this while one of a job's ICA jobs was at work, as far as we know.

    Where ICA has not said when it created the first of these, none is ours; of a later one our claim tells.
    """
    if not data.created_at or not job.ica_began_at:
        return False
    created = datetime.fromisoformat(data.created_at)
    at_work = [(each.ica_created_at or each.claimed_at, each.ended_at) for each in job.attempts if each.ica_job_id]
    return any(
        datetime.fromisoformat(began) - CREATED_APART <= created <= datetime.fromisoformat(ended) + CREATED_APART
        for began, ended in at_work
        if began
    )
