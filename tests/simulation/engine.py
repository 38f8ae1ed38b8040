"""Virtual time, and processes that take turns at each call to the outside. Everything follows from the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """The process dies here, as when Lambda ends a function: nothing of it runs any more."""


@dataclass(eq=False)
class Process:
    """One invocation of a function."""

    name: str
    ends_at: datetime
    """When Lambda ends it."""
    done: Callable[[Any], None]
    """Told the result, or the exception that ended it."""
    run: greenlet = field(init=False)
    dead: bool = False


class Engine:
    """An agenda of what happens when. Processes are greenlets: one runs until it waits, then the agenda goes on."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.current: Process | None = None
        self.processes: set[Process] = set()
        self._hub = getcurrent()
        self._serials = count()
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        heappush(self._agenda, (self.now + timedelta(seconds=seconds), next(self._serials), act))

    def start(self, name: str, seconds: float, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Start a process that may take so many seconds. Not from within one: put it on the agenda."""
        process = Process(name, self.now + timedelta(seconds=seconds), done)
        process.run = greenlet(lambda: self._live(process, work))
        self.processes.add(process)
        self.later(seconds, lambda: self._end(process))
        self._resume(process)

    def sleep(self, seconds: float) -> None:
        """Let the process that runs wait, and others have their turn."""
        process = self.current
        assert process, "only a process can sleep"
        self.later(seconds, lambda: self._resume(process))
        self._hub.switch()
        if process.dead:
            raise Killed

    def seconds_left(self) -> float:
        assert self.current
        return (self.current.ends_at - self.now).total_seconds()

    def die(self) -> None:
        """Kill the process that runs."""
        assert self.current
        self.current.dead = True
        raise Killed

    def step(self) -> bool:
        """Let the next thing happen; False when there is nothing left."""
        if not self._agenda:
            return False
        self.now, _, act = heappop(self._agenda)
        act()
        return True

    def close(self) -> None:
        for process in list(self.processes):
            self._end(process)

    def _live(self, process: Process, work: Callable[[], Any]) -> None:
        try:
            result = work()
        except (Exception, Killed) as error:  # noqa: BLE001 # whatever it raises is its result
            result = error
        self.processes.discard(process)
        process.done(result)

    def _resume(self, process: Process) -> None:
        if process in self.processes:
            self.current = process
            process.run.switch()
            self.current = None

    def _end(self, process: Process) -> None:
        if process in self.processes:
            process.dead = True
            self._resume(process)
