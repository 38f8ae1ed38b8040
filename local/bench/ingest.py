"""Part "ingest": parse, check and flip, against `json.loads` of the same text and against a quadratic flip.

Each is measured in a process of its own (`python -m local.bench.ingest`), which prints its seconds and peak memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from local.bench.tables import Row, Steps, Table

ENTRIES_PER_FOLDER = 50
QUADRATIC_UP_TO = 100_000
REPEATS = 3
ROOTS = "icav2://5f3a1c62-0d4e-4b7a-9c58-1e2d3f4a5b6c", "icav2://a1b2c3d4-5e6f-4071-8293-a4b5c6d7e8f9"


def entries(count: int, per_folder: int, run: str = "240229_A00130_0288") -> Iterator[tuple[str, str]]:
    """Sources and destinations as of many samples of ``per_folder`` files."""
    source_root, destination_root = ROOTS
    for number in range(count):
        folder, file = divmod(number, per_folder)
        source = f"{source_root}/ilmn-analyses/{run}/output/Samples/L{folder:06d}/L{folder:06d}_R{file:03d}.fastq.gz"
        yield source, f"{destination_root}/ilmn_primary/{run}/Samples/L{folder:06d}/"


def ingest(sizes: list[int], steps: Steps) -> list[Table]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="icav2-copy-batch-bench-") as directory:
        for size in sizes:
            path = Path(directory) / f"{size}.json"
            _write(path, size)
            with steps.step(f"ingest: {size:,} entries"):
                loads_seconds, loads_mb = _measured("loads", path)
                seconds, mb = _measured("product", path)
                quadratic = _measured("quadratic", path, repeats=1)[0] if size <= QUADRATIC_UP_TO else None
            row: Row = {
                "entries": size,
                "destinations": -(-size // ENTRIES_PER_FOLDER),
                "text_mb": path.stat().st_size / 1e6,
                "entries_per_s": size / seconds,
                "us_per_entry": 1e6 * seconds / size,
                "times_json_loads": seconds / loads_seconds,
                "peak_mb": mb,
                "json_loads_peak_mb": loads_mb,
                "quadratic_times_ours": quadratic / seconds if quadratic else None,
            }
            rows.append(row)
            path.unlink()
    about = (
        f"Parse, check and flip a manifest of {ENTRIES_PER_FOLDER} sources to a destination; the best of {REPEATS} "
        "processes each, all with the garbage collector as the functions set it. Linear if *us per entry* stays the "
        "same. The aim at 10⁶: at most 3 times `json.loads`, in less than 3,008 MB. The quadratic one is `json.loads` "
        "and a flip that looks through all sources for each destination."
    )
    return [Table("Ingest", about, rows)]


def _write(path: Path, size: int) -> None:
    """Entry by entry, so that this process stays small."""
    with path.open("w") as text:
        for number, (source, destination) in enumerate(entries(size, ENTRIES_PER_FOLDER)):
            text.write(f"{',' if number else '{'}{json.dumps(source)}: [{json.dumps(destination)}]")
        text.write("}")


def _measured(how: str, path: Path, repeats: int = REPEATS) -> tuple[float, float]:
    command = [sys.executable, "-m", "local.bench.ingest", how, str(path)]
    outputs = [subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout for _ in range(repeats)]
    measured = [json.loads(output) for output in outputs]
    return min(each["seconds"] for each in measured), min(each["peak_mb"] for each in measured)


def _measure(how: str, path: Path) -> None:
    import icav2_copy_batch.handlers  # noqa: F401 # sets the garbage collector, for json.loads as well
    from icav2_copy_batch.domain.json_text import read_json
    from icav2_copy_batch.domain.manifest import Limits, flip
    from local.bench.baseline import quadratic_flip

    data = path.read_bytes()
    began = time.perf_counter()
    if how == "product":
        limits = Limits()
        flip(read_json(data, "manifest", limits.max_manifest_bytes), limits)
    else:
        loaded = json.loads(data)
        if how == "quadratic":
            quadratic_flip(loaded)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Of this process alone: Linux's `ru_maxrss` begins with that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    _measure(sys.argv[1], Path(sys.argv[2]))
