"""Which module may know which: handlers → operators → stages → domain, adapters beside them; cli → client → domain."""

from __future__ import annotations

import ast
import pkgutil
import re
import socket
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError

PACKAGE = "icav2_copy_batch"
SOURCE = Path(__file__).parents[2] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (SOURCE / PACKAGE).rglob("*.py")
}
STAGES = {module for module in MODULES if module.startswith(f"{PACKAGE}.stages.")}

MAY_KNOW = {
    "domain": {"domain"},
    "ports": {"domain", "ports"},
    "adapters": {"domain", "ports", "adapters"},
    "stages": {"domain", "ports", "stages"},
    "operators": {"domain", "ports", "stages", "operators"},
    "handlers": {"domain", "ports", "stages", "operators", "adapters", "handlers"},
    "client": {"domain", "client"},
    "cli": {"domain", "client", "cli"},
}


def layer(module: str) -> str:
    return module.split(".")[1]


@cache
def imports(module: str, at_import_only: bool = False) -> tuple[str, ...]:
    """Every module that a module imports; or those alone that importing it imports."""
    return tuple(_imports(module, at_import_only))


def _imports(module: str, at_import_only: bool) -> Iterator[str]:
    nodes: list[ast.AST] = [ast.parse(MODULES[module].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module
        elif at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif at_import_only and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)


def imported_with(module: str) -> set[str]:
    """Everything that is imported when a module is, as far as it is ours or named by ours."""
    known: set[str] = set()
    due = [module]
    while due:
        name = due.pop()
        if name not in known:
            known.add(name)
            if name in MODULES:
                due += imports(name, at_import_only=True)
    return known


def ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def test_the_layers_are_all_there() -> None:
    assert {layer(module) for module in MODULES if "." in module} == set(MAY_KNOW)
    assert {f"{PACKAGE}.stages.{name}" for name in ("ingest", "launch", "poll", "publish")} <= STAGES


@pytest.mark.parametrize("module", sorted(module for module in MODULES if "." in module))
def test_imports_point_one_way(module: str) -> None:
    allowed = MAY_KNOW[layer(module)]
    assert [name for name in imports(module) if ours(name) and layer(name) not in allowed] == []


@pytest.mark.parametrize("module", sorted(module for module in MODULES if "." in module and layer(module) == "domain"))
def test_the_domain_imports_the_standard_library_and_itself(module: str) -> None:
    foreign = [name for name in imports(module) if not ours(name) and name.split(".")[0] not in sys.stdlib_module_names]
    assert foreign == []


@pytest.mark.parametrize("module", sorted(STAGES))
def test_a_stage_imports_the_standard_library_and_ours(module: str) -> None:
    foreign = [name for name in imports(module) if not ours(name) and name.split(".")[0] not in sys.stdlib_module_names]
    assert foreign == []


def test_no_two_modules_import_each_other() -> None:
    for module in MODULES:
        for name in imports(module, at_import_only=True):
            if name in MODULES and name != module:
                assert module not in imported_with(name), f"{module} and {name}"


@pytest.mark.parametrize("handler", ["ingest", "publish"])
def test_ingest_and_publish_import_nothing_of_ica(handler: str) -> None:
    known = imported_with(f"{PACKAGE}.handlers.{handler}")
    rooms = {name for name in known if name.startswith(f"{PACKAGE}.adapters.ica.")}
    assert rooms <= {f"{PACKAGE}.adapters.ica.pacing"}
    assert "libica" not in {name.split(".")[0] for name in known}


def test_publish_knows_nothing_of_ica() -> None:
    assert "ica" not in [
        alias.name
        for node in ast.walk(ast.parse(MODULES[f"{PACKAGE}.handlers.publish"].read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def test_libica_is_imported_by_the_adapter_for_ica_alone() -> None:
    known = {module for module in MODULES if any(name.split(".")[0] == "libica" for name in imports(module))}
    assert known
    assert all(module.startswith(f"{PACKAGE}.adapters.") for module in known)
    assert "libica" in {name.split(".")[0] for name in imported_with(f"{PACKAGE}.adapters.ica.client")}


def test_no_function_has_what_only_the_program_needs() -> None:
    """Neither its packages nor our own modules."""
    for requirements in (SOURCE / "requirements.txt", SOURCE / "requirements-ica.txt"):
        installed = {line.partition("==")[0] for line in requirements.read_text().splitlines()}
        assert installed
        assert not installed & {"typer", "rich"}
    assert "rm -rf cli client" in (SOURCE / "Makefile").read_text()
    for handler in (module for module in MODULES if module.startswith(f"{PACKAGE}.handlers.")):
        rooms = {layer(name) for name in imported_with(handler) if ours(name) and "." in name}
        assert not rooms & {"client", "cli"}


def test_the_client_needs_no_package_of_the_programs() -> None:
    assert not {"typer", "rich"} & {name.split(".")[0] for name in imported_with(f"{PACKAGE}.client")}


def test_no_module_is_called_utils_helpers_or_common() -> None:
    assert {"utils", "helpers", "common"} & {part for module in MODULES for part in module.split(".")} == set()


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_a_unit_test_cannot_open_a_socket() -> None:
    with pytest.raises(SocketBlockedError):
        socket.socket()


def names_in_the_walk() -> list[str]:
    """The functions that docs/architecture.md names on a job's way, in order."""
    text = (SOURCE.parent / "docs" / "architecture.md").read_text()
    return re.findall(r"`((?:handlers|stages|operators|domain|adapters)\.[\w.]+)`", text)


def test_the_walk_through_the_architecture_goes_from_a_message_to_an_event() -> None:
    names = names_in_the_walk()
    assert (names[0], names[-1]) == ("handlers.ingest.handler", "adapters.table.CopyTable.mark_published")


@pytest.mark.parametrize("name", sorted(set(names_in_the_walk())))
def test_each_function_that_the_architecture_names_exists(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"{PACKAGE}.{name}"))
