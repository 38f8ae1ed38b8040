"""Reads the claims of ICA's token, a JWT. Its signature is not verified: ICA does that."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def claims_in(token: str) -> Mapping[str, Any] | None:
    """The claims of a JWT (RFC 7519); None for a token that is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def expiry_in(claims: Mapping[str, Any]) -> datetime | None:
    """Until when the token is good, as it says itself; None where it does not."""
    seconds = claims.get("exp")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def names_in(claims: Mapping[str, Any]) -> frozenset[str]:
    """Every text among the claims, in lower case. Which of them names the user is not documented by ICA."""
    return frozenset(value.lower() for value in claims.values() if isinstance(value, str))
