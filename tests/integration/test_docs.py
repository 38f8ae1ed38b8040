"""The documents: their commands can be typed as they stand, and what they say of the template is so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest
import yaml
from typer.testing import CliRunner

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.main import COMMANDS as COMMANDS_OF_PROGRAM
from icav2_copy_batch.cli.main import app
from icav2_copy_batch.client.stack import variable_name
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.submission import Upload
from tests.event_files import schema_faults
from tests.integration.template import TEMPLATE, template, transformed

ROOT = TEMPLATE.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("events/*.md")])
COMMANDS = [document for document in DOCUMENTS if "```bash" in document.read_text()]
OUTPUTS = {variable_name(name) for name in template()["Outputs"]}
"""The variables that ``icav2-copy env`` sets."""
PROGRAMS = {
    "aws": "[AWS CLI]",
    "jq": "`jq`",
    "curl": "`curl`",
    "make": "`make`",
    "python3": "Python",
    "uv": "",
    "icav2-copy": "",
}
"""By what words the README says that a program is needed; of the last two it says how one gets them."""
SHELL = {"continue", "do", "done", "eval", "export", "for", "read", "while"}
SCREENS = 120
"""Lines of the README that somebody reads who only wants to use it: about three screens."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(document: Path, language: str) -> list[str]:
    """The code of this language in a document."""
    found = re.findall(rf"^( *)(?:\d\. )?```{language}\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def headings(document: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def assigned(code: str) -> set[str]:
    """The variables that a piece of shell sets."""
    names = re.findall(r"(?:^|[\s(;])([A-Z][A-Z0-9_]*)=", code)
    return {*names, *re.findall(r"\bfor ([A-Z_]+) in", code), *re.findall(r'\bread -\w+ ".*?" ([A-Z_]+)', code)}


def run(code: str, **variables: str) -> str:
    """What a piece of shell prints, with these variables set."""
    done = subprocess.run(
        ["/bin/bash", "-euc", code],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("document", COMMANDS, ids=relative)
def test_every_piece_of_shell_can_be_read_by_bash(document: Path) -> None:
    for code in blocks(document, "bash"):
        done = subprocess.run(["/bin/bash", "-n", "-c", code], capture_output=True, check=False, text=True)
        assert not done.returncode, f"{done.stderr}\n{code}"


@pytest.mark.parametrize("document", COMMANDS, ids=relative)
def test_every_variable_of_a_command_is_set_before_it(document: Path) -> None:
    """By the program, by the README, or further up in the same document."""
    known = OUTPUTS | (set() if document == README else assigned("\n".join(blocks(README, "bash"))))
    for code in blocks(document, "bash"):
        known |= assigned(code)
        assert set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", code)) <= known, code


@pytest.mark.parametrize("document", COMMANDS, ids=relative)
def test_the_programs_that_the_commands_use_are_named_at_the_beginning(document: Path) -> None:
    needed = " ".join(re.findall(r"You need.*?\n\n", README.read_text(), re.DOTALL))
    for code in blocks(document, "bash"):
        plain = re.sub(r"'[^']*'|#.*|\\\n", "", code)
        used = set(re.findall(r"(?:^|\||&&|\bdo\b|\$\()\s*([a-z][a-z0-9-]*) (?!\(\))", plain, re.MULTILINE))
        used -= SHELL | set(re.findall(r"^(\w+)\(\)", code, re.MULTILINE))
        assert used <= PROGRAMS.keys(), code
        assert not [name for name in used if PROGRAMS[name] not in needed]


@pytest.mark.parametrize("document", COMMANDS, ids=relative)
def test_every_message_that_is_sent_on_a_command_line_is_one(document: Path) -> None:
    for body in re.findall("--message-body '(.*?)'", document.read_text()):
        message = json.loads(body)
        assert schema_faults("command" if "command" in message else "message", message) == []


def test_the_manifest_of_the_readme_is_one() -> None:
    (manifest,) = [json.loads(code) for code in blocks(README, "json")]
    assert flip(manifest, Limits())


def test_whoever_only_wants_to_use_it_reads_three_screens() -> None:
    before, found, _ = README.read_text().partition("\n## How fast\n")
    assert found
    assert before.count("\n") <= SCREENS


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_link_leads_somewhere(document: Path) -> None:
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_the_example_of_a_rule_is_yaml() -> None:
    (code,) = blocks(ROOT / "docs/events.md", "yaml")
    rule = yaml.safe_load(code.replace("!Ref ", ""))["Rule"]["Properties"]
    assert rule["EventPattern"]["source"] == ["icav2-copy-batch"]


# --- the program -----------------------------------------------------------------------------------------------------

PROGRAM = (ROOT / "docs/program.md").read_text()
OF_ALL = {"--stack", "--json"}
"""The options that every command has."""


@pytest.mark.parametrize("name", [*COMMANDS_OF_PROGRAM, "manifest build"])
def test_each_command_of_the_program_is_described_with_its_options(name: str) -> None:
    rows = re.findall(rf"^\| (?:`\w+`, )?`{name}[ `].*", PROGRAM.partition("## Output")[0], re.MULTILINE)
    assert len(rows) == (2 if name == "manifest build" else 1)
    printed = CliRunner().invoke(app, [*name.split(), "--help"]).stdout
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", printed, re.MULTILINE)) - {"--help"}
    assert options >= OF_ALL - ({"--stack"} if name == "validate" else set())
    assert [option for option in options - OF_ALL if option not in " ".join(rows)] == []


def test_each_exit_code_is_described() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PROGRAM, re.MULTILINE)
    assert [int(code) for code, _ in rows] == [code.value for code in Exit]


# --- the template ----------------------------------------------------------------------------------------------------


def test_each_alarm_is_in_the_runbook_with_what_it_means_and_what_to_do() -> None:
    runbook = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `(\w+Alarm)` \| (\S.*?) \| (\S.*?) \|$", runbook, re.MULTILINE)
    alarms = [name for name, each in template()["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"]
    assert sorted(name for name, _, _ in rows) == sorted(alarms)


NAMES = {
    "QueueName": 80,
    "LogGroupName": 512,
    "DashboardName": 255,
    "MetricName": 255,
    "ManagedPolicyName": 128,
}
"""How long a name may be, for each of the properties by which the template names something after the stack.

What it does not name, CloudFormation does, and shortens the stack's name as far as it has to.
"""
ICA_ADDRESS = 100
"""Illumina's document of the API: CreateNotificationChannel, address."""
ACCOUNT = "123456789012"


def longest_stack_name(ica: bool) -> int:
    """How many characters the name of a stack may have in any region; with ICA's notifications or without."""
    regions = boto3.session.Session().get_available_regions("sqs")
    region = max(regions, key=len)
    found = [128]
    for each in transformed()["Resources"].values():
        for key, limit in NAMES.items():
            name = each.get("Properties", {}).get(key)
            text = name.get("Fn::Sub", "") if isinstance(name, dict) else ""
            if "${AWS::StackName}" not in text:
                continue
            around = text.replace("${AWS::StackName}", "").replace("${AWS::Region}", region)
            assert "$" not in around
            found.append(limit - len(around))
            if ica and key == "QueueName":
                found.append(ICA_ADDRESS - len(f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/{around}"))
    return min(found)


def test_how_long_the_name_of_a_stack_may_be_is_said() -> None:
    assert f"(up to {longest_stack_name(ica=True)} characters)" in README.read_text()
    deploy = (ROOT / "docs/deploy.md").read_text()
    assert f"may have up to {longest_stack_name(ica=True)} characters" in deploy
    assert f"notifications it may have {longest_stack_name(ica=False)}:" in deploy


def test_nothing_else_is_named_after_the_stack() -> None:
    """A name of another kind would have a limit of its own."""
    named = {
        key
        for each in transformed()["Resources"].values()
        for key, value in each.get("Properties", {}).items()
        if key.endswith("Name") and "AWS::StackName" in str(value)
    }
    assert named <= NAMES.keys()


# --- commands that can be tried here ---------------------------------------------------------------------------------


def test_the_id_of_an_uploaded_manifest_is_computed_as_the_stack_does() -> None:
    (code,) = [code for code in blocks(ROOT / "docs/submit.md", "bash") if "put-object" in code]
    printed = run(f'aws() {{ echo a-version; }}\n{code}\necho "$COPY_ID"', MANIFEST_BUCKET_NAME="a-bucket")
    assert printed.strip() == Upload("a-bucket", "manifests/run-42.json", "a-version", "etag").submission_id


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is needed")
def test_without_the_program_the_same_variables_are_set() -> None:
    (code,) = [code for code in blocks(ROOT / "docs/deploy.md", "bash") if "describe-stacks" in code]
    outputs = [{"OutputKey": name, "OutputValue": f"it's {name}"} for name in template()["Outputs"]]
    printed = run(f"aws() {{ printf %s '{json.dumps(outputs)}'; }}\n{code}\nenv".replace("it's", "it is"))
    assert {line.partition("=")[0] for line in printed.splitlines() if "=it is " in line} == OUTPUTS


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is needed")
def test_until_when_a_token_is_good_is_read_from_it() -> None:
    (code,) = [code for code in blocks(ROOT / "docs/deploy.md", "bash") if "put-secret-value" in code]
    (command,) = [line for line in code.splitlines() if line.startswith("jq -Rr")]
    assert run(command, JWT="e30.eyJleHAiOiAxNzk1NjAwMDAwfQ.c2ln").strip() == "2026-11-25T09:46:40Z"
