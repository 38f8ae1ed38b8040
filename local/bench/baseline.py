"""The loop that this product replaces, as its state machine is described, against the same simulated ICA.

Flip by looking through all sources for each destination; one call for each file; look up or make each folder; launch
all; wait 10 s; check the unfinished jobs, 11 a pass, and launch what failed again with SKIP, up to five times; wait
60 s after each round of passes; until none is left. Its Lambdas are not imitated: none of their time is counted.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from icav2_copy_batch.domain.uri import IcaUri, parent_path, parse_uri
from local.bench.tables import Tick
from local.manifests import Manifest

FIRST_WAIT_SECONDS, WAIT_SECONDS = 10.0, 60.0
JOBS_PER_PASS = 11
MOST_RESUBMISSIONS = 5
V3 = "application/vnd.illumina.v3+json"


def quadratic_flip(manifest: Manifest) -> dict[str, list[str]]:
    """Destination → its sources: for each destination all sources are looked through."""
    destinations = {destination: None for to in manifest.values() for destination in to}
    return {
        destination: [source for source, to in manifest.items() if destination in to] for destination in destinations
    }


class IcaApi:
    """ICA's API, called one request after the other over one connection."""

    def __init__(self, base_url: str, token: str) -> None:
        parts = urlsplit(base_url)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        self._base = parts.path
        self._headers = {"Authorization": f"Bearer {token}", "Accept": V3, "Content-Type": V3}

    def get(self, path: str, **query: str) -> Any:
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, json.dumps(body))

    def _call(self, method: str, path: str, body: str | None = None) -> Any:
        try:
            self._connection.request(method, self._base + path, body, self._headers)
        except (ConnectionError, http.client.HTTPException):  # idle for too long
            self._connection.close()
            self._connection.request(method, self._base + path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode()}")
        return json.loads(content)


@dataclass
class LoopJob:
    destination: IcaUri
    sources: list[IcaUri]
    ica_job_id: str = ""
    resubmissions: int = 0
    open: bool = True


@dataclass
class Loop:
    ica: IcaApi
    jobs: list[LoopJob] = field(default_factory=list)

    def run(self, manifest: Manifest, tick: Tick) -> float:
        """Copy the manifest; the seconds from its submission to the end of the last job that was waited for."""
        began = time.monotonic()
        for destination, sources in quadratic_flip(manifest).items():
            self.jobs.append(LoopJob(parse_uri(destination), list(map(parse_uri, sources))))
        for job in self.jobs:
            self._launch(job)
        time.sleep(FIRST_WAIT_SECONDS)
        while True:
            due = [job for job in self.jobs if job.open]
            for start in range(0, len(due), JOBS_PER_PASS):
                for job in due[start : start + JOBS_PER_PASS]:
                    self._check(job)
            tick(sum(not job.open for job in self.jobs))
            if not any(job.open for job in self.jobs):
                return time.monotonic() - began
            time.sleep(WAIT_SECONDS)

    def _check(self, job: LoopJob) -> None:
        status = self.ica.get(f"/api/jobs/{job.ica_job_id}")["status"]
        if status == "SUCCEEDED":
            job.open = False
        elif status in ("FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"):
            job.open = job.resubmissions < MOST_RESUBMISSIONS
            if job.open:
                job.resubmissions += 1
                self._launch(job)

    def _launch(self, job: LoopJob) -> None:
        items = [{"dataId": self._id(source)} for source in job.sources]
        folder_id = self._id(job.destination) or self._make_folder(job.destination)
        flags = dict.fromkeys(("copyUserTags", "copyTechnicalTags", "copyInstrumentInfo"), True)
        batch = {"items": items, "destinationFolderId": folder_id, "actionOnExist": "SKIP", **flags}
        started = self.ica.post(f"/api/projects/{job.destination.project}/dataCopyBatch", batch)
        job.ica_job_id = started["job"]["id"]

    def _id(self, uri: IcaUri) -> str:
        query = {"filePath": uri.path, "filePathMatchMode": "FULL_CASE_INSENSITIVE"}
        items = self.ica.get(f"/api/projects/{uri.project}/data", **query)["items"]
        return items[0]["data"]["id"] if items else ""

    def _make_folder(self, uri: IcaUri) -> str:
        body = {"name": uri.name, "folderPath": parent_path(uri.path)}
        made = self.ica.post(f"/api/projects/{uri.project}/data:createFolder", body)
        return str(made["data"]["id"])
