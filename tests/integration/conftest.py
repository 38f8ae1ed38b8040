"""The AWS of one test, on moto, and the simulated ICA of one test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from moto import mock_aws

from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.cli.program import Program
from icav2_copy_batch.client.stack import STACK_VARIABLE
from tests import doubles
from tests.doubles.clock import Clock
from tests.doubles.simulated_ica import SimulatedIca, Stage, serving
from tests.integration import template
from tests.integration.aws_calls import AwsCalls, seen
from tests.integration.ica_cases import Prepared
from tests.integration.operators import ScriptedControl, client_of, deploy_way_in, time_of
from tests.integration.pipeline import Pipeline, pipeline_of
from tests.integration.shell import Terminal
from tests.integration.tables import EitherTable


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsCalls]:
    """An empty AWS, and the calls that are made to it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}), seen() as calls:
        yield calls


@pytest.fixture
def table(aws: AwsCalls) -> CopyTable:
    """The product's table, as the template describes it, empty."""
    template.create_copy_table()
    return _copy_table()


@cache
def _copy_table() -> CopyTable:
    """One for all tests: it keeps nothing, and its connection takes longer to make than most tests to run."""
    return CopyTable(template.TABLE_NAME)


@pytest.fixture(params=["moto", "double"])
def either_table(request: pytest.FixtureRequest) -> EitherTable:
    """The product's table on moto, and its double in memory: what is true of the one is true of the other."""
    return doubles.Table() if request.param == "double" else request.getfixturevalue("table")


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    with serving() as stage:
        yield stage


@pytest.fixture
def ica(stage: Stage) -> SimulatedIca:
    return SimulatedIca(stage)


@pytest.fixture
def prepared(ica: SimulatedIca) -> Prepared:
    sources = [ica.file("/run/a.txt").id, ica.file("/run/b.txt").id]
    return Prepared(ica, sources, ica.folder("/to/").id)


@pytest.fixture
def pipeline(aws: AwsCalls, table: CopyTable, ica: SimulatedIca, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The functions on that AWS and that ICA."""
    with pipeline_of(aws, ica) as pipeline:
        yield pipeline


@pytest.fixture
def shell(aws: AwsCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The program, on a stack whose control function is scripted."""
    monkeypatch.delenv(STACK_VARIABLE, raising=False)
    control, clock = ScriptedControl(), Clock()
    aws.answer("Invoke", control)
    deploy_way_in()
    return Terminal(control, clock, Program(time=time_of(clock), terminal=False, client=client_of), tmp_path)
