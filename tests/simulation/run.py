"""A seed: the world drawn from it, what is asked of that world, and whether the promise is kept in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random

from icav2_copy_batch.domain.job import Job
from tests.simulation.asked import Commands
from tests.simulation.commands import Command, commanded
from tests.simulation.deployed import TICK_SECONDS
from tests.simulation.invariants import Promise
from tests.simulation.operator import LOOKS_EVERY_SECONDS, Operator
from tests.simulation.scenario import Scenario, Submission
from tests.simulation.world import World


class Simulation:
    """One run of one seed."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario | None = None,
        kill_at: int | None = None,
        commands: Sequence[Command] = (),
    ) -> None:
        """``kill_at``: instead of faults by chance, whoever makes the n-th call to the outside dies after it.

        Without a scenario, that and the commands are drawn from the seed.
        """
        self.world = World(seed, scenario, kill_at)
        self.promise = Promise(self.world)
        self.operator = Operator(self.world)
        if scenario is None:
            self.world.scenario, commands = commanded(Random(f"commands {seed}"), self.world.scenario)
        self.commands = Commands(self.world, commands)
        self.world.also_over = lambda: self.commands.is_over
        self.world.moved = self._moved
        self.world.asking = self.commands.stopped.check_intent
        self.world.redriven = self.promise.note_redrive
        self.world.carrying_out = self.commands.carrying_out
        self.world.cancelling = self.commands.cancelling
        self.world.received = self.commands.received

    def run(self) -> Simulation:
        """To the end; raises ``Broken`` at the first broken promise."""
        world = self.world
        self._plan()
        try:
            while world.step():
                self.commands.check()
                self.promise.check()
                if world.is_over() and not world.engine.processes:
                    break
                self.promise.check_that_it_goes_on()
        finally:
            world.engine.close()
        self.promise.check_end()
        self.commands.stopped.check_end()
        return self

    def counts(self) -> Counter[str]:
        """What there was, and what went wrong how often."""
        world = self.world
        counts = world.counts
        undecided = counts["operator adopts"] + counts["operator releases"]
        there = {
            "= copies": len(world.table.copies),
            "= jobs": len(world.table.job_items),
            "= attempts": len(world.attempts()),
            "= jobs copied part by part": sum(it.batch_limit is not None for it in world.table.job_items.values()),
            "= ICA jobs": len(world.ica.jobs),
            "= calls to the outside": world.calls,
            "= launches adopted": counts["metric LaunchesAdopted"],
            "= launches released": counts["metric LaunchesReleased"],
            "= copies delayed": sum(event.detail_type == "CopyDelayed" for event in world.bus.events),
            "= answers to a start lost": counts["answer to a start lost"],
            "= launches undecided, told to a person": undecided,
        }
        return counts + Counter(there | {f"~ {name}": 1 for name in world.scenario.freedoms})

    def _plan(self) -> None:
        """Put on the agenda what the scenario has: submissions, outages, ticks, and what people do."""
        world, scenario, later = self.world, self.world.scenario, self.world.engine.later
        for submission in scenario.submissions:
            later(submission.at, partial(self._submit, submission))
        for start, seconds in scenario.outages:
            later(start, partial(world.fail_ica, seconds))
        later(world.engine.rng.uniform(0, TICK_SECONDS), world.tick)
        later(scenario.fault_seconds + 1, world.redrive)
        later(LOOKS_EVERY_SECONDS, self.operator.look)
        self.commands.plan()
        for happening in scenario.happenings:
            later(happening.at, partial(world.others.let, happening))

    def _moved(self, verb: str, job: Job) -> None:
        self.promise.check_move(verb, job)
        self.commands.stopped.check_claim(verb, job)

    def _submit(self, submission: Submission) -> None:
        self.promise.note(submission)
        self.world.ingest_queue.add(json.dumps(submission.body))
