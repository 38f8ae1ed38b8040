"""Conditional writes: what a refusal means, and which failures are retried."""

from __future__ import annotations

from collections.abc import Callable

from pynamodb.exceptions import CancellationReason, DeleteError, PutError, TransactWriteError, UpdateError
from tenacity import Retrying, retry_base, retry_if_exception, stop_after_delay, wait_random_exponential

REFUSED = "ConditionalCheckFailed"

PASSING = frozenset(
    {
        # Another transaction is at work on one of the items.
        *("TransactionConflict", "TransactionConflictException", "TransactionInProgressException"),
        # More than a key or a table takes: 1,000 write units a second for one key, whatever is paid for.
        *("ThrottlingError", "ThrottlingException", "ProvisionedThroughputExceeded"),
        *("ProvisionedThroughputExceededException", "RequestLimitExceeded"),
    }
)
"""Why a write was not made that may be made a moment later: reasons to cancel a transaction, and errors of any request.

See "Transaction conflict handling" and "Error handling with DynamoDB" in the developer guide.
"""

LONGEST_TROUBLE_SECONDS = 20.0
"""A write is made again for so long. Then it is an error, and the message that asked for it is delivered again.

botocore makes each request again by itself too, reads as well, but four times at most.
"""

LONGEST_WAIT_SECONDS = 2.0

PARALLEL_WRITES = 8
"""How many items are written side by side where many are new."""


def accepted(write: Callable[[], object]) -> bool:
    """Do one conditional write: True when done, False when its condition was refused."""
    try:
        retried(write)
    except (PutError, UpdateError, DeleteError) as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    except TransactWriteError as error:
        if REFUSED not in map(code, error.cancellation_reasons):
            raise
        return False
    return True


def retried(write: Callable[[], object]) -> None:
    """Make a write again while the reason why it was not made may pass, with full jitter: many jobs move at once."""
    retrying(retry_if_exception(_may_pass))(write)


def retrying(retry: retry_base) -> Retrying:
    """Retries with full jitter what DynamoDB does not do at the moment, for up to ``LONGEST_TROUBLE_SECONDS``."""
    return Retrying(
        retry=retry,
        wait=wait_random_exponential(multiplier=0.05, max=LONGEST_WAIT_SECONDS),
        stop=stop_after_delay(LONGEST_TROUBLE_SECONDS),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    """Whether a write failed for a reason of the moment. A condition that was refused beside that is an answer."""
    if not isinstance(error, PutError | UpdateError | DeleteError | TransactWriteError):
        return False
    reasons = list(map(code, error.cancellation_reasons)) if isinstance(error, TransactWriteError) else []
    return REFUSED not in reasons and not PASSING.isdisjoint([error.cause_response_code, *reasons])


def code(reason: CancellationReason | None) -> str | None:
    return reason.code if reason else None
