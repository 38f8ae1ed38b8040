"""ICA's jobs: some by their ids, or all since a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icav2_copy_batch.adapters.ica.bodies import job_in, rows_in
from icav2_copy_batch.adapters.ica.http import MAX_TRIES, Http
from icav2_copy_batch.adapters.ica.libica_light import JobApi
from icav2_copy_batch.domain.ica import IcaError, IcaJob, IcaRefused, IcaUnavailable

JOBS_WORTH_A_PAGE = 4
"""For each so many jobs another page of the list is read, before they are asked for one by one."""
MAX_OFFSET_ROWS = 200_000
"""ICA's document: offset paging shows no rows beyond this."""
TRIES_OF_THE_JOB_LIST = 2
"""Tries of the list, before jobs are asked for by their ids."""
MOST_ASKED_SINGLY = 64
"""Jobs that are asked for by their ids at one time."""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """A page of the list of all jobs, which was asked for newest first."""

    jobs: list[IcaJob]
    rows: int
    """The number of rows, with those that cannot be read."""
    is_last: bool

    def ends_before(self, since: str) -> bool:
        """Whether all jobs on later pages are older than a moment. Only a page that is sorted shows that."""
        times = [job.created_at for job in self.jobs if job.created_at]
        newest_first = len(times) == self.rows and times == sorted(times, reverse=True)
        return newest_first and bool(times) and times[-1] < since


class Jobs:
    """``GET /api/jobs`` and ``GET /api/jobs/{jobId}``."""

    def __init__(self, *, http: Http) -> None:
        self._http = http
        self._api = JobApi(http.client)
        self._asked_singly = 0

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]:
        """These jobs, by id; a job that ICA does not have, or that cannot be read, is left out.

        One job is asked for by its id. Several are searched for in the list of all jobs, as long as that promises fewer
        calls; the rest are asked for by their ids, ``MOST_ASKED_SINGLY`` at a time: the next call asks for others.
        Raises ``IcaUnavailable`` where ICA throttles, or no job at all can be read.
        """
        wanted = set(ica_job_ids)
        found = self._listed(wanted) if len(wanted) > 1 else {}
        left = sorted(wanted - found.keys())
        if len(left) > MOST_ASKED_SINGLY:
            turn = self._asked_singly % len(left)
            left = [*left[turn:], *left[:turn]][:MOST_ASKED_SINGLY]
            self._asked_singly += MOST_ASKED_SINGLY
        return found | self._read_each(left, some_are_known=bool(found))

    def _listed(self, wanted: set[str]) -> dict[str, IcaJob]:
        """Those of the jobs that are in the first pages of the list. Raises ``IcaUnavailable`` for a 429 alone."""
        found: dict[str, IcaJob] = {}
        rows = 0
        while rows < max(len(wanted) // JOBS_WORTH_A_PAGE, 1) * self._http.page_size:
            try:
                page = self._page(rows, max_tries=TRIES_OF_THE_JOB_LIST)
            except IcaError as error:
                if error.is_throttling:
                    raise
                break  # a single job may be read nevertheless
            found |= {job.job_id: job for job in page.jobs if job.job_id in wanted}
            rows += page.rows
            if len(found) == len(wanted) or page.is_last:
                break
        return found

    def _read_each(self, job_ids: Sequence[str], *, some_are_known: bool) -> dict[str, IcaJob]:
        """The jobs of these ids, one call each, until it is clear that ICA is in trouble, and not one of the jobs."""
        found: dict[str, IcaJob] = {}
        troubles: list[IcaUnavailable] = []

        def is_down() -> bool:
            return any(trouble.is_throttling for trouble in troubles) or (
                len(troubles) > 1 and not found and not some_are_known
            )

        def read(job_id: str) -> None:
            if is_down():
                return
            try:
                found[job_id] = self._read(job_id)
            except IcaRefused:
                pass
            except IcaUnavailable as error:
                troubles.append(error)

        self._http.spread(read, job_ids)
        throttled = [trouble for trouble in troubles if trouble.is_throttling]
        if throttled or (troubles and not found and not some_are_known):
            raise (throttled or troubles)[0]
        return found

    def _read(self, job_id: str) -> IcaJob:
        answer = self._http.call(self._api.get_job_without_preload_content, job_id=job_id)
        return job_in(answer, self._http.ica_clock)

    def recent_jobs(self, since: str) -> list[IcaJob]:
        """All jobs that ICA has created since a moment (by our clock), and all whose time of creation is unknown.

        The list is asked for newest first, and is read to its end unless each page shows that it is sorted. Raises
        ``IcaRefused`` and ``IcaUnavailable``.
        """
        found: dict[str, IcaJob] = {}
        rows = 0
        while True:
            page = self._page(rows)
            # A job that is created meanwhile moves the others on: some are then listed twice.
            found |= {job.job_id: job for job in page.jobs if job.created_at is None or job.created_at >= since}
            rows += page.rows
            if page.is_last or page.ends_before(since):
                return list(found.values())

    def _page(self, offset: int, max_tries: int = MAX_TRIES) -> JobsPage:
        """A page of the list of all jobs, newest first. ICA sorts lists with offset paging only."""
        answer = self._http.call(
            self._api.get_jobs_without_preload_content,
            sort="timeCreated desc",
            page_size=str(self._http.page_size),
            page_offset=str(offset),
            max_tries=max_tries,
        )
        rows = rows_in(answer)
        following = offset + len(rows)
        return JobsPage(
            jobs=[job_in(row, self._http.ica_clock) for row in rows if row.get("id") and row.get("status")],
            rows=len(rows),
            # A page may be shorter than asked for without being the last.
            is_last=not rows
            or following == answer.get("totalItemCount")
            or following + self._http.page_size > MAX_OFFSET_ROWS,
        )
