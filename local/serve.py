"""`make local`: the whole stack, left running until Ctrl-C. See "Run it locally" in the README for its variables."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from local.stack import (
    CREDENTIALS,
    ICA_MEDIA_TYPE,
    STACK_NAME,
    TOKEN,
    LocalStack,
    StackError,
    StackOptions,
    local_stack,
)

VARIABLES = "AWS_PORT, ICA_PORT, ICA_BASE_URL, ICA_TOKEN, FAILURE_RATE, JOB_SECONDS, SEED, MANIFEST"


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options = _options(os.environ)
    except ValueError as error:
        console.print(f"[red]{error}; the variables are {VARIABLES}[/]")
        return 2
    try:
        with local_stack(options) as stack:
            if stack.simulator and (manifest := os.environ.get("MANIFEST")):
                stack.simulator.stock(json.loads(Path(manifest).read_text()))
            _introduce(console, stack, options.ica_token)
            signal.pause()
    except StackError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("\nTaken down.")
    return 0


def _options(environment: Mapping[str, str]) -> StackOptions:
    defaults = StackOptions()
    return StackOptions(
        aws_port=int(environment.get("AWS_PORT") or 4566),
        ica_port=int(environment.get("ICA_PORT") or 4567),
        ica_base_url=environment.get("ICA_BASE_URL") or None,
        ica_token=environment.get("ICA_TOKEN") or TOKEN,
        failure_rate=float(environment.get("FAILURE_RATE") or defaults.failure_rate),
        job_seconds=environment.get("JOB_SECONDS") or defaults.job_seconds,
        seed=int(environment.get("SEED") or defaults.seed),
    )


def _introduce(console: Console, stack: LocalStack, ica_token: str) -> None:
    for name, value in stack.outputs.items():
        console.print(f"{name:<28} {value}")
    console.print("\nFor another terminal, so that the commands of the README and of docs/ work on this stack:")
    exported = {"AWS_ENDPOINT_URL": stack.endpoint, **CREDENTIALS, "ICAV2_COPY_STACK": STACK_NAME}
    exported |= {"ICA": stack.ica_base_url, "V3": ICA_MEDIA_TYPE, "JWT": ica_token}
    for name, value in exported.items():
        console.print(f"  export {name}=[bold]{value}[/]")
    console.print('  eval "$(icav2-copy env)"')
    console.print("Submit a manifest:")
    console.print('  aws s3 cp manifest.json "s3://$MANIFEST_BUCKET_NAME/manifests/"')
    if stack.simulator:
        console.print("Have the simulated ICA hold a manifest's source files, and see what is in it:")
        url = stack.simulator.admin_url
        console.print(f"""  jq '{{manifest: .}}' manifest.json | curl -s --json @- {url}/seed; curl -s {url}/state""")
    console.print("\nRunning until Ctrl-C.")


if __name__ == "__main__":
    sys.exit(main())
