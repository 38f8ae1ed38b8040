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
    """Each run imports everything once, so that a machine whose speed drifts is the same for both sides of a ratio."""
    names = sorted(path.stem for path in HANDLERS.glob("*.py") if path.stem not in ("__init__", "container"))
    modules = {name: f"icav2_copy_batch.handlers.{name}" for name in names}
    modules |= {name: f"{modules[name]}, icav2_copy_batch.adapters.ica.client" for name in TALKS_TO_ICA}
    seconds: list[dict[str, float]] = []
    with steps.step("coldstart: imports", total=runs) as tick:
        for run in range(runs + 1):
            seconds.append({name: _import_seconds(each) for name, each in {**modules, WHOLE: WHOLE}.items()})
            tick(run)
    del seconds[0]  # that one compiled
    rows: list[Row] = []
    for name in names:
        ratio = statistics.median(each[name] / each[WHOLE] for each in seconds)
        import_ms = 1000 * statistics.median(each[name] for each in seconds)
        aim = 1 / 4 if name in TALKS_TO_ICA else 1 / 10
        rows.append({"handler": name, "import_ms": import_ms, "of_libica": ratio, "aim": aim, "met": ratio < aim})
    whole_ms = 1000 * statistics.median(each[WHOLE] for each in seconds)
    about = (
        f"Import of a handler with all that its first message imports, over `import {WHOLE}` ({whole_ms:.0f} ms here): "
        f"medians of {runs} runs, each of a fresh process for each, byte code compiled; of the ratios within a run."
    )
    with steps.step("coldstart: sam build"):
        sizes = _package_sizes()
    return [
        Table("Cold start", about, rows),
        Table("Package size", "Measured on what `make build` makes.", sizes),
    ]


def _import_seconds(modules: str) -> float:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = kept | {"PYTHONPATH": str(REPOSITORY / "src"), "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-c", TIMED.format(modules)]
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


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
