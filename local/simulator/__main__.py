"""Run the simulator: `python -m local.simulator`, which prints its base URL once it can be called.

With AWS_ENDPOINT_URL set, notifications go to the queues of that AWS.
"""

import argparse
import dataclasses
import importlib
import json
import random
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

from local.simulator import admin
from local.simulator.app import application, server
from local.simulator.gate import BASE, Simulator
from local.simulator.switches import Switches, build
from local.simulator.world import World


class SqsSender:
    """Sends to SQS; boto3 is loaded with the first message, as most runs never send one."""

    client: Any = None

    def __call__(self, queue_url: str, body: str) -> None:
        if self.client is None:
            self.client = importlib.import_module("boto3").client("sqs")
        self.client.send_message(QueueUrl=queue_url, MessageBody=body)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description="Simulate ICAv2.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--token", default="simulator-token", help="the bearer token that is accepted")
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    parser.add_argument("--manifest", type=Path, help="a copy manifest whose sources are to exist")
    parser.add_argument("--file-size", type=int, help="size of every source file, instead of a likely one")
    for field in dataclasses.fields(Switches):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, help=f"{field.metadata['meaning']} (default: {field.default})")
    return parser.parse_args(argv)


def switches(given: argparse.Namespace) -> Switches:
    """The switches on the command line; numbers, true and false are written as in JSON."""
    hints = get_type_hints(Switches)
    texts = {name: text for name, text in vars(given).items() if name in hints and text is not None}
    return build(Switches, {name: _plain(hints[name], text) for name, text in texts.items()})


def _plain(hint: Any, text: str) -> Any:
    try:
        return json.loads(text) if hint in (bool, int, float) else text
    except ValueError:
        return text  # which `build` refuses, by name


def main() -> None:
    given = arguments()
    try:
        chosen = switches(given)
    except ValueError as error:
        sys.exit(f"local.simulator: {error}")
    world = World(lambda: datetime.now(UTC), random.Random(given.seed), chosen)
    if given.manifest:
        world.seed(json.loads(given.manifest.read_text()), given.file_size)
    simulator = Simulator(world, given.token, SqsSender())
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(0))
    listener = socket.create_server((given.host, given.port), backlog=1024)
    print(f"http://{given.host}:{listener.getsockname()[1]}{BASE}", flush=True)
    server(application(simulator, admin.routes(simulator))).run(sockets=[listener])


if __name__ == "__main__":
    main()
