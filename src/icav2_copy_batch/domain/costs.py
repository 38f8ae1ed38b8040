"""What a copy costs: calls to ICA, units of the table, dollars. By what was measured, in docs/benchmarks.md."""

from __future__ import annotations

from dataclasses import dataclass

ICA_CALLS_A_JOB, ICA_CALLS_A_FAILURE, ICA_CALLS_A_FILE_OF_A_FAILURE = 4.8, 2.0, 3.0
"""Fitted to the parts *ICA calls* and *Each plan*. Copies of thousands of jobs take about half as many calls a job."""
WRITE_UNITS = 240.0, 28.2, 52.0
"""A copy, each of its jobs, each attempt that fails: the first two by the part *Scale*, the last by *Cost*."""
WRITE_UNITS_A_SOURCE = 0.05
"""Its size and ETag, some 26 bytes, in the write that ends its job. That is a transaction: two units for each KB."""
READ_UNITS = 130.0, 2.8, 20.0
"""The same."""
WRITE_UNIT_DOLLARS, READ_UNIT_DOLLARS = 0.625e-6, 0.125e-6
"""List prices of us-east-1, 2025-06: https://aws.amazon.com/dynamodb/pricing/on-demand/."""
OTHER_DOLLARS = 2.7e-5
"""A job's share of queues, functions, events, objects and logs: part *Cost*, 20 % of the ICA jobs failing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a copy is expected to cost."""

    ica_calls: int
    write_units: int
    read_units: int
    dollars: float


def cost_of(jobs: int, sources: int, failures: float) -> Cost:
    """The cost of a copy of so many jobs with so many sources in all, of which so many attempts fail."""
    if not jobs:
        return Cost(0, 0, 0, 0.0)
    a_failure = ICA_CALLS_A_FAILURE + ICA_CALLS_A_FILE_OF_A_FAILURE * sources / jobs
    writes, reads = (
        round(a_copy + jobs * a_job + failures * each) for a_copy, a_job, each in (WRITE_UNITS, READ_UNITS)
    )
    writes += round(sources * WRITE_UNITS_A_SOURCE)
    units = writes * WRITE_UNIT_DOLLARS + reads * READ_UNIT_DOLLARS
    calls = round(jobs * ICA_CALLS_A_JOB + failures * a_failure)
    return Cost(calls, writes, reads, round(units + OTHER_DOLLARS * jobs, 6))
