"""Many seeds of the simulated world, or one of them with all that happened in it.

``python -m tests.simulation.soak --seeds 10000`` and ``python -m tests.simulation.soak --replay 123``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.simulation.asked import KINDS, MOMENTS, WAYS, counted
from tests.simulation.freedoms import AWS, PEOPLE, SWITCHES
from tests.simulation.invariants import Broken
from tests.simulation.run import Simulation

CHUNK = 20
LEAST_WIDTH = 140
"""So many characters the table of commands takes."""
FREEDOMS = (*SWITCHES, *PEOPLE, *AWS)
LOGGED = ("copy_id", "job_id", "attempt", "ica_job_id", "outcome", "reason", "hold", "until")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run this one and say what happens in it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    return replay(options.replay) if options.replay is not None else soak(options)


def soak(options: argparse.Namespace) -> int:
    chunks = [range(first, min(first + CHUNK, options.first + options.seeds))
              for first in range(options.first, options.first + options.seeds, CHUNK)]  # fmt: skip
    counts: Counter[str] = Counter()
    broken: dict[int, str] = {}
    with ProcessPoolExecutor(options.processes, initializer=_quiet) as pool:
        for counted, found in track(
            pool.map(run_seeds, chunks), "soak", total=len(chunks), console=Console(stderr=True)
        ):
            counts += counted
            broken |= found
    _report(options, counts, broken)
    return 1 if broken else 0


def run_seeds(seeds: Iterable[int]) -> tuple[Counter[str], dict[int, str]]:
    """What was counted in these seeds, and the promises that were broken."""
    counts: Counter[str] = Counter()
    broken = {}
    for seed in seeds:
        simulation = Simulation(seed)
        try:
            simulation.run()
        except Broken as error:
            broken[seed] = str(error)
        counts += simulation.counts()
    return counts, broken


def _report(options: argparse.Namespace, counts: Counter[str], broken: dict[int, str]) -> None:
    console = Console()
    table = Table(title=f"seeds {options.first} to {options.first + options.seeds - 1}: {len(broken)} violations")
    table.add_column("what")
    table.add_column("how often", justify="right")
    for name in sorted(name for name in counts if name.startswith("= ")):
        table.add_row(name[2:], f"{counts[name]:,}")
    undecided, lost = counts["= launches undecided, told to a person"], counts["= answers to a start lost"]
    table.add_row("undecided of the answers lost", f"{undecided / max(lost, 1):.1%}")
    table.add_row("undecided of the attempts", f"{undecided / max(counts['= attempts'], 1):.2%}")
    table.add_section()
    for name in FREEDOMS:
        table.add_row(f"world: {name}", f"{counts[f'~ {name}']:,}")
    table.add_section()
    for name in sorted(name for name in counts if not name.startswith(("= ", "~ ", "> ", "metric "))):
        table.add_row(f"fault: {name}", f"{counts[name]:,}")
    console.print(table)
    Console(width=max(console.width, LEAST_WIDTH)).print(_commands_table(counts))
    for seed, reason in sorted(broken.items())[:20]:
        console.print(f"make replay SEED={seed}  # {reason[:300]}", markup=False, highlight=False, soft_wrap=True)


def _commands_table(counts: Counter[str]) -> Table:
    """How often each command was carried out, which way it came, and what was under way just then."""
    table = Table(title="commands, by the moments at which they were carried out")
    table.add_column("command", no_wrap=True)
    columns = ("in all", *MOMENTS)
    for moment in columns:
        table.add_column(moment, justify="right", no_wrap=True)
    for kind, way in product(KINDS.values(), WAYS):
        table.add_row(f"{kind} by {way}", *(f"{counts[counted(kind, way, moment)]:,}" for moment in columns))
    return table


def replay(seed: int) -> int:
    """Run one seed and print each line that it logs, with the virtual time."""
    _quiet()
    simulation = Simulation(seed)
    engine = simulation.world.engine

    class Print(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            process = engine.current.name if engine.current else ""
            details: dict[str, Any] = {name: record.__dict__[name] for name in LOGGED if record.__dict__.get(name)}
            raised = repr(record.exc_info[1]) if record.exc_info else ""
            print(f"{engine.now:%d %H:%M:%S.%f} {process:8} {record.getMessage()} {details} {raised}")

    logging.disable(logging.NOTSET)
    logging.getLogger("icav2_copy_batch").addHandler(Print())
    logging.getLogger("icav2_copy_batch").setLevel(logging.INFO)
    try:
        simulation.run()
    except Broken as error:
        print(f"BROKEN at {engine.now:%d %H:%M:%S}: {error}")
        return 1
    print(f"kept; {dict(simulation.counts())}")
    return 0


def _quiet() -> None:
    logging.disable(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
