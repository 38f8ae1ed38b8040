"""The whole stack on this machine: ministack (a local AWS, IAM enforced), the simulated ICA, the template deployed.

Everything is bound to 127.0.0.1, lives in a temporary directory and is ended and removed with it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
from botocore.session import Session

from icav2_copy_batch.client import CopyClient
from icav2_copy_batch.client.aws import Aws
from icav2_copy_batch.client.stack import Stack
from icav2_copy_batch.domain.uri import parent_path, parse_uri
from local.manifests import Manifest

REPOSITORY = Path(__file__).parent.parent
TOOLS = REPOSITORY / ".tools"
REGION = "us-east-1"
STACK_NAME = "icav2-copy-batch"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
ICA_MEDIA_TYPE = "application/vnd.illumina.v3+json"
TOKEN = "the-simulator-takes-this-token"
SECRET_ARN_PARAMETER = "/icav2/umccr-prod/service-user-trial-jwt-token-secret-arn"
START_SECONDS = 30.0


class StackError(RuntimeError):
    """Something of the local stack did not come up; the message ends with what it said."""


@dataclass(frozen=True)
class StackOptions:
    """How the local stack is to be. Ports 0 take any free ones."""

    aws_port: int = 0
    ica_port: int = 0
    ica_base_url: str | None = None
    """Another ICA server than the simulator."""
    ica_token: str = TOKEN
    failure_rate: float = 0.2
    job_seconds: str = "5:15"
    seed: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the template."""


@dataclass(frozen=True)
class Simulator:
    """The simulated ICA's own interface: stock it, script it, look inside."""

    base_url: str

    @property
    def admin_url(self) -> str:
        return self.base_url.removesuffix("/ica/rest") + "/_simulator"

    def get(self, path: str) -> Any:
        with urlopen(f"{self.admin_url}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.admin_url}{path}", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def clear_faults(self) -> None:
        with urlopen(Request(f"{self.admin_url}/faults", method="DELETE"), timeout=30):
            pass

    def stock(self, manifest: Manifest) -> None:
        """Make the manifest's projects and source files."""
        self.post("/seed", {"manifest": manifest})

    def files(self, project: str, prefix: str = "/") -> dict[str, Any]:
        """Path → what is known of the file, of those below a prefix."""
        query = urlencode({"project": project, "prefix": prefix})
        return {each["path"]: each for each in self.get(f"/files?{query}")}

    def copied(self, manifest: Manifest) -> tuple[int, int]:
        """How many files the manifest asks for, and how many of them are AVAILABLE at their destinations."""
        projects = {parse_uri(uri).project for source, to in manifest.items() for uri in (source, *to)}
        files = {project: self.files(project) for project in projects}
        wanted = available = 0
        for source in map(parse_uri, manifest):
            inside = [path for path in files[source.project] if path.startswith(source.path)]
            names = [path[len(parent_path(source.path)) :] for path in (inside if source.is_folder else [source.path])]
            for destination in map(parse_uri, manifest[str(source)]):
                wanted += len(names)
                there = files[destination.project]
                available += sum(there.get(destination.path + name, {}).get("status") == "AVAILABLE" for name in names)
        return wanted, available


@dataclass(frozen=True)
class LocalStack:
    endpoint: str
    outputs: Mapping[str, str]
    ica_base_url: str
    simulator: Simulator | None
    log: Path

    @cached_property
    def session(self) -> boto3.Session:
        return boto3.Session("test", "test", region_name=REGION)

    @cached_property
    def copies(self) -> CopyClient:
        """The Python client of this stack's copies."""
        session = Session()
        session.set_credentials("test", "test")
        environment = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": self.endpoint}
        return CopyClient(Stack("local", self.outputs), Aws(environment, session))

    def client(self, service: str) -> Any:
        return self.session.client(service, endpoint_url=self.endpoint)  # type: ignore[call-overload]


@contextmanager
def local_stack(options: StackOptions) -> Iterator[LocalStack]:
    """The stack, up and deployed; taken down at the end, whatever ends it."""
    with ExitStack() as cleanup:
        directory = Path(tempfile.mkdtemp(prefix="icav2-copy-batch-"))
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        build = _start_build(directory, cleanup)
        aws_port = options.aws_port or _free_port()
        endpoint = f"http://127.0.0.1:{aws_port}"
        simulator = None if options.ica_base_url else _start_simulator(options, endpoint, directory, cleanup)
        _start_aws(aws_port, directory, cleanup)
        ica_base_url = options.ica_base_url or (simulator.base_url if simulator else "")
        stack = LocalStack(endpoint, {}, ica_base_url, simulator, directory / "aws.log")
        secret = stack.client("secretsmanager").create_secret(Name="ICAv2JWTKey-local", SecretString=options.ica_token)
        stack.client("ssm").put_parameter(Name=SECRET_ARN_PARAMETER, Value=secret["ARN"], Type="String")
        if build.wait():
            raise StackError(f"sam build failed:\n{_tail(directory / 'build.log')}")
        _deploy(options, ica_base_url, endpoint, directory)
        _repair_concurrency(stack)
        described = stack.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        yield LocalStack(endpoint, outputs, ica_base_url, simulator, directory / "aws.log")


@contextmanager
def simulated_ica(seed: int) -> Iterator[Simulator]:
    """A simulated ICA alone, as it is with the stack."""
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="icav2-copy-batch-")))
        yield _start_simulator(StackOptions(seed=seed), "", directory, cleanup)


def _start_build(directory: Path, cleanup: ExitStack) -> subprocess.Popen[bytes]:
    """`sam build`, for the Python that ministack runs functions with and for this machine's processor."""
    environment = _environment() | {
        "LAMBDA_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "LAMBDA_PLATFORM": _wheel_platform(),
    }
    command = [TOOLS / "sam/bin/sam", "build", "--config-env", "local", "--build-dir", directory / "build"]
    return _start(command, environment, directory / "build.log", cleanup)


def _wheel_platform() -> str:
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{machine}-apple-darwin" if sys.platform == "darwin" else f"{machine}-manylinux_2_28"


def _start_aws(port: int, directory: Path, cleanup: ExitStack) -> None:
    temporary = directory / "tmp"
    temporary.mkdir()
    environment = _environment() | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(temporary),
    }
    process = _start([TOOLS / "ministack/bin/ministack"], environment, directory / "aws.log", cleanup)
    _wait_until_open(port, process, "ministack", directory / "aws.log")


def _start_simulator(options: StackOptions, aws_endpoint: str, directory: Path, cleanup: ExitStack) -> Simulator:
    command = [
        sys.executable,
        "-m",
        "local.simulator",
        f"--port={options.ica_port}",
        f"--token={options.ica_token}",
        f"--seed={options.seed}",
        f"--failure-rate={options.failure_rate}",
        f"--job-seconds={options.job_seconds}",
    ]
    log = directory / "ica.log"
    environment = _environment() | {"AWS_ENDPOINT_URL": aws_endpoint}  # for its notifications
    process = _start(command, environment, log, cleanup, stdout=subprocess.PIPE)
    base_url = process.stdout.readline().decode().strip() if process.stdout else ""
    if not base_url:
        raise StackError(f"the simulator did not start:\n{_tail(log)}")
    return Simulator(base_url)


def _deploy(options: StackOptions, ica_base_url: str, endpoint: str, directory: Path) -> None:
    overrides = {"IcaBaseUrl": ica_base_url, **options.parameters}
    command: list[str | Path] = [
        TOOLS / "sam/bin/sam",
        "deploy",
        f"--config-file={REPOSITORY / 'samconfig.toml'}",
        "--config-env=local",
        f"--template-file={directory / 'build/template.yaml'}",
        "--parameter-overrides",
        *(f"{name}={value}" for name, value in overrides.items()),
    ]
    environment = _environment() | {"AWS_ENDPOINT_URL": endpoint, "SAM_CLI_POLL_DELAY": "0.2"}
    deployed = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if deployed.returncode:
        raise StackError(f"sam deploy failed:\n{deployed.stdout.decode()}\n{_tail(directory / 'aws.log')}")


def _repair_concurrency(stack: LocalStack) -> None:
    """ministack hands a template's Number parameter on as text, on which its queue poller trips. AWS does not."""
    client = stack.client("lambda")
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        if concurrency := mapping.get("ScalingConfig", {}).get("MaximumConcurrency"):
            client.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(concurrency)}
            )


def _start(
    command: list[Any],
    environment: Mapping[str, str],
    log: Path,
    cleanup: ExitStack,
    stdout: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own (Ctrl-C is for us to handle), to be ended with the stack."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=REPOSITORY,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout or output,
            stderr=output,
            start_new_session=True,
        )
    cleanup.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children. They keep nothing that outlives them, so that none is asked to finish first."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    """This environment without what would lead our processes to another AWS, and with the tools on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))}
    path = os.pathsep.join([str(TOOLS / "uv/bin"), str(TOOLS / "sam/bin"), str(Path(sys.executable).parent)])
    kept |= {"PATH": f"{path}{os.pathsep}{kept.get('PATH', os.defpath)}", "SAM_CLI_TELEMETRY": "0"}
    return kept | CREDENTIALS


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_until_open(port: int, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise StackError(f"{name} ended at once:\n{_tail(log)}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise StackError(f"{name} did not open port {port} within {START_SECONDS:.0f} s:\n{_tail(log)}")


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
