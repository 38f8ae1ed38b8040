"""What ICA and AWS may do and no document rules out: each freedom as the seeds draw it for a world.

Most worlds have some of them, and a few have nearly all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Draw = Callable[[Random], dict[str, Any]]
Span = tuple[str, float, float, float]
"""A service, from when and for how many seconds it refuses calls, and which share of them."""

LETTERS = "names are not ASCII, and have a form of Unicode"

SWITCHES: dict[str, Draw] = {
    "the list of jobs lags": lambda rng: {"jobs_lag_seconds": rng.uniform(1, 120)},
    "lists of data lag": lambda rng: {"data_lag_seconds": rng.uniform(1, 120)},
    "items are listed late": lambda rng: {"items_lag_seconds": rng.choice([5.0, 60.0, 400.0])},
    "items are a folder's files": lambda rng: {"items_as_files": True},
    "ICA's clock is off": lambda rng: {"clock_offset_seconds": rng.uniform(-600, 600)},
    "pages are short": lambda rng: {"page_cap": rng.choice([1, 3, 10])},
    "FULL finds no folders": lambda rng: {"full_matches_folders": False},
    "one filePath counts": lambda rng: {
        "several_file_paths": rng.choice(["first_only", "last_only", "refused"]),
        "several_ids": rng.choice(["honoured", "first_only"]),
    },
    "an absent folder is a 404": lambda rng: {"absent_folder": "404"},
    "folders are minted twice": lambda rng: {"create_folder_on_existing": "duplicate"},
    "making a folder takes a while": lambda rng: {"create_folder_seconds": rng.choice([0.5, 10.0, 30.0])},
    LETTERS: lambda rng: {"unicode_form": rng.choice(["NFC", "NFD"])},
    "files come after SUCCEEDED": lambda rng: {"available_after_seconds": rng.uniform(1, 60)},
    "a job that skips all FAILS": lambda rng: {"all_skipped_status": "FAILED"},
    "the folder is not echoed": lambda rng: {"echo_folder": False},
    "the root has an id": lambda rng: {"echo_root": "id"},
    "what was made is not echoed": lambda rng: {"echo_created_data": False},
    "when data were made is not echoed": lambda rng: {"echo_time_created": False},
    "a job names no project": lambda rng: {"job_fields": "required"},
    "a job says id and status alone": lambda rng: {"job_fields": "least"},
    "a job's subject is no batch": lambda rng: {"subject_id_is_batch": False},
    "jobs cannot be listed": lambda rng: {"list_jobs": "fails"},
    "calls are limited": lambda rng: {
        "rate_limit": rng.choice([1, 2, 6, 20]),
        "retry_after": rng.choice([0, 0, 1, 60]),
    },
    "batches are limited": lambda rng: {
        "max_items": rng.choice([1, 1, 2, 3]),
        "max_items_status": rng.choice([400, 413, 422]),
    },
    "calls hang": lambda rng: {"hang_rate": rng.uniform(0.005, 0.05)},
    "the copy engine is down": lambda rng: {"engine_down": [0.0, 1800.0]},
}
"""Those of ICA that are switches of the simulator."""
PEOPLE = (
    "other kinds of jobs",
    "others' copies",
    "others' uploads",
    "others' uploads of our names",
    "sources are uploaded anew",
    "folders are made anew",
    "sources vanish",
)
"""What other people do in the same projects."""
AWS = ("DynamoDB throttles", "EventBridge refuses", "the poller is late", "triggers are lost", "tokens of nobody")

NOT_WHERE_LISTS_LAG = frozenset({"when data were made is not echoed", "a job says id and status alone"})
"""While lists of data lag, a file that is being overwritten by its like is told from it by what ICA's document
requires: the ``timeCreated`` of data and of jobs. A world that has neither promise is not drawn."""


@dataclass(frozen=True)
class Happening:
    """What somebody does in ICA: at which second, what, and where."""

    at: float
    what: str
    uri: str


def drawn(rng: Random) -> tuple[str, ...]:
    """The freedoms that one world has."""
    share = 0.9 if rng.random() < 0.05 else 0.15
    chosen = [name for name in (*SWITCHES, *PEOPLE, *AWS) if rng.random() < share]
    left_out = NOT_WHERE_LISTS_LAG if "lists of data lag" in chosen else frozenset()
    return tuple(name for name in chosen if name not in left_out)


def switches_of(names: tuple[str, ...], rng: Random) -> dict[str, Any]:
    switches: dict[str, Any] = {}
    for name in names:
        if name in SWITCHES:
            switches |= SWITCHES[name](rng)
    return switches


def happenings_of(names: tuple[str, ...], rng: Random, sources: list[str], folders: list[str]) -> list[Happening]:
    """What people do within the first quarter of an hour or so."""
    several = {"other kinds of jobs": rng.choice([3, 30]), "others' copies": 5, "others' uploads": 4}
    at_sources = ("sources are uploaded anew", "sources vanish")
    return [
        Happening(rng.expovariate(1 / 300), name, rng.choice(sources if name in at_sources else folders))
        for name in names
        if name in PEOPLE
        for _ in range(several.get(name, 1))
    ]


def refusals_of(names: tuple[str, ...], rng: Random) -> list[Span]:
    """When AWS's services refuse calls."""
    spans: list[Span] = []
    if "DynamoDB throttles" in names:
        spans += [("DynamoDB", rng.uniform(0, 600), rng.uniform(1, 30), 0.8) for _ in range(3)]
    if "EventBridge refuses" in names:
        spans += [("EventBridge", rng.uniform(0, 300), rng.uniform(30, 900), 1.0)]
    if "the poller is late" in names:
        spans += [("ticks", rng.uniform(0, 600), rng.uniform(120, 600), 1.0) for _ in range(2)]
    if "triggers are lost" in names:
        spans += [("triggers", 0.0, 3600.0, rng.choice([0.3, 1.0]))]
    return spans
