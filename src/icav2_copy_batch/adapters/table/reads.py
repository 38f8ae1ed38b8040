"""Reads of many items at once: what DynamoDB leaves unread is asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenacity import retry_if_exception_type

from icav2_copy_batch.adapters.table.models import Models
from icav2_copy_batch.adapters.table.writes import retrying

MOST_KEYS = 100
"""So many items are read by one request at most, see ``BatchGetItem`` in the API reference."""

Keys = Sequence[dict[str, Any]]


class LeftUnread(Exception):
    """DynamoDB has left items unread, however often it was asked: it is busy."""


def read_items(models: Models, keys: Keys) -> list[dict[str, Any]]:
    """The items of these keys as they are now, in any order; without those that are not there.

    Raises ``LeftUnread``, and what botocore raises.
    """
    pages = (keys[first : first + MOST_KEYS] for first in range(0, len(keys), MOST_KEYS))
    return [item for page in pages for item in _read_page(models, page)]


def _read_page(models: Models, keys: Keys) -> list[dict[str, Any]]:
    client: Any = models.connection.client
    found: list[dict[str, Any]] = []
    left = keys

    def read() -> None:
        nonlocal left
        answer = client.batch_get_item(RequestItems={models.table_name: {"Keys": left, "ConsistentRead": True}})
        found.extend(answer["Responses"].get(models.table_name, ()))
        # More than 16 MB, or more than the table takes at the moment.
        left = answer["UnprocessedKeys"].get(models.table_name, {}).get("Keys", ())
        if left:
            raise LeftUnread(f"DynamoDB has left {len(left)} of {len(keys)} items unread: try again")

    retrying(retry_if_exception_type(LeftUnread))(read)
    return found
