"""What all commands share: how they reach the stack, and how an error becomes words and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from icav2_copy_batch.cli.exits import OF_ERRORS
from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.client import CopyBatchError, CopyClient, Refused
from icav2_copy_batch.client.errors import number
from icav2_copy_batch.client.stack import STACK_VARIABLE
from icav2_copy_batch.client.waiting import Time

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        envvar=STACK_VARIABLE,
        help="The stack's name, or the path of its SSM parameters.",
        show_default=False,
    ),
]
CopyId = Annotated[str, typer.Argument(metavar="ID", help="The copy's id.", show_default=False)]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its number.", show_default=False)]
Timeout = Annotated[
    str | None, typer.Option(help="Wait at most: seconds, or 15m, 2h, 1d.", metavar="DURATION", show_default=False)
]


@dataclass(frozen=True)
class Program:
    """What a command runs with: time, terminal and client. Tests replace it."""

    time: Time = field(default_factory=Time)
    terminal: bool | None = None
    client: Callable[[str | None, Time], CopyClient] = lambda stack, time: CopyClient.from_stack(stack, time=time)

    @classmethod
    def of(cls, context: typer.Context) -> Program:
        found = context.find_object(cls)
        return found or cls()

    def output(self, as_json: bool) -> Output:
        return Output(as_json, self.terminal)

    def stack(self, name: str | None) -> CopyClient:
        return self.client(name, self.time)


class Commands(TyperGroup):
    """The commands. An error of the client ends each of them with words on stderr and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CopyBatchError as error:
            complain(Program.of(ctx).output(as_json=False), error)
            raise typer.Exit(exit_code(error)) from None


def complain(out: Output, error: CopyBatchError) -> None:
    """Say what went wrong, with all problems of a submission."""
    out.say(f"Error: {error}", style="red")
    if isinstance(error, Refused):
        for problem in error.problems:
            out.say(f"  {problem}")
        if left := error.total - len(error.problems):
            out.say(f"  … and {number(left, 'more problem')}")


def exit_code(error: CopyBatchError) -> int:
    return next(code for kind, code in OF_ERRORS.items() if isinstance(error, kind))
