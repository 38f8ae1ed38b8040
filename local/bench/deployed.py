"""One copy through the deployed stack, and what the simulated ICA tells of it afterwards."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

from icav2_copy_batch.domain.uri import parse_uri
from local.bench.tables import Tick
from local.demo import SETTLING
from local.manifests import Manifest, bclconvert_manifest
from local.stack import LocalStack, Simulator

SETTLE_LIMIT_SECONDS = 900.0
QUIET_SECONDS = 5.0
"""After this the poll function has seen that nothing runs any more, and returned."""
WARM_UP_SEED = 9_000


@dataclass(frozen=True)
class Attempt:
    """One ICA job, in seconds since the submission."""

    began: float
    ended: float
    outcome: str


@dataclass(frozen=True)
class CopyRun:
    """A copy that has settled, and ICA's part in it."""

    seconds: float
    attempts: dict[str, list[Attempt]]
    """By destination folder, in order."""
    calls: dict[str, int]
    notices: int
    """How many notifications ICA has sent."""
    files: int
    available: int

    @property
    def bound(self) -> float:
        """The longest chain of one destination's own ICA jobs: faster than this it cannot be."""
        return max(sum(each.ended - each.began for each in chain) for chain in self.attempts.values())

    @property
    def start(self) -> float:
        """Seconds from the submission to the first ICA job."""
        return min(chain[0].began for chain in self.attempts.values())

    @property
    def between(self) -> float:
        """Seconds from the end of a destination's ICA job to its next: the median; 0 where none had a next."""
        chains = self.attempts.values()
        return median([after.began - before.ended for chain in chains for before, after in pairwise(chain)] or [0.0])

    @property
    def end(self) -> float:
        """Seconds from the end of the last ICA job to the settling event."""
        return self.seconds - max(chain[-1].ended for chain in self.attempts.values())

    @property
    def launches(self) -> int:
        return sum(map(len, self.attempts.values()))


@dataclass
class Deployed:
    """The deployed stack, its simulated ICA, and the events of its bus."""

    stack: LocalStack
    simulator: Simulator
    events: Iterator[dict[str, Any] | None]

    def switch(self, **switches: object) -> None:
        """Set how the simulated ICA behaves from now on."""
        self.simulator.post("/switches", switches)

    def settle(
        self, copy_id: str, manifest: Manifest, tick: Tick, limit_seconds: float = SETTLE_LIMIT_SECONDS
    ) -> float | None:
        """Submit the manifest; the seconds until its settling event, None when the time was up before."""
        body = json.dumps({"copy_id": copy_id, "manifest": manifest}).encode()
        bucket, began = self.stack.outputs["ManifestBucketName"], time.monotonic()
        self.stack.client("s3").put_object(Bucket=bucket, Key=f"manifests/{copy_id}.json", Body=body)
        looked_at = began
        for event in self.events:
            now = time.monotonic()
            if event and event["detail-type"] in SETTLING and event["detail"]["copy_id"] == copy_id:
                if event["detail-type"] == "CopyRejected":
                    raise RuntimeError(f"the bench's own manifest was refused: {event['detail']}")
                return now - began
            if now - looked_at > 1:
                looked_at = now
                tick(self.ended_jobs(copy_id))
            if now - began > limit_seconds:
                return None
        raise RuntimeError("the events ended")

    def ended_jobs(self, copy_id: str) -> int:
        key = {"copy_id": {"S": copy_id}, "item": {"S": "COPY"}}
        found = self.stack.client("dynamodb").get_item(TableName=self.stack.outputs["CopyTableName"], Key=key)
        item = found.get("Item", {})
        return sum(int(item[name]["N"]) for name in ("passed_jobs", "failed_jobs") if name in item)

    def copy(self, manifest: Manifest, how: Callable[[], float | None]) -> CopyRun:
        """Copy a manifest ``how`` it is done, with ICA's calls counted from zero."""
        return observed(self.simulator, manifest, how)

    def warm_up(self, number: int = 0) -> None:
        """A copy that nobody times, so that no run pays for all functions starting at once on this machine."""
        manifest = bclconvert_manifest(WARM_UP_SEED + number)
        self.switch(failure_rate=0, job_seconds="0.2:0.5")
        self.subscribe(manifest)  # else the function that is notified would be the one that starts in a run
        self.settle(f"warm-up-{number}", manifest, lambda _: None)
        time.sleep(QUIET_SECONDS)

    def subscribe(self, manifest: Manifest) -> None:
        """Have ICA tell the stack of the jobs in the destination projects."""
        self.simulator.stock(manifest)
        projects = sorted({parse_uri(to).project for destinations in manifest.values() for to in destinations})
        if wrong := [
            each for each in self.stack.copies.subscribe(projects) if each.status in ("refused", "unavailable")
        ]:
            raise RuntimeError(f"not subscribed: {wrong}")


def observed(simulator: Simulator, manifest: Manifest, how: Callable[[], float | None]) -> CopyRun:
    """A manifest's copy, ``how`` it is done, and what a simulated ICA tells of it, with its calls counted from zero."""
    simulator.stock(manifest)
    simulator.post("/counts:reset", {})
    notices_before, submitted_at = _notices(simulator), datetime.now(UTC)
    seconds = how()
    if seconds is None:
        raise RuntimeError(f"a copy did not settle within {SETTLE_LIMIT_SECONDS:.0f} s")
    calls: dict[str, int] = simulator.get("/state")["calls"]
    notices = _notices(simulator) - notices_before
    attempts = _attempts(simulator, manifest, submitted_at)
    return CopyRun(seconds, attempts, calls, notices, *simulator.copied(manifest))


def _notices(simulator: Simulator) -> int:
    return int(simulator.get("/state")["notifications"]["sent"])


def _attempts(simulator: Simulator, manifest: Manifest, submitted_at: datetime) -> dict[str, list[Attempt]]:
    projects = {parse_uri(to).project for destinations in manifest.values() for to in destinations}
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for job in simulator.get("/jobs"):
        if job["project"] in projects:
            first, last = (datetime.fromisoformat(job["history"][index]["at"]) for index in (0, -1))
            began, ended = ((at - submitted_at).total_seconds() for at in (first, last))
            attempts[job["folder"]].append(Attempt(began, ended, job["status"]))
    return dict(attempts)
