"""``icav2-copy``: the commands, in the order of a copy's life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from icav2_copy_batch.cli import logs, look, plan, report, setup, steer, submit, verify
from icav2_copy_batch.cli.manifest import manifest
from icav2_copy_batch.cli.program import Commands
from icav2_copy_batch.domain.version import VERSION

EXIT_CODES = """Exit codes: 0 done · 1 the copy failed, or a problem was found · 2 usage · 3 refused ·
4 no such copy or job · 5 timed out · 6 cancelled · 7 AWS or ICA unavailable"""

app = typer.Typer(
    name="icav2-copy",
    cls=Commands,
    help="Submit, follow and control the copies of an icav2-copy-batch stack.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: Mapping[str, Callable[..., None]] = {
    "validate": submit.validate,
    "plan": plan.plan,
    "submit": submit.submit,
    "list": look.list_copies,
    "status": look.status,
    "watch": look.watch,
    "wait": look.wait,
    "explain": look.explain,
    "logs": logs.logs,
    "cancel": steer.cancel,
    "pause": steer.pause,
    "resume": steer.resume,
    "pauses": steer.pauses,
    "redrive": steer.redrive,
    "adopt": steer.adopt,
    "release": steer.release,
    "verify": verify.verify,
    "report": report.report,
    "subscribe": setup.subscribe,
    "doctor": setup.doctor,
    "env": report.env,
}
app.add_typer(manifest, name="manifest")
for name, command in COMMANDS.items():
    app.command(name)(command)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    typer.echo(VERSION)
    raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
