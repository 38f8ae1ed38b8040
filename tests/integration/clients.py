"""The clients with which tests look at their AWS. Made once: that takes longer than most tests run."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.session import Session
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_events import EventBridgeClient
from mypy_boto3_s3 import S3Client
from mypy_boto3_secretsmanager import SecretsManagerClient
from mypy_boto3_sqs import SQSClient
from mypy_boto3_ssm import SSMClient
from mypy_boto3_stepfunctions import SFNClient


@cache
def dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb")


@cache
def events() -> EventBridgeClient:
    return boto3.client("events")


@cache
def s3() -> S3Client:
    return boto3.client("s3")


@cache
def secrets() -> SecretsManagerClient:
    return boto3.client("secretsmanager")


@cache
def sfn() -> SFNClient:
    return boto3.client("stepfunctions")


@cache
def ssm() -> SSMClient:
    return boto3.client("ssm")


@cache
def session() -> Session:
    """For clients of the product's own making: it keeps what it has read of the services."""
    return Session()


@cache
def streams() -> Any:
    # Moto knows no endpoint with the account in its name.
    return boto3.client("dynamodbstreams", config=Config(account_id_endpoint_mode="disabled"))


@cache
def sqs() -> SQSClient:
    return boto3.client("sqs")
