"""What several tests of our client of ICA need: names, worlds, prepared copy batches, canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, Literal

from starlette.types import Receive, Scope, Send
from urllib3 import HTTPResponse

from icav2_copy_batch.adapters.ica.client import IcaClient
from icav2_copy_batch.domain.ica import IcaData, IcaJob
from icav2_copy_batch.domain.submit import CopyOptions
from local.simulator.model import (
    ActionOnExist,
    BatchItem,
    BatchRequest,
)
from tests.doubles.simulated_ica import COPY_BATCH, SimulatedIca

HALF_A_SECOND = timedelta(seconds=0.5)
"""HTTP tells the time in whole seconds, cut off: it is taken for the middle of its second."""
SPECIAL_NAMES = [
    "a b",
    "#1",
    "what?",
    "100%",
    "%41",
    "a+b",
    "é",
    "日本",
    "a&b=c;d",
    "'\"",
    "~-_.",
    "[x]{y}",
    "back\\slash",
]
Form = Literal["NFC", "NFD"]
FORMS: list[Form] = ["NFC", "NFD"]
SEVERAL = ["honoured", "first_only", "last_only", "refused"]
"""What ICA may do with more than one ``filePath``."""
WORLDS: dict[str, dict[str, Any]] = {
    **{f"several paths {each}": {"several_file_paths": each} for each in SEVERAL},
    "FULL finds no folders": {"full_matches_folders": False},
    "404 for an absent folder": {"absent_folder": "404"},
    "short pages": {"page_cap": 3},
    "all of these": {
        "several_file_paths": "last_only",
        "full_matches_folders": False,
        "absent_folder": "404",
        "page_cap": 3,
        "several_ids": "first_only",
    },
}
"""Answers to what is not known of how ICA looks for paths."""


def files_in(client: IcaClient, project_id: str, folder: str) -> list[IcaData]:
    """The files directly in a folder, from all pages."""
    return [data for page in client.file_pages(project_id, folder) for data in page]


@dataclass
class Canned:
    """Answers requests in place of libica's connection pool, each with the status and body that a function gives."""

    answer: Callable[[], tuple[int, bytes]]

    def request(self, *_: object, **__: object) -> SimpleNamespace:
        status, body = self.answer()
        return SimpleNamespace(response=HTTPResponse(BytesIO(body), status=status, preload_content=False))


def many_paths(count: int, folders: int = 10) -> list[str]:
    """Paths as long as real ones."""
    return [f"/ilmn-analyses/a run of many samples/Lane_{n % folders}/sample_{n:05d}_R1.fastq.gz" for n in range(count)]


def rewrite(
    ica: SimulatedIca,
    change: Callable[[Any], Any],
    page_cap: int = 0,
    without_date: bool = False,
    where: str = "",
) -> None:
    """Change what ICA answers where the query contains a text: its rows, their number, or whether it tells the time."""
    app = ica.stage.app

    async def changed(scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        if where not in query:
            await app(scope, receive, send)
            return
        if page_cap:
            query = query.replace("pageSize=1000", f"pageSize={page_cap}")
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        start: dict[str, Any] = {}

        async def send_changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body = json.dumps(change(json.loads(message["body"]))).encode()
            dropped = {b"content-length", *([b"date"] if without_date else [])}
            headers = [header for header in start["headers"] if header[0] not in dropped]
            await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
            await send({**message, "body": body})

        await app({**scope, "query_string": query.encode(), "headers": plain}, receive, send_changed)

    ica.stage.app = changed


@dataclass
class Prepared:
    """Two sources and a folder, and the call that copies the ones into the other."""

    ica: SimulatedIca
    sources: list[str]
    folder_id: str

    def start(self, options: CopyOptions | None = None, **client: Any) -> tuple[str, str]:
        options = options or CopyOptions()
        started = self.ica.client(**client).start_copy_batch(
            self.ica.destination, self.folder_id, self.sources, options
        )
        return started.batch_id, started.job_id

    @property
    def posts(self) -> int:
        return self.ica.calls("POST", COPY_BATCH)


def said(ica: SimulatedIca, job_id: str, status: str) -> IcaJob:
    """What ICA says of a job that goes well, but for the time."""
    batch_id = ica.world.jobs[job_id].batch_id
    return IcaJob(job_id, status, None, None, batch_id, ica.world.switches.subject_type, ica.destination)


def timeless(jobs: Mapping[str, IcaJob]) -> dict[str, IcaJob]:
    """By id, and without the time: ICA's clock is measured to within half a second."""
    return {job_id: replace(job, created_at=None) for job_id, job in jobs.items()}


def stock_jobs(ica: SimulatedIca, count: int, seconds_apart: float = 0.001) -> list[str]:
    """Ids of so many jobs, oldest first."""
    items = [BatchItem(ica.file("/run/a.txt").id)]
    request = BatchRequest(items, False, False, False, ActionOnExist.RENAME, ica.folder("/to/").id)
    ids = []
    for _ in range(count):
        ica.clock.forward(seconds_apart)
        ica.world.settle()
        ids.append(ica.world.create_batch(ica.destination, request).id)
    return ids
