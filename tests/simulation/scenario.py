"""What is asked of the simulated world, and how badly it behaves: all drawn from the seed."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.uri import nfc
from icav2_copy_batch.stages.verify import Verification
from local.simulator.model import JobStatus, Outcome
from tests.simulation.freedoms import LETTERS, Happening, Span, drawn, happenings_of, refusals_of, switches_of

SERVICES = ("DynamoDB", "SQS", "S3", "EventBridge", "Step Functions", "Lambda", "ICA")
AWS_FAULTS = tuple(f"{service} {what}" for service in SERVICES[:-1] for what in ("failed", "answer lost"))
KILLS = tuple(f"killed {when} {service}" for service in SERVICES for when in ("before", "after"))
MESSAGE_FAULTS = ("message lost", "message late", "message twice", "stream record lost", "stream record late",
                  "stream record twice", "tick lost", "tick twice", "index lags")  # fmt: skip
ICA_FAULTS = (
    "ICA 429",
    "ICA 503",
    "ICA unreachable",
    "ICA HTML",
    "ICA answer lost",
    "ICA start lost",
    "ICA late",
    "ICA slow",
    "slow",
    "frozen",
)
WEIGHTS = {
    "ICA late": 10.0,
    "ICA start lost": 10.0,
    "ICA answer lost": 3.0,
    "ICA HTML": 3.0,
    "killed after ICA": 2.0,
    "killed before ICA": 1.0,
}
"""The few calls that start a copy batch go wrong more often."""
LETTERS_OF = {"/run": "/rün", "/file": "/fïlé", "/folder": "/föld가r", "/out": "/öut"}
STALE = {
    "frozen": 0.08,
    "tick twice": 0.5,
    "message twice": 0.3,
    "message late": 0.1,
    "ICA answer lost": 0.1,
    "killed before DynamoDB": 0.01,
}


@dataclass(frozen=True)
class Submission:
    at: float
    """Seconds after the start."""
    body: dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    projects: dict[str, str]
    """Name → id."""
    sources: list[str]
    """Those that are there."""
    submissions: list[Submission]
    scripts: dict[str, list[Outcome]]
    """Destination → how its next ICA jobs end."""
    switches: dict[str, Any]
    fault_rates: dict[str, float]
    fault_seconds: float
    outages: list[tuple[float, float]]
    """When ICA is down: from, and for how many seconds."""
    slots: Slots
    verification: Verification
    max_attempts: int
    max_sources_per_job: int
    launch_concurrency: int
    notified: bool
    """Whether ICA notifies."""
    freedoms: tuple[str, ...] = ()
    """What ICA and AWS do in this world that no document rules out."""
    happenings: tuple[Happening, ...] = ()
    refusals: tuple[Span, ...] = ()
    unanswerable: frozenset[str] = frozenset()
    """Task tokens of which Step Functions knows nothing any more."""

    def is_doomed(self, sources: Iterable[str]) -> bool:
        """Whether one of these sources, by their projects' ids, cannot be copied, whatever is tried."""
        gone = {it.uri for it in self.happenings if it.what in ("sources vanish", "sources are uploaded anew")}
        return not set(sources) <= set(map(self.by_id, set(self.sources) - gone))

    def by_id(self, uri: str) -> str:
        """A URI as our jobs have it."""
        for name, project_id in self.projects.items():
            uri = uri.replace(f"icav2://{name}/", f"icav2://{project_id}/")
        return nfc(uri)

    def names_nobody(self, submission: Submission) -> bool:
        """Whether it calls a project by a name that nobody knows, so that it is to be rejected."""
        known = {*self.projects, *self.projects.values()}
        return any(to.split("/")[2] not in known for each in submission.body["manifest"].values() for to in each)


def scenario_of(rng: Random) -> Scenario:
    """A run of a few copies, some of which write into the same folders, in a world that may have freedoms."""
    scenario = documented_scenario_of(rng)
    names = drawn(rng)
    free = with_freedoms(scenario, names, rng)
    if rng.random() < 0.85:
        return free
    # Fifty attempts of every job in a world that has nearly all freedoms would take minutes of real time.
    return with_stale_writers(free if len(names) < 15 else scenario)


def documented_scenario_of(rng: Random) -> Scenario:
    """The same in a world that has none of the freedoms."""
    projects = {name: str(uuid5(NAMESPACE_URL, name)) for name in ("from a", "from b", "to a", "to b")}

    def spell(name: str) -> str:
        return projects[name] if rng.random() < 0.5 else name

    sources = [
        f"icav2://{spell(name)}/run {number}/file {number}.txt" for name in ("from a", "from b") for number in range(5)
    ]
    sources += [f"icav2://{spell('from a')}/run/folder {number}/" for number in range(2)]
    folders = [(name, f"/out {number}/") for name in ("to a", "to b") for number in range(3)]
    there = [source for source in sources if rng.random() < 0.97]
    submissions: list[Submission] = []
    for number in range(rng.randint(1, 4)):
        copy_id = f"copy-{number}"
        if submissions and rng.random() < 0.3:  # the same again, under another name
            body = {**rng.choice(submissions).body, "copy_id": copy_id}
            body.pop("task_token", None)
        else:
            body = {"manifest": _manifest(rng, sources, folders, spell), "copy_id": copy_id}
            body["action_on_exist"] = rng.choices(["SKIP", "OVERWRITE", "RENAME"], [6, 3, 1])[0]
        if rng.random() < 0.3:
            body["task_token"] = f"token-{number}"
        submissions.append(Submission(rng.uniform(0, 120), body))
        if rng.random() < 0.2:
            submissions.append(Submission(rng.uniform(0, 600), body))
    scripts: dict[str, list[Outcome]] = {}
    for name, path in folders:
        if rng.random() < 0.2:
            outcomes = [_outcome(rng) for _ in range(rng.randint(1, 3))]
            scripts |= {f"icav2://{name}{path}": outcomes}
    return Scenario(
        projects=projects,
        sources=there,
        submissions=submissions,
        scripts=scripts,
        switches={
            "job_seconds": f"1:{rng.choice([3, 15, 60])}",
            "failure_rate": rng.choice([0.0, 0.2, 0.5]),
            "leftovers": rng.choice(["all", "some", "none"]),
            "partial_size": rng.choice(["zero", "full"]),
            "skip_counts_partial": rng.random() < 0.7,
            "skip_counts_deleting": rng.random() < 0.7,
            "skipped_item_status": rng.choice(["COPIED", "COPIED", "QUEUED", "FAILED"]),
            "delete_seconds": rng.choice([0.0, 2.0, 20.0]),
            "subject_type": "ProjectDataCopyBatch",
        },
        fault_rates=_fault_rates(rng),
        fault_seconds=rng.choice([120.0, 600.0, 3600.0]),
        outages=[(rng.uniform(0, 300), rng.choice([30.0, 300.0, 3900.0]))] if rng.random() < 0.2 else [],
        slots=Slots(rng.choice([1, 2, 4, 200]), rng.choice([1, 3, 100])),
        verification=rng.choice([Verification.SIZE, Verification.SIZE, Verification.ETAG, Verification.NONE]),
        max_attempts=rng.choice([1, 3, 6]),
        max_sources_per_job=rng.choice([1, 2, 1000]),
        launch_concurrency=rng.choice([2, 5]),
        notified=rng.random() < 0.5,
    )


def with_letters(scenario: Scenario, rng: Random) -> Scenario:
    """The same, with letters in its names that Unicode can write in two forms, each URI in one of them."""

    def spelled(uri: str) -> str:
        for plain, other in LETTERS_OF.items():
            uri = uri.replace(plain, other)
        return unicodedata.normalize(rng.choice(["NFC", "NFD"]), uri)

    def respelled(body: dict[str, Any]) -> dict[str, Any]:
        manifest = {spelled(source): list(map(spelled, to)) for source, to in body["manifest"].items()}
        return {**body, "manifest": manifest}

    return replace(
        scenario,
        sources=list(map(spelled, scenario.sources)),
        submissions=[replace(each, body=respelled(each.body)) for each in scenario.submissions],
        scripts={spelled(folder): outcomes for folder, outcomes in scenario.scripts.items()},
    )


def with_freedoms(scenario: Scenario, names: tuple[str, ...], rng: Random) -> Scenario:
    """The same, in a world that has these freedoms."""
    if LETTERS in names:
        scenario = with_letters(scenario, rng)
    folders = sorted({to for each in scenario.submissions for into in each.body["manifest"].values() for to in into})
    known = [to for to in folders if to.split("/")[2] in {*scenario.projects, *scenario.projects.values()}]
    switches = scenario.switches | switches_of(names, rng)
    tokens = [token for each in scenario.submissions if (token := each.body.get("task_token"))]
    free = replace(
        scenario,
        freedoms=names,
        switches=switches,
        happenings=tuple(happenings_of(names, rng, scenario.sources, known)) if known else (),
        refusals=tuple(refusals_of(names, rng)),
        unanswerable=frozenset(tokens[:1]) if "tokens of nobody" in names else frozenset(),
    )
    if "the copy engine is down" not in names:
        return free
    return replace(free, switches=switches | {"failure_rate": 0.0}, scripts={}, max_attempts=6)


def with_stale_writers(scenario: Scenario) -> Scenario:
    """Invocations that stop for minutes and then go on, while jobs fail and are launched again without them."""
    switches = scenario.switches | {"failure_rate": 0.7, "job_seconds": "1:30"}
    return replace(scenario, fault_rates=STALE, fault_seconds=3600.0, switches=switches, scripts={}, max_attempts=50)


def _manifest(
    rng: Random, sources: list[str], folders: list[tuple[str, str]], spell: Callable[[str], str]
) -> dict[str, list[str]]:
    manifest: dict[str, list[str]] = {}
    for source in rng.sample(sources, rng.randint(1, 6)):
        into = rng.sample(folders, rng.choice([1, 1, 2]))
        manifest[source] = [f"icav2://{spell(name)}{path}" for name, path in into]
    if rng.random() < 0.05:
        manifest[sources[0]] = ["icav2://nobody knows this/out/"]
    return manifest


def _outcome(rng: Random) -> Outcome:
    status = rng.choice([JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.PARTIALLY_SUCCEEDED, JobStatus.STOPPED])
    seconds = rng.choice([None, 0.5, 900.0])
    if status is not JobStatus.SUCCEEDED:
        return Outcome(status, seconds)
    return rng.choice(
        [
            Outcome(status, seconds),
            Outcome(status, seconds, "partial"),
            Outcome(status, seconds, "missing"),
            Outcome(status, seconds, "wrong_size"),
        ]
    )


def _fault_rates(rng: Random) -> dict[str, float]:
    """Calm, a few kinds of faults, or all of them; each at a rate of its own."""
    kinds = [*AWS_FAULTS, *KILLS, *MESSAGE_FAULTS, *ICA_FAULTS]
    chosen = rng.sample(kinds, rng.choice([0, 3, 10, len(kinds)]))
    most = rng.choice([0.01, 0.05, 0.2])
    return {kind: min(rng.uniform(0, most) * WEIGHTS.get(kind, 0.3 if kind in KILLS else 1.0), 0.5) for kind in chosen}
