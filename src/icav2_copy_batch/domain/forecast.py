"""Forecast: when a copy will have settled, and whether all of its jobs will pass, from how attempts have ended lately.

A copy is simulated many times. Each attempt takes as long as one of the history's, and fails as often as these have.
The slots, the limit of attempts and what else is under way are as they are. The same numbers give the same forecast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from math import ceil
from random import Random

from icav2_copy_batch.domain.job import Attempt
from icav2_copy_batch.domain.schedule import Slots

FEWEST_ATTEMPTS = 20
"""With fewer attempts in the history the defaults are used."""
DEFAULT_FAILURE_RATE = 0.2
"""One copy batch in five fails, as users of ICA's API have published."""
DEFAULT_SECONDS = (5.0, 7.5, 10.0, 12.5, 15.0)
"""ICA moves 80 GB in less than 10 s when it works, as they have published; and as long again for what is around it."""
WEIGHT_OF_DEFAULT = 5
"""The rate of failures is that of the history and of so many attempts more, which fail at the default rate."""
START_SECONDS, BETWEEN_SECONDS, END_SECONDS = 0.3, 0.1, 0.2
"""The product's own time until the first attempts are queued, between two, and after the last.

They are shorter than *start*, *between* and *end* of docs/benchmarks.md: an attempt counts from when it is queued until
its end is noted, so that a part of these times is in the attempts.
"""
WORK = 300_000
"""So many attempts are simulated, ours and others': a large copy, or one on a busy stack, is simulated less often.

No single simulation has more of them either: what is left then takes as long in proportion. So the largest forecast
takes half a minute.
"""
MOST_ROUNDS, FEWEST_ROUNDS = 1000, 10

Project = str


@dataclass(frozen=True, slots=True)
class History:
    """How attempts have ended lately, and in how many seconds, without those for which they waited for a slot."""

    passed: Sequence[float] = ()
    failed: Sequence[float] = ()
    copies: int = 0
    """The copies that these attempts are of."""

    @classmethod
    def of(cls, attempts: Iterable[Attempt], copies: int) -> History:
        """What attempts tell. One that ICA has not run tells nothing: it was refused for a reason of its own."""
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for each in attempts:
            if each.running_at and (began := each.queued_at or each.claimed_at):
                seconds[each.has_passed].append(_seconds_between(began, each.ended_at))
        return cls(seconds[True], seconds[False], copies)

    @property
    def attempts(self) -> int:
        return len(self.passed) + len(self.failed)

    @property
    def is_enough(self) -> bool:
        return self.attempts >= FEWEST_ATTEMPTS

    @property
    def failure_rate(self) -> float:
        """The share of attempts that fail."""
        if not self.is_enough:
            return DEFAULT_FAILURE_RATE
        failed = len(self.failed) + DEFAULT_FAILURE_RATE * WEIGHT_OF_DEFAULT
        return failed / (self.attempts + WEIGHT_OF_DEFAULT)

    def seconds(self, *, fails: bool) -> Sequence[float]:
        """How long attempts take that end so."""
        if not self.is_enough:
            return DEFAULT_SECONDS
        return (self.failed or self.passed) if fails else (self.passed or self.failed)


@dataclass(frozen=True, slots=True)
class Load:
    """What other copies have under way, in jobs by destination project."""

    in_flight: Mapping[Project, int] = field(default_factory=dict)
    """Those that have slots."""
    waiting: Mapping[Project, int] = field(default_factory=dict)
    """Those that wait for slots."""
    copies: int = 0
    """The copies of these that wait, which take turns with ours."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a copy will have settled, and how often its jobs will be tried again."""

    p50_seconds: float
    p95_seconds: float
    chance_all_pass: float
    """That no job uses up its attempts, as far as failures do not depend on each other."""
    retries: float
    """The number of attempts that follow a failed one, as expected."""
    rounds: int


def forecast(jobs: Mapping[Project, int], load: Load, slots: Slots, max_attempts: int, history: History) -> Forecast:
    """The forecast of a copy of so many jobs into each project, were it submitted now."""
    total, rate = sum(jobs.values()), history.failure_rate
    settled = sorted(_rounds(jobs, load, slots, max_attempts, history))
    exhausted = rate**max_attempts
    return Forecast(
        p50_seconds=_quantile(settled, 0.5),
        p95_seconds=_quantile(settled, 0.95),
        chance_all_pass=(1 - exhausted) ** total,
        retries=total * sum(rate**number for number in range(1, max_attempts)),
        rounds=len(settled),
    )


def _rounds(
    jobs: Mapping[Project, int], load: Load, slots: Slots, max_attempts: int, history: History
) -> Iterator[float]:
    """When the copy has settled, once for each simulation."""
    chance, attempts = Random(1), 0
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and attempts >= WORK:
            return
        one = _Round(chance, jobs, load, slots, max_attempts, history)
        yield one.settled_after()
        attempts += one.attempts


def _seconds_between(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def _quantile(values: Sequence[float], share: float) -> float:
    return values[ceil(share * len(values)) - 1]


class _Round:
    """One simulated course of a copy."""

    def __init__(
        self, chance: Random, jobs: Mapping[Project, int], load: Load, slots: Slots, most: int, history: History
    ) -> None:
        self._random, self._slots, self._max_attempts = chance.random, slots, most
        self._rate = history.failure_rate
        self._seconds = {fails: history.seconds(fails=fails) for fails in (True, False)}
        self._ready = {project: [0] * number for project, number in jobs.items()}
        """Our jobs that may be launched, as the number of their failures, by project."""
        self._total = self._left = sum(jobs.values())
        self._others = Counter(load.waiting)
        self._copies = max(load.copies, 1)
        self._in_use: Counter[Project] = Counter()
        self._in_flight = {True: 0, False: 0}
        """Jobs with a slot: ours, and others'."""
        self._events: list[tuple[float, int, bool, Project, bool, int]] = []
        """When, a number that no other event has, whether an attempt ends (or a job may be launched again), of which
        project, whether it is ours, and how often the job has failed."""
        self._numbers = count()
        self.attempts = 0
        """The attempts that were simulated, ours and others'."""
        for project, number in load.in_flight.items():
            for _ in range(number):
                self._begin(0.0, project, ours=False, failures=0, share=self._random())

    def settled_after(self) -> float:
        """Seconds from the submission until the copy has settled."""
        now = START_SECONDS
        self._launch(now)
        while self._left:
            if self.attempts >= WORK:
                return now * self._total / max(self._total - self._left, 1) + END_SECONDS
            at, _, is_end, project, ours, failures = heappop(self._events)
            now = max(at, now)
            if not is_end:
                self._wait(project, ours, failures)
            else:
                self._end(now, project, ours, failures)
            self._launch(now)
        return now + END_SECONDS

    def _end(self, now: float, project: Project, ours: bool, failures: int) -> None:
        self._in_use[project] -= 1
        self._in_flight[ours] -= 1
        is_last = failures >= self._max_attempts
        if failures < 0 or is_last:  # it has passed, or used up its attempts
            self._left -= ours
        else:
            self._note(now + BETWEEN_SECONDS, False, project, ours, failures)

    def _begin(self, now: float, project: Project, *, ours: bool, failures: int, share: float = 1.0) -> None:
        """An attempt, which has a slot until it ends; of one that is under way only a share is left."""
        self.attempts += 1
        self._in_use[project] += 1
        self._in_flight[ours] += 1
        fails = self._random() < self._rate
        seconds = self._seconds[fails]
        taken = seconds[int(self._random() * len(seconds))] * share
        self._note(now + taken, True, project, ours, failures + 1 if fails else -1)

    def _note(self, at: float, is_end: bool, project: Project, ours: bool, failures: int) -> None:
        heappush(self._events, (at, next(self._numbers), is_end, project, ours, failures))

    def _wait(self, project: Project, ours: bool, failures: int) -> None:
        if ours:
            self._ready[project].append(failures)
        else:
            self._others[project] += 1

    def _launch(self, now: float) -> None:
        """Give free slots to jobs: the next is always one of the copy with the fewest in flight."""
        while sum(self._in_flight.values()) < self._slots.total:
            is_our_turn = self._in_flight[True] * self._copies <= self._in_flight[False]
            if not (self._launch_one(now, is_our_turn) or self._launch_one(now, not is_our_turn)):
                return

    def _launch_one(self, now: float, ours: bool) -> bool:
        for project, waiting in self._ready.items() if ours else self._others.items():
            if waiting and self._in_use[project] < self._slots.per_project:
                failures = 0
                if ours:
                    failures = self._ready[project].pop()
                else:
                    self._others[project] -= 1
                self._begin(now, project, ours=ours, failures=failures)
                return True
        return False
