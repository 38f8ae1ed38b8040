"""Takes each condition of the table's writes and reads away, one at a time: the table's tests have to notice.

``python -m tests.mutants`` prints each mutant that survives, and exits with 1 if one does. A mutant is the package with
one condition less: one side of an ``&`` or ``|``, the condition of a write, the range or the filter of a query. Its
tests run in a process of their own, with the mutated package before the real one on the path. They are those that call
the function that has the condition: a first run of all tests of the table, under coverage, tells which these are.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import coverage

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
    lines: range
    """Of the function that has the condition."""
    what: str
    source: str
    """The module without the condition."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse((SOURCE / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for index, node in enumerate(ast.walk(tree)):
        for what, replacement in _replacements(node):
            mutated = deepcopy(tree)
            _replace(mutated, list(ast.walk(mutated))[index], replacement)
            line = getattr(node, "lineno", 0)
            around = [each for each in functions if each.lineno <= line <= (each.end_lineno or 0)]
            within = max(around, key=lambda each: each.lineno)
            lines = range(within.body[0].lineno, (within.end_lineno or 0) + 1)
            yield Mutant(path, line, lines, what, ast.unparse(ast.fix_missing_locations(mutated)))


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in place of a node so that there is one condition less."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr) and _is_condition(node):
        yield f"without {ast.unparse(node.right)}", deepcopy(node.left)
        yield f"without {ast.unparse(node.left)}", deepcopy(node.right)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitAnd):
        yield f"without {ast.unparse(node.value)}", ast.Pass()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _without_condition(node, node.func)


def _without_condition(call: ast.Call, method: ast.Attribute) -> Iterator[tuple[str, ast.AST]]:
    """A write without its condition; a query without its range, and without its filter."""
    in_transaction = isinstance(method.value, ast.Name) and method.value.id == "transaction"
    place = (CONDITION_IN_TRANSACTION_AT if in_transaction else CONDITION_AT).get(method.attr)
    if place is not None and len(call.args) == place + 1 and not isinstance(call.args[place], ast.Set):
        yield f"{method.attr} without its condition {ast.unparse(call.args[place])}", _with_none(call, place)
    if method.attr == "query":
        for place in range(1, len(call.args)):
            yield f"query without {ast.unparse(call.args[place])}", _with_none(call, place)
        for keyword in call.keywords:
            if keyword.arg == "filter_condition":
                without = deepcopy(call)
                without.keywords = [each for each in without.keywords if each.arg != keyword.arg]
                yield f"query without its filter {ast.unparse(keyword.value)}", without


def _with_none(call: ast.Call, place: int) -> ast.Call:
    without = deepcopy(call)
    without.args[place] = ast.Constant(None)
    return without


def _is_condition(node: ast.BinOp) -> bool:
    """Whether an ``&`` or ``|`` joins conditions, and not types (``X | None``) or sets."""
    text = ast.unparse(node)
    return "None" not in text and any(sign in text for sign in ("==", "<", "exists()", "is_in", "_queued", "allowed"))


def _replace(tree: ast.AST, target: ast.AST, replacement: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, replacement)
            elif isinstance(value, list) and target in value:
                value[value.index(target)] = replacement


def tests_by_line(folder: Path) -> dict[Path, dict[int, list[str]]]:
    """For each module of the table: which tests run which of its lines."""
    settings, data = folder / "coveragerc", folder / "coverage"
    settings.write_text(f"[run]\ndynamic_context = test_function\ninclude = {SOURCE / TABLE}/*\ndata_file = {data}\n")
    _run_tests(SOURCE, TESTS, ["-m", "coverage", "run", f"--rcfile={settings}"])
    covered = coverage.CoverageData(str(data))
    covered.read()
    return {
        Path(name).relative_to(SOURCE): covered.contexts_by_lineno(name) for name in sorted(covered.measured_files())
    }


def tests_of(mutant: Mutant, by_line: Mapping[Path, Mapping[int, Sequence[str]]]) -> list[str]:
    """The tests that run the function of a mutant, as pytest names them."""
    lines = by_line.get(mutant.path, {})
    contexts = {context for line in mutant.lines for context in lines.get(line, ()) if context}
    modules = {test.removesuffix(".py").replace("/", "."): test for test in TESTS}
    found = [context.rpartition(".") for context in sorted(contexts)]
    return [f"{modules[module]}::{name}" for module, _, name in found if module in modules]


def survives(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether these tests pass without this condition; where there are none, nothing notices."""
    if not tests:
        return True
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        (source / mutant.path).write_text(mutant.source)
        return _run_tests(source, tests) == 0


def _run_tests(source: Path, tests: Sequence[str], under: Sequence[str] = ()) -> int:
    """Run tests on a package; 0 where they pass, 1 where one fails."""
    command = [sys.executable, *under, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-o", f"pythonpath={source} {ROOT}", *tests]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say which there are, and test none")
    parser.add_argument("--only", default="", metavar="WORDS", help="those whose line in the list has these words")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    modules = sorted(path.relative_to(SOURCE) for path in SOURCE.glob(f"{TABLE}/*.py"))
    mutants = [mutant for path in modules for mutant in mutants_of(path) if options.only in str(mutant)]
    if options.list:
        print(*mutants, sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        by_line = tests_by_line(Path(folder))
    with ThreadPoolExecutor(options.processes) as pool:
        alive = pool.map(lambda mutant: survives(mutant, tests_of(mutant, by_line)), mutants)
        survived = [mutant for mutant, is_alive in zip(mutants, alive, strict=True) if is_alive]
    for mutant in survived:
        print(f"survived: {mutant}")
    print(f"{len(mutants)} mutants, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
