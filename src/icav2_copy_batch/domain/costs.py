"""What a copy costs: calls to ICA, units of the table, dollars. Estimated by what was measured, in docs/benchmarks.md.

Each number is for a job, or for an attempt that fails and is followed by another.
"""

from __future__ import annotations

from dataclasses import dataclass

ICA_CALLS = 5.1, 8.4
"""From the part *ICA calls*: 961 calls for 132 jobs and 35 failures, 869 for 132 and 24. Large copies take fewer."""
WRITE_UNITS = 28.2, 17.0
"""A job: part *Scale*. A failure: a requeue, a message, a claim of three items, an intent, an ICA job, the index."""
READ_UNITS = 2.8, 3.0
"""A job: part *Scale*. A failure: as a job, since it is read as often."""
WRITE_UNIT_DOLLARS, READ_UNIT_DOLLARS = 0.625e-6, 0.125e-6
"""List prices of us-east-1, 2025-06: https://aws.amazon.com/dynamodb/pricing/on-demand/."""
OTHER_DOLLARS = 1.4e-5
"""A job's share of queues, functions, events, objects and logs: part *Cost*, 20 % of the ICA jobs failing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a copy is expected to cost."""

    ica_calls: int
    write_units: int
    read_units: int
    dollars: float


def cost_of(jobs: int, failures: float) -> Cost:
    """The cost of a copy of so many jobs, of which so many attempts fail."""

    def expected(measured: tuple[float, float]) -> int:
        return round(measured[0] * jobs + measured[1] * failures)

    calls, writes, reads = map(expected, (ICA_CALLS, WRITE_UNITS, READ_UNITS))
    units = writes * WRITE_UNIT_DOLLARS + reads * READ_UNIT_DOLLARS
    return Cost(calls, writes, reads, round(units + OTHER_DOLLARS * jobs, 6))
