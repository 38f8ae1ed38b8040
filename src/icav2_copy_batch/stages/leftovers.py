"""Leftovers: PARTIAL files that failed attempts of a job have left, deleted before its next attempt.

With SKIP the next copy batch may take such a file for one that is there, and would never complete it. A PARTIAL file of
somebody else's may have the same name and lie in the same place. A file is ours if an item of ours names its id, or if
ICA created it while an attempt of the job was under way. The attempts of a job that is redriven count as well.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.job import Job
from icav2_copy_batch.domain.uri import copied_into, nfc, parse_uri
from icav2_copy_batch.ports import Ica
from icav2_copy_batch.stages.items import batch_items
from icav2_copy_batch.stages.logs import fields_of

CREATED_APART = timedelta(seconds=3)
"""Two moments that ICA has noted may come in the wrong order by so much: its clock is measured to about a second."""
MOST_AT_ONCE = 2_000
"""So many files are deleted before the folder is listed again: each is a call."""

MOST_BATCHES = 20
"""So many copy batches are read to find a file that somebody has made: the newest, each by a call or more.

Each launch has cleared what was left before it. What an older one names all the same, and was found by none, is left.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """Finds and deletes what failed attempts have left."""

    ica: Ica

    def delete(self, job: Job, incomplete: Sequence[IcaData] | None = None) -> list[str]:
        """Begin to delete a job's leftovers; the paths that are not gone yet. Call it again until none is left.

        The paths include what somebody else is deleting, since SKIP could take that too for files that are there.
        ``incomplete`` is what was found since this attempt was claimed, where that has been looked for.
        Raises ``IcaError``.
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
        """The files that are PARTIAL or being deleted where this attempt writes. Raises ``IcaError``."""
        project_id, destination = str(job.ica_project_id), parse_uri(job.destination)
        copies = [copied_into(destination, parse_uri(source)) for source in job.uncopied]
        files = {nfc(copy.path) for copy in copies if not copy.is_folder}
        listed = self.ica.incomplete_files(project_id, destination.path, recursive=False) if files else []
        found = [data for data in listed if nfc(data.path) in files]
        for copy in copies:
            if copy.is_folder:
                found += self.ica.incomplete_files(project_id, copy.path, recursive=True)
        return found

    def _ours(self, job: Job, partial: Sequence[IcaData]) -> list[IcaData]:
        """The files that attempts of this job, or of the job that it redrives, have made.

        One that neither ICA's time nor an item names is not ours.
        """
        if all(is_created_by_an_attempt(data, job) for data in partial):
            return list(partial)
        made = self._made_by(job)
        ours = [data for data in partial if data.data_id in made or is_created_by_an_attempt(data, job)]
        known = {data.data_id for data in ours}
        if left := [data.path for data in partial if data.data_id not in known]:
            logger.warning(
                "PARTIAL files that may be somebody else's are left as they are",
                extra=fields_of(job, number=len(left), paths=left[:10]),
            )
        return ours

    def _made_by(self, job: Job) -> set[str]:
        """The ids of what the copy batches of this job's latest attempts have made, as far as ICA says."""
        batch_ids = [attempt.ica_batch_id for attempt in job.tried if attempt.ica_batch_id][-MOST_BATCHES:]
        items = [item for batch_id in batch_ids for item in batch_items(self.ica, job, batch_id) or ()]
        return {item.created.data_id for item in items if item.created}


def is_created_by_an_attempt(data: IcaData, job: Job) -> bool:
    """Whether ICA says that it created a file while one of a job's ICA jobs was at work.

    False where ICA has not said when it created the first of these ICA jobs. Where it has not said so of a later one,
    that is taken to have begun when its launch was claimed.
    """
    if not data.created_at or not job.ica_began_at:
        return False
    created = datetime.fromisoformat(data.created_at)
    at_work = [(each.ica_created_at or each.claimed_at, each.ended_at) for each in job.tried if each.ica_job_id]
    return any(
        datetime.fromisoformat(began) - CREATED_APART <= created <= datetime.fromisoformat(ended) + CREATED_APART
        for began, ended in at_work
        if began
    )
