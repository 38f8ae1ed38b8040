"""`make bench`, with ONLY=part,part for some of it; `--help` says what can be made smaller."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.bench import report
from local.bench.coldstart import coldstart
from local.bench.cost import cost, scale
from local.bench.deployed import Deployed
from local.bench.ingest import ingest
from local.bench.makespan import makespan
from local.bench.meter import Meter, metered
from local.bench.pace import pace
from local.bench.plan import plan
from local.bench.tables import Steps, Table
from local.bench.timeline import timeline
from local.demo import subscribed
from local.stack import REPOSITORY, StackError, StackOptions, local_stack

PARTS = ("plan", "makespan", "pace", "ingest", "scale", "coldstart", "cost")


class Bench:
    """The parts, and the one deployed stack that five of them share; it comes up when it is first needed."""

    def __init__(self, options: argparse.Namespace, steps: Steps, running: ExitStack) -> None:
        self._options, self._steps, self._running = options, steps, running

    @cached_property
    def _deployed(self) -> Deployed:
        with self._steps.step("starting a local AWS and a simulated ICA, deploying the stack"):
            stack = self._running.enter_context(local_stack(StackOptions(seed=self._options.seeds[0])))
            if stack.simulator is None:
                raise StackError("the bench needs the simulated ICA")
            deployed = Deployed(stack, stack.simulator, self._running.enter_context(subscribed(stack)))
            deployed.switch(delete_seconds=0)
            return deployed

    @cached_property
    def _meter(self) -> Meter:
        meter = self._running.enter_context(metered(self._deployed.stack))
        with self._steps.step("warming up, with the meter"):
            self._deployed.warm_up(1)
        return meter

    def measure(self, part: str) -> tuple[list[Table], dict[str, Any]]:
        """A part's tables, and the settings that it was measured with."""
        options, steps = self._options, self._steps
        match part:
            case "plan":  # the first, so that no other copies are in its history
                return plan(self._deployed, options.planned, steps), {"copies": options.planned}
            case "makespan":
                tables, shown = makespan(self._deployed, options.seeds, steps)
                report.DOCS.mkdir(exist_ok=True)
                report.TIMELINE.write_text(timeline(shown))
                return tables, {"seeds": options.seeds}
            case "pace":
                return pace(self._deployed, options.limits, steps), {"limits": options.limits}
            case "ingest":
                return ingest(options.entries, steps), {"entries": options.entries}
            case "scale":
                tables = scale(self._deployed, self._meter, options.jobs, options.limit_seconds, steps)
                return tables, {"jobs": options.jobs, "seed": options.seeds[0]}
            case "coldstart":
                return coldstart(options.imports, steps), {"runs": options.imports}
            case _:
                return cost(self._deployed, self._meter, steps), {"seed": options.seeds[0]}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress, ExitStack() as running:
            parts_done = progress.add_task("[bold]parts", total=len(options.only))
            bench = Bench(options, Steps(progress), running)
            for part in (each for each in PARTS if each in options.only):
                tables, settings = bench.measure(part)
                report.save(part, tables, settings)
                progress.advance(parts_done)
                console.print(f"[bold]{part}[/] is in {report.MARKDOWN.relative_to(REPOSITORY)}")
    except StackError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seeds", type=_numbers, default=[1, 2, 3], help="of the makespan runs")
    parser.add_argument("--planned", type=int, default=20, help="copies of part plan")
    parser.add_argument("--limits", type=_numbers, default=[0, 6, 20], help="calls a second, of part pace")
    parser.add_argument("--entries", type=_numbers, default=[10**3, 10**4, 10**5, 10**6], help="of the manifests")
    parser.add_argument("--jobs", type=_numbers, default=[100, 1_000, 3_000], help="of the copies of part scale")
    parser.add_argument("--limit-seconds", type=float, default=1800.0, help="for each copy of part scale")
    parser.add_argument("--imports", type=int, default=9, help="runs of part coldstart")
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return parts


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
