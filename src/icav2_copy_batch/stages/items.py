"""Items: what a failed copy batch has copied nevertheless, so that only the rest is launched again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaError
from icav2_copy_batch.domain.job import Job, JobKey
from icav2_copy_batch.domain.outcomes import Finding, SourceOutcome
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import Ica
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.lookup import look_up

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BatchItems:
    """Reads the items of copy batches that have ended."""

    ica: Ica
    spread: Spread = in_threads
    """How the copy batches are read, and the projects asked: side by side."""

    def read(self, jobs: Sequence[Job]) -> dict[JobKey, list[CopyBatchItem]]:
        """The items of each job's copy batch. A job is left out where they cannot be read."""
        read = zip(jobs, self.spread(lambda job: batch_items(self.ica, job, job.ica_batch_id), jobs), strict=True)
        return {job.key: items for job, items in read if items is not None}

    def uncopied(
        self, jobs: Sequence[Job], items: Mapping[JobKey, Sequence[CopyBatchItem]], data_ids: Mapping[str, str]
    ) -> dict[JobKey, list[SourceOutcome]]:
        """The sources that each job's copy batch has not copied, by its items, with ICA's reasons.

        A job without items is left out. ``data_ids`` are those of sources that have just been looked up; the other
        sources are looked up here, and one that cannot be found counts as not copied.
        """
        listed = [job for job in jobs if job.key in items]
        unknown = {source: parse_uri(source) for job in listed for source in job.uncopied if source not in data_ids}
        found = look_up(self.ica, unknown.values(), self.spread)
        data_ids = {**data_ids, **{source: data.data_id for source, uri in unknown.items() if (data := found.at(uri))}}
        uncopied = {}
        for job in listed:
            by_id = {item.data_id: item for item in items[job.key]}
            outcomes = [(source, by_id.get(data_ids.get(source, ""))) for source in job.uncopied]
            uncopied[job.key] = [_outcome(source, item) for source, item in outcomes if not (item and item.is_copied)]
        return uncopied


def batch_items(ica: Ica, job: Job, batch_id: str | None) -> list[CopyBatchItem] | None:
    """The items of a copy batch of a job's; None where ICA does not show them."""
    try:
        return ica.copy_batch_items(str(job.ica_project_id), str(batch_id))
    except IcaError as error:
        fields = fields_of(job, ica_batch_id=batch_id, reason=str(error))
        logger.warning("the items of a copy batch cannot be read", extra=fields)
        return None


def _outcome(source: str, item: CopyBatchItem | None) -> SourceOutcome:
    return SourceOutcome(source, item.status, item.reason) if item else SourceOutcome(source, Finding.NOT_AN_ITEM)
