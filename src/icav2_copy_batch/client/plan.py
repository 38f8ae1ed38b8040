"""What a plan says, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icav2_copy_batch.client.answers import many, one


@dataclass(frozen=True, slots=True)
class PlannedProject:
    """What a plan copies into one project."""

    project: str
    """As the manifest calls it."""
    project_id: str = ""
    jobs: int = 0
    files: int = 0
    folders: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlanFinding:
    """Something that would go otherwise than one may expect: a kind of ``domain.findings.FindingKind``."""

    kind: str
    uri: str = ""
    what: str = ""
    follows: str = ""
    """What would follow from it."""
    fails: bool = False
    """Whether the copy would fail."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """How many of so many were looked at."""

    done: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class PlannedLooks:
    """How far a plan came, before the time was up or ICA could not be asked any more."""

    sources: LookedAt = field(default=LookedAt(), metadata=one(LookedAt))
    copies: LookedAt = field(default=LookedAt(), metadata=one(LookedAt))
    """Places where copies are to be."""


@dataclass(frozen=True, slots=True)
class PlannedCost:
    """What a copy is expected to cost, with the attempts that fail; by list prices, without the free tier."""

    ica_calls: int = 0
    write_units: int = 0
    read_units: int = 0
    dollars: float = 0.0
    attempts: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a copy would have settled, were it submitted now."""

    p50_seconds: float = 0.0
    p95_seconds: float = 0.0
    chance_all_pass: float = 0.0
    """That every job passes within its attempts; 0 where the copy would fail as it stands."""
    failure_rate: float = 0.0
    history_attempts: int = 0
    history_copies: int = 0
    is_of_history: bool = False
    """Whether this stack's history has said so; else it has too little, and defaults have."""
    jobs_in_flight: int = 0
    jobs_waiting: int = 0
    """Jobs of other copies."""
    rounds: int = 0
    """How often the copy was simulated."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a submission would do."""

    jobs: int
    files: int = 0
    folders: int = 0
    """Sources that are folders. What is in them is not counted, and its bytes are not either."""
    bytes: int = 0
    action_on_exist: str = ""
    projects: tuple[PlannedProject, ...] = field(default=(), metadata=many(PlannedProject))
    would_fail: bool = False
    """Whether it would fail as it stands, as far as was looked at."""
    refused_jobs: int = 0
    """Jobs that would fail at once, without an ICA job."""
    finding_counts: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[PlanFinding, ...] = field(default=(), metadata=many(PlanFinding))
    looked_at: PlannedLooks = field(default=PlannedLooks(), metadata=one(PlannedLooks))
    stopped: str | None = None
    """Why not all was looked at."""
    cost: PlannedCost = field(default=PlannedCost(), metadata=one(PlannedCost))
    forecast: Forecast = field(default=Forecast(), metadata=one(Forecast))
