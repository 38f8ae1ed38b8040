"""Takes each condition of the table's writes and reads away, one at a time: the table's tests have to notice.

``python -m tests.mutants`` prints each mutant that survives, and exits with 1 if one does. A mutant is the package with
one condition less: one side of an ``&`` or ``|``, the condition of a write or the filter of a read. Its tests run in a
process of their own, with the mutated package before the real one on the path.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
TABLE = "icav2_copy_batch/adapters/table"
TESTS = ["tests/integration/test_table_contract.py", "tests/integration/test_table.py"]
CONDITION_AT = {"save": 0, "delete": 0, "update": 1}
"""Which argument of a model's method is its condition."""
CONDITION_IN_TRANSACTION_AT = {"save": 1, "delete": 1, "update": 2}


@dataclass(frozen=True)
class Mutant:
    path: Path
    """Of the module, below ``src``."""
    line: int
    what: str
    source: str
    """The module without the condition."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse((SOURCE / path).read_text())
    for index, node in enumerate(ast.walk(tree)):
        for what, replacement in _replacements(node):
            mutated = deepcopy(tree)
            target = list(ast.walk(mutated))[index]
            _replace(mutated, target, replacement)
            yield Mutant(path, getattr(node, "lineno", 0), what, ast.unparse(ast.fix_missing_locations(mutated)))


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr) and _is_condition(node):
        yield f"without {ast.unparse(node.right)}", deepcopy(node.left)
        yield f"without {ast.unparse(node.left)}", deepcopy(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        in_transaction = isinstance(node.func.value, ast.Name) and node.func.value.id == "transaction"
        place = (CONDITION_IN_TRANSACTION_AT if in_transaction else CONDITION_AT).get(node.func.attr)
        if place is not None and len(node.args) == place + 1 and not isinstance(node.args[place], ast.Set):
            without = deepcopy(node)
            del without.args[place]
            yield f"{node.func.attr} without its condition {ast.unparse(node.args[place])}", without


def _is_condition(node: ast.BinOp) -> bool:
    """Whether an ``&`` or ``|`` joins conditions, and not types (``X | None``) or sets."""
    text = ast.unparse(node)
    return "None" not in text and any(sign in text for sign in ("==", "<", "exists()", "is_in", "_queued", "allowed"))


def _replace(tree: ast.AST, target: ast.AST, replacement: ast.expr) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, replacement)
            elif isinstance(value, list) and target in value:
                value[value.index(target)] = replacement


def survives(mutant: Mutant) -> bool:
    """Whether all tests of the table pass without this condition."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        (source / mutant.path).write_text(mutant.source)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-o", f"pythonpath={source} {ROOT}", *TESTS]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant}: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say which there are, and test none")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    modules = sorted(path.relative_to(SOURCE) for path in SOURCE.glob(f"{TABLE}/*.py"))
    mutants = [mutant for path in modules for mutant in mutants_of(path)]
    if options.list:
        print(*mutants, sep="\n")
        return 0
    with ThreadPoolExecutor(options.processes) as pool:
        survived = [mutant for mutant, alive in zip(mutants, pool.map(survives, mutants), strict=True) if alive]
    for mutant in survived:
        print(f"survived: {mutant}")
    print(f"{len(mutants)} mutants, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
