"""What a cold start imports and builds, by count: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"
HANDLERS = {path.stem for path in (SOURCE / "icav2_copy_batch/handlers").glob("[a-z]*.py")} - {"container"}
NEED_NOTHING_OF_ICA = {"ingest", "publish"}
"""To ingest, as long as no project is called by its name."""
UNNEEDED = {"boto3", "s3transfer", "asyncio", "aws_lambda_powertools.event_handler", "libica.openapi.v2"}
"""The last two are not even in the package."""


def in_a_fresh_process(*lines: str) -> Any:
    """What the last line, an expression, is there."""
    code = "\n".join(["import gc, json, sys", *lines[:-1], f"print(json.dumps({lines[-1]}))"])
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)


def imports_of(handler: str) -> str:
    """A handler's, with those of its first message."""
    ica = "" if handler in NEED_NOTHING_OF_ICA else ", icav2_copy_batch.adapters.ica.client"
    return f"import icav2_copy_batch.handlers.{handler}{ica}"


@pytest.mark.parametrize("handler", sorted(HANDLERS))
def test_no_handler_imports_what_it_can_do_without(handler: str) -> None:
    imported = set(in_a_fresh_process(imports_of(handler), "[*sys.modules]"))
    assert {"botocore", "pynamodb"} <= imported
    assert imported.isdisjoint(UNNEEDED)
    assert imported.isdisjoint({"libica", "pydantic"}) is (handler in NEED_NOTHING_OF_ICA)


def test_ingest_imports_the_adapter_for_ica_with_the_first_project_that_is_called_by_its_name() -> None:
    before, by_id, by_name = in_a_fresh_process(
        "import os",
        "os.environ |= {'AWS_DEFAULT_REGION': 'us-east-1', 'AWS_EC2_METADATA_DISABLED': 'true'}",
        "from icav2_copy_batch.domain.manifest import Limits, Refused, flip",
        "from icav2_copy_batch.domain.projects import Projects",
        "from icav2_copy_batch.handlers.container import Container",
        "set_for_it = 'COPY_TABLE_NAME MANIFEST_BUCKET_NAME EVENT_BUS_NAME LAUNCH_QUEUE_URL ICA_TOKEN_SECRET_ARN'",
        "environment = dict.fromkeys(set_for_it.split(), 'made-up') | {'ICA_BASE_URL': 'https://ica.example'}",
        "ingest = Container(environment).ingest",
        "known = lambda: [name for name in ('libica', 'pydantic') if name in sys.modules]",
        "ids = 'b23fb516-d852-4985-adcc-831c12e8cd22', '7595e8f2-32d3-4c76-a324-c6a85dae87b5'",
        "def flip_between(one, other):",
        "    flip({f'icav2://{one}/a': [f'icav2://{other}/b/']}, Limits(), Projects(ingest.project_id))",
        "before = known()",
        "flip_between(*ids)",
        "by_id = known()",
        "try: flip_between(ids[0], 'a name')",
        "except Exception as error: assert 'token' in str(error), error",  # there is none here
        "[before, by_id, known()]",
    )
    assert before == by_id == []
    assert by_name == ["libica", "pydantic"]


def test_pydantic_builds_no_validator_before_it_is_used_and_then_that_alone() -> None:
    before, after, refused = in_a_fresh_process(
        imports_of("launch"),
        "from pydantic_core import SchemaValidator",
        "from icav2_copy_batch.adapters.ica.client import IcaClient",
        "from icav2_copy_batch.adapters.ica.http import Http",
        "from icav2_copy_batch.domain.ica import IcaRefused",
        "def built(): return sum(isinstance(each, SchemaValidator) for each in gc.get_objects())",
        "class Token:",
        "    def token(self, *, fresh): return 'a.b.c'",
        "before = built()",
        "http = Http(base_url='https://ica.example', tokens=Token(), seconds_left=lambda: 0.0)",
        "try: IcaClient(http=http).folders_in(12, '/')",
        "except IcaRefused as error: refused = str(error)",
        "[before, built(), refused]",
    )
    assert before <= 5  # of 240
    assert after == before + 1
    assert refused == "not a request to ICA: Input should be a valid string"
