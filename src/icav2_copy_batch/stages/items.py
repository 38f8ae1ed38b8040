"""Items: what a failed copy batch has copied nevertheless, so that only the rest is launched again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaError
from icav2_copy_batch.domain.job import Job
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import Ica

NOT_AN_ITEM = "MISSING"
"""Outcome of a source that is not among the items of its copy batch."""

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Items:
    ica: Ica
    spread: Spread = in_threads
    """How the items of the copy batches are read: side by side."""

    def read(self, jobs: Sequence[Job]) -> dict[JobKey, list[CopyBatchItem]]:
        """The items of each job's copy batch. A job is left out when they cannot be read."""
        read = zip(jobs, self.spread(self._items, jobs), strict=True)
        return {(job.copy_id, job.job_id): items for job, items in read if items is not None}

    def uncopied(
        self, jobs: Sequence[Job], items: Mapping[JobKey, Sequence[CopyBatchItem]], data_ids: Mapping[str, str]
    ) -> dict[JobKey, list[SourceOutcome]]:
        """For each job the sources that its copy batch has not copied by its items, with ICA's reasons.

        A job is left out when these could not be read: then all its sources count as not copied. ``data_ids`` are those
        of sources that were looked up in the same look; the others are looked up here.
        """
        told = [job for job in jobs if (job.copy_id, job.job_id) in items]
        unknown = (source for job in told for source in job.uncopied if source not in data_ids)
        data_ids = {**data_ids, **self._data_ids(unknown)}
        found = {}
        for job in told:
            by_id = {item.data_id: item for item in items[job.copy_id, job.job_id]}
            found[job.copy_id, job.job_id] = [
                _outcome(source, item)
                for source in job.uncopied
                if not (item := by_id.get(data_ids.get(source, ""))) or not item.is_copied
            ]
        return found

    def _items(self, job: Job) -> list[CopyBatchItem] | None:
        try:
            return self.ica.copy_batch_items(str(job.ica_project_id), str(job.ica_batch_id))
        except IcaError as error:
            logger.warning(
                "the items of a copy batch cannot be read: all its sources are launched again",
                extra={"copy_id": job.copy_id, "job_id": job.job_id, "reason": str(error)},
            )
            return None

    def _data_ids(self, sources: Iterable[str]) -> dict[str, str]:
        """The ids of these sources; those that cannot be looked up are left out.

        ICA is asked afresh: by an id that is remembered, a source that was replaced before its launch would seem not to
        be among the items, and with RENAME be copied a second time.
        """
        by_project: dict[str, dict[str, str]] = {}
        for source in sources:
            uri = parse_uri(source)
            by_project.setdefault(uri.project, {})[uri.path] = source
        data_ids = {}
        for project, paths in by_project.items():
            try:
                found = self.ica.find(project, paths)
            except IcaError as error:
                logger.warning("sources cannot be looked up", extra={"project": project, "reason": str(error)})
            else:
                data_ids.update({paths[path]: data.data_id for path, data in found.items()})
        return data_ids


def _outcome(source: str, item: CopyBatchItem | None) -> SourceOutcome:
    return SourceOutcome(source, item.status, item.reason) if item else SourceOutcome(source, NOT_AN_ITEM)
