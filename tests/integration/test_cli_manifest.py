"""``icav2-copy manifest build``, with a scripted control function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from icav2_copy_batch.cli.exits import Exit
from tests.integration.shell import PROJECT, Terminal, queued

FROM, TO = "icav2://run/42/", f"icav2://{PROJECT}/archive/"
FOLDERS = ("--from", FROM, "--to", TO)


def file(path: str, size: int = 500_000_000, status: str = "AVAILABLE") -> dict[str, Any]:
    return {"path": path, "size": size, "status": status, "etag": None, "colour": "blue"}


@pytest.fixture
def listed(shell: Terminal) -> Terminal:
    files = [file("a é.txt"), file("x/b.bam"), file("x/c.bam"), file("y/d.bam", status="PARTIAL")]
    shell.control.ok("files", uri=FROM, project_id=PROJECT, files=files)
    return shell


def test_a_manifest_is_built_of_a_listing_and_taken_by_validate_and_submit(listed: Terminal) -> None:
    built = listed("manifest", "build", *FOLDERS, "--keep-tree", "--include", "*.bam", "--exclude", "c.*")
    assert built.exit_code == Exit.DONE
    manifest = {f"{FROM}x/b.bam": [f"{TO}x/"], f"{FROM}y/d.bam": [f"{TO}y/"]}
    assert built.stdout == json.dumps(manifest, indent=2) + "\n"
    assert built.stderr == (
        "Warning: 1 file cannot be copied as it is now (1 PARTIAL):\n"
        f"  {FROM}y/d.bam: PARTIAL\n"
        "2 of 4 files, 1.0 GB, into 2 folders.\n"
    )
    assert listed.asked("files") == {"uri": FROM}
    assert listed("validate", "-", answer=built.stdout).exit_code == Exit.DONE
    assert listed("submit", "-", answer=built.stdout).exit_code == Exit.DONE
    (message,) = queued()
    assert message["manifest"] == manifest


def test_all_files_go_into_one_folder_unless_the_tree_is_kept(listed: Terminal) -> None:
    built = listed("manifest", "build", *FOLDERS, "--json")
    assert len(built.stdout.splitlines()) == 1
    assert set(map(tuple, json.loads(built.stdout).values())) == {(TO,)}
    assert built.stderr.endswith("4 of 4 files, 2.0 GB, into 1 folder.\n")
    assert "a é.txt" in built.stdout


def test_names_that_clash_are_refused_with_both_and_the_way_out(shell: Terminal) -> None:
    shell.control.ok("files", files=[file("x/a"), file("y/a")])
    clash = shell("manifest", "build", *FOLDERS)
    assert (clash.exit_code, clash.stdout) == (Exit.REFUSED, "")
    assert clash.stderr == (
        "Error: 1 file would overwrite another of the same name: keep the tree (--keep-tree)\n"
        f"  {FROM}y/a: has the same name as {FROM}x/a; one of the two would be lost\n"
    )
    assert shell("manifest", "build", *FOLDERS, "--keep-tree").exit_code == Exit.DONE


def test_where_no_file_is_left_nothing_is_printed(listed: Terminal) -> None:
    result = listed("manifest", "build", *FOLDERS, "--include", "*.cram")
    assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")
    assert result.stderr == "Error: no file is left: all are excluded, or none is included\n"


def test_of_many_files_that_cannot_be_copied_the_first_are_named(shell: Terminal) -> None:
    files = [file(f"{number}", status="ARCHIVED" if number else "PARTIAL") for number in range(30)]
    shell.control.ok("files", files=files)
    said = shell("manifest", "build", *FOLDERS).stderr.splitlines()
    assert said[0] == "Warning: 30 files cannot be copied as they are now (29 ARCHIVED, 1 PARTIAL):"
    assert said[-2:] == ["  … and 10 more files", "30 of 30 files, 15.0 GB, into 1 folder."]
    assert len(said) == 1 + 20 + 2


def test_what_ingest_would_refuse_is_not_printed(shell: Terminal) -> None:
    shell.control.ok("files", files=[file("x" * 5000)])
    result = shell("manifest", "build", *FOLDERS)
    assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")
    assert "is longer than 4096 characters" in result.stderr


def test_a_table_becomes_a_manifest_without_any_network(shell: Terminal) -> None:
    table = f"source,size,destination\n{FROM}b,1,{TO}\n{FROM}a,2,{TO}\n{FROM}b,1,{TO}x/\n"
    path = shell.manifest(table)
    for result in (shell("manifest", "build", "--csv", path), shell("manifest", "build", "--csv", "-", answer=table)):
        assert (result.exit_code, result.stderr) == (Exit.DONE, "2 sources, into 2 folders.\n")
        assert result.stdout == json.dumps({f"{FROM}b": [TO, f"{TO}x/"], f"{FROM}a": [TO]}, indent=2) + "\n"
    assert shell.control.requests == []


def test_the_problems_of_a_table_are_named_by_their_lines(shell: Terminal) -> None:
    path = shell.manifest(f"{FROM}b,{TO}\n{FROM}a\n")
    result = shell("manifest", "build", "--csv", path)
    assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")
    assert result.stderr.startswith(f"Error: {path} has 1 problem\n  line 2: has 1 cell and not 2; ")
    assert shell("manifest", "build", "--csv", "-", answer="").stderr.startswith("Error: stdin has 1 problem\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--from is missing"),
        (("--from", FROM), "--to is missing"),
        (("--to", TO), "--from is missing"),
        (("--from", "run/42", "--to", TO), "does not start with icav2://"),
        (("--from", FROM, "--to", f"{TO}file"), "is no folder: end it with /"),
        (("--csv", "table.csv", "--from", FROM), "--csv takes no other options"),
        (("--csv", "table.csv", "--keep-tree"), "--csv takes no other options"),
        (("--csv", "no-such-table.csv"), "no-such-table.csv cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(shell: Terminal, arguments: tuple[str, ...], says: str) -> None:
    result = shell("manifest", "build", *arguments)
    assert (result.exit_code, result.stdout, shell.control.requests) == (Exit.USAGE, "", [])
    assert says in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("kind", "code"), [("invalid", Exit.USAGE), ("refused", Exit.REFUSED), ("unavailable", Exit.UNAVAILABLE)]
)
def test_a_list_that_is_not_to_be_had_has_its_exit_code(shell: Terminal, kind: str, code: Exit) -> None:
    shell.control.fail("files", kind, "because of that")
    result = shell("manifest", "build", *FOLDERS)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Error: because of that\n")
