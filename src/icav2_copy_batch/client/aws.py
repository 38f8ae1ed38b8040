"""AWS as the client uses it: botocore's clients, and its errors in words that say what to do.

The usual variables are honoured: profile, region, credentials, ``AWS_ENDPOINT_URL``. botocore itself does not read
``AWS_REGION``, which AWS's other tools do; here it counts first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSOError,
)
from botocore.session import Session

from icav2_copy_batch.client.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

LONGEST_INVOCATION_SECONDS = 900
"""Lambda's limit for any function, and the time-out of ``ControlFunction`` in the template."""
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60)
# Nothing is heard of an invocation before it ends. botocore does not repeat one: see client/control.py.
_INVOKING = Config(
    retries={"mode": "standard", "total_max_attempts": 1},
    connect_timeout=10,
    read_timeout=LONGEST_INVOCATION_SECONDS + 30,
    tcp_keepalive=True,
)

NOT_REACHED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
"""botocore's errors where AWS was not reached at all."""
TOO_MANY_CALLS = ("TooManyRequestsException", "ThrottlingException", "ThrottledException")
"""AWS's codes for calls that it has not carried out, because there were too many."""
TRY_AGAIN = "try again"
SIGN_IN = "sign in to AWS (set AWS_PROFILE, or credentials in the environment)"
SIGN_IN_AGAIN = "sign in to AWS again (with SSO: aws sso login)"
WHAT_TO_DO: Mapping[type[BotoCoreError], str] = {
    NoCredentialsError: SIGN_IN,
    PartialCredentialsError: SIGN_IN,
    ProfileNotFound: "set AWS_PROFILE to a profile of ~/.aws/config",
    NoRegionError: "set AWS_REGION to the stack's region",
    SSOError: SIGN_IN_AGAIN,
    **dict.fromkeys(NOT_REACHED, TRY_AGAIN),
}
WHAT_TO_DO_BY_CODE: Mapping[str, str] = {
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AuthorizationError"),
        "give this role the right (the template's policies for submitters and operators name it)",
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"), SIGN_IN_AGAIN
    ),
    **dict.fromkeys(TOO_MANY_CALLS, TRY_AGAIN),
}


class Aws:
    """botocore's clients, each made when it is first needed."""

    def __init__(self, environment: Mapping[str, str], session: Session | None = None) -> None:
        self._environment = environment
        self._session = session or Session()

    def _client(self, service: str, config: Config = _CONFIG) -> Any:
        with asked(f"make a client of {service}"):
            region = self._environment.get("AWS_REGION") or None
            endpoint = self._environment.get(f"AWS_ENDPOINT_URL_{service.upper()}")
            endpoint = endpoint or self._environment.get("AWS_ENDPOINT_URL") or None
            return self._session.create_client(service, region_name=region, endpoint_url=endpoint, config=config)

    @property
    def region(self) -> str:
        """The region that is asked, for messages."""
        return self._environment.get("AWS_REGION") or self._session.get_config_variable("region") or "no region"

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client: CloudFormationClient = self._client("cloudformation")
        return client

    @cached_property
    def ssm(self) -> SSMClient:
        client: SSMClient = self._client("ssm")
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = self._client("sqs")
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        client: CloudWatchLogsClient = self._client("logs")
        return client

    @cached_property
    def functions(self) -> LambdaClient:
        client: LambdaClient = self._client("lambda", _INVOKING)
        return client

    @cached_property
    def caller(self) -> str | None:
        """The ARN of who asks; None where AWS does not say."""
        try:
            arn: str = self._client("sts").get_caller_identity()["Arn"]
        except (BotoCoreError, ClientError):
            return None
        return arn


@contextmanager
def asked(what: str, otherwise: str = TRY_AGAIN) -> Iterator[None]:
    """Raise ``Unavailable`` for AWS's errors: what was asked, what AWS said, what to do; ``otherwise`` for most."""
    try:
        yield
    except ClientError as error:
        todo = WHAT_TO_DO_BY_CODE.get(code_of(error), otherwise)
        raise Unavailable(f"AWS did not {what}: {error}", todo, code_of(error)) from error
    except BotoCoreError as error:
        todo = next((todo for kind, todo in WHAT_TO_DO.items() if isinstance(error, kind)), otherwise)
        raise Unavailable(f"AWS did not {what}: {error}", todo) from error


def code_of(error: ClientError) -> str:
    """AWS's code of an error."""
    return error.response.get("Error", {}).get("Code", "")
