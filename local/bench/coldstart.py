"""Part "coldstart": what a handler imports before its first line of work, against all of libica; and package sizes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from local.bench.tables import Row, Steps, Table
from local.stack import REPOSITORY, TOOLS

HANDLERS = REPOSITORY / "src/icav2_copy_batch/handlers"
TALKS_TO_ICA = ("launch", "poll", "notify")
"""These import ICA's client with their first message, which is counted as theirs."""
WHOLE = "libica.openapi.v3"
TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def coldstart(runs: int, steps: Steps) -> list[Table]:
    names = sorted(path.stem for path in HANDLERS.glob("*.py") if path.stem not in ("__init__", "wiring"))
    with steps.step("coldstart: imports", total=1 + len(names)) as tick:
        whole = _import_seconds(WHOLE, runs)
        rows: list[Row] = []
        for number, name in enumerate(names, start=1):
            tick(number)
            modules, share = f"icav2_copy_batch.handlers.{name}", 1 / 10
            if name in TALKS_TO_ICA:
                modules, share = f"{modules}, icav2_copy_batch.adapters.ica", 1 / 4
            seconds = _import_seconds(modules, runs)
            ratio = seconds / whole
            rows.append(
                {"handler": name, "import_ms": 1000 * seconds, "of_libica": ratio, "aim": share, "met": ratio < share}
            )
    about = (
        f"Import of a handler with all that its first message imports, over `import {WHOLE}` "
        f"({1000 * whole:.0f} ms here): medians of {runs} fresh processes each, byte code compiled."
    )
    with steps.step("coldstart: sam build"):
        sizes = _package_sizes()
    return [Table("Cold start", about, rows), Table("Package size", "Of what `make build` makes for AWS.", sizes)]


def _import_seconds(modules: str, runs: int) -> float:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = kept | {"PYTHONPATH": str(REPOSITORY / "src"), "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-c", TIMED.format(modules)]
    outputs = [
        subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout for _ in range(runs + 1)
    ]
    return statistics.median(map(float, outputs[1:]))  # the first compiles


def _package_sizes() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="icav2-copy-batch-bench-") as directory:
        command = [str(TOOLS / "sam/bin/sam"), "build", "--build-dir", directory]
        path = os.pathsep.join([str(TOOLS / "uv/bin"), os.environ.get("PATH", os.defpath)])
        environment = os.environ | {"PATH": path, "SAM_CLI_TELEMETRY": "0"}
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
        return [_size(function) for function in sorted(Path(directory).iterdir()) if function.is_dir()]


def _size(function: Path) -> Row:
    files = [path for path in function.rglob("*") if path.is_file()]
    return {
        "function": function.name,
        "unpacked_mb": sum(path.stat().st_size for path in files) / 1e6,
        "files": len(files),
    }
