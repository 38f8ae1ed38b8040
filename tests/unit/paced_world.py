"""Many callers of an ICA that limits calls, in virtual time: containers with several threads each, one shared table."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.domain.ica import IcaUnavailable
from tests import doubles
from tests.simulation.engine import Engine, Killed, Process

SECOND = timedelta(seconds=1)
INVOCATION_SECONDS = 900.0
SECONDS_NEEDED = 20.0
TRIES = 12

Limit = Callable[[float], float]
"""How many calls are answered in any one second, by the seconds since the start."""


class Latch:
    """A lock for processes that take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._is_held = engine, False
        self._waiting: list[Process] = []

    def __enter__(self) -> None:
        process = self._engine.current
        assert process
        while self._is_held:
            self._waiting.append(process)
            self._engine._hub.switch()
            if process.dead:
                raise Killed
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        for process in self._waiting:
            self._engine.later(0, partial(self._engine._resume, process))
        self._waiting.clear()


class SlowLine(doubles.Line):
    """A request to the table takes some milliseconds."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    @contextmanager
    def request(self) -> Iterator[None]:
        self._engine.sleep(self._engine.rng.uniform(0.002, 0.010))
        with super().request():
            yield


class PacedWorld:
    """Containers whose threads make calls one after the other, each again when it is refused."""

    def __init__(self, limit: float | Limit, seed: int = 1, retry_after: float | None = None) -> None:
        self.engine = Engine(seed)
        self.began = self.engine.now
        self.limit: Limit = limit if callable(limit) else lambda seconds: limit
        self.retry_after = retry_after
        self.table = doubles.Table(line=SlowLine(self.engine))
        self.calls: list[tuple[float, bool]] = []
        """When each call arrived, and whether it was answered."""
        self.gave_up = 0
        self.running = 0
        self._answered_at: deque[datetime] = deque()

    @property
    def seconds(self) -> float:
        return (self.engine.now - self.began).total_seconds()

    def container(self) -> Pacing:
        engine = self.engine
        pacing = Pacing(
            table=self.table,
            clock=engine.clock,
            sleep=engine.sleep,
            seconds_left=lambda: INVOCATION_SECONDS,
            jitter=engine.rng.uniform,
        )
        pacing._counting, pacing._asking = Latch(engine), Latch(engine)  # type: ignore[assignment]
        return pacing

    def start(self, pacing: Pacing, calls: int, at: float = 0.0, lives: float = 36_000.0) -> None:
        """Start a thread that makes so many calls, or dies before."""
        self.running += 1
        self.engine.later(
            at, lambda: self.engine.start("thread", lives, partial(self._make, pacing, calls), self._ended)
        )

    def run(self, containers: int = 5, threads: int = 8, calls: int = 6) -> PacedWorld:
        """Each thread makes so many calls; one of a container's begins before the others, to look something up."""
        for _ in range(containers):
            pacing = self.container()
            for thread in range(threads):
                self.start(pacing, calls, at=self.engine.rng.uniform(0, 0.3) + (0.5 if thread else 0))
        return self.finish()

    def finish(self) -> PacedWorld:
        while self.running:
            assert self.engine.step()
        return self

    @property
    def answered(self) -> int:
        return sum(answered for _, answered in self.calls)

    @property
    def share_refused(self) -> float:
        return 1 - self.answered / len(self.calls)

    @property
    def ended_at(self) -> float:
        return self.calls[-1][0]

    def answered_between(self, first: float, last: float) -> int:
        return sum(answered for at, answered in self.calls if first <= at < last)

    def _make(self, pacing: Pacing, calls: int) -> None:
        for _ in range(calls):
            for _ in range(TRIES):
                try:
                    with pacing.turn(SECONDS_NEEDED):
                        self._call()
                    break
                except IcaUnavailable:
                    pass
            else:
                self.gave_up += 1

    def _call(self) -> None:
        self.engine.sleep(self.engine.rng.uniform(0.01, 0.04))
        now = self.engine.now
        while self._answered_at and now - self._answered_at[0] >= SECOND:
            self._answered_at.popleft()
        is_answered = len(self._answered_at) < self.limit(self.seconds)
        if is_answered:
            self._answered_at.append(now)
        self.calls.append((self.seconds, is_answered))
        self.engine.sleep(self.engine.rng.uniform(0.01, 0.04))
        if not is_answered:
            raise IcaUnavailable("ICA answered 429", http_status=429, retry_after=self.retry_after)

    def _ended(self, result: Any) -> None:
        self.running -= 1
        if isinstance(result, Exception):
            raise result
