"""Why a source cannot be copied: the sentence that becomes its job's reason, and how such reasons are told apart."""

from __future__ import annotations

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.uri import IcaUri

WAS_NOT_FOUND = "was not found"
NOT_AVAILABLE = "not AVAILABLE"


def source_fault(uri: IcaUri, source: IcaData | None) -> str | None:
    """Why ICA cannot copy what it shows at a source's URI; None if it can."""
    if source is None:
        return f"the source {uri} {WAS_NOT_FOUND}; check the path and its upper and lower case"
    if source.status != "AVAILABLE":
        return f"the source {uri} is {source.status}, {NOT_AVAILABLE}; submit again when it is"
    return None


def says_not_found(reason: str) -> bool:
    """Whether a job's reason is that a source was not found."""
    return WAS_NOT_FOUND in reason


def says_not_available(reason: str) -> bool:
    """Whether a job's reason is that a source is there and cannot be copied now."""
    return NOT_AVAILABLE in reason
