"""The command that submits a copy. It is checked here, whole, before anything is done about it.

What an operator may ask of copies that are there is in ``requests.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from icav2_copy_batch.domain.problems import Problem, Refused, refuse_if_any, type_name
from icav2_copy_batch.domain.s3 import MAX_KEY_BYTES, parse_s3_uri
from icav2_copy_batch.domain.uri import is_encodable

ACTIONS_ON_EXIST = ("SKIP", "OVERWRITE", "RENAME")
MANIFEST_KEYS = ("manifest", "manifest_b64gz", "manifest_uri")
TAG_FLAGS = ("copy_user_tags", "copy_technical_tags", "copy_instrument_info")
MESSAGE_KEYS = (*MANIFEST_KEYS, "copy_id", "action_on_exist", *TAG_FLAGS, "task_token", "tags", "hold")
MAX_TASK_TOKEN_CHARACTERS = 2048
"""Step Functions' limit, https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html."""

COMMAND_KEY = "command"
"""A message with this key asks something for a copy that is there: see ``requests.py``."""
MAX_TAGS = 10
MAX_TAG_KEY_CHARACTERS, MAX_TAG_CHARACTERS = 128, 256
"""AWS's limits for its own tags: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html."""

_COPY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How ICA is to copy. The defaults are those of the tool that this replaces."""

    action_on_exist: str = "SKIP"
    """What ICA does with a file that exists already: SKIP, OVERWRITE or RENAME (files only, never folders)."""
    copy_user_tags: bool = True
    copy_technical_tags: bool = True
    copy_instrument_info: bool = True


@dataclass(frozen=True, slots=True)
class Submit:
    """Copy what a manifest says. Exactly one of the first three is set."""

    manifest: object = None
    manifest_b64gz: str | None = None
    manifest_uri: tuple[str, str] | None = None
    """Bucket and key."""
    copy_id: str | None = None
    options: CopyOptions = CopyOptions()
    task_token: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the client wants to know the copy by."""
    hold: bool = False
    """Whether the copy is paused from the start."""


def is_message(body: object) -> bool:
    """Whether an uploaded file is a message, with the keys of one, rather than a bare manifest."""
    return isinstance(body, dict) and any(key in body for key in MESSAGE_KEYS)


def read_submit(body: object, about: str) -> Submit:
    """Check everything about a message except the manifest itself. Raises ``Refused`` with every problem."""
    if not isinstance(body, dict):
        raise Refused([Problem(about, f"must be a JSON object, not {type_name(body)}")])
    refuse_if_any(_problems_in(body, about))
    return Submit(
        manifest=body.get("manifest"),
        manifest_b64gz=body.get("manifest_b64gz"),
        manifest_uri=parse_s3_uri(body.get("manifest_uri")),
        copy_id=body.get("copy_id"),
        options=CopyOptions(**{key: body[key] for key in ("action_on_exist", *TAG_FLAGS) if key in body}),
        task_token=body.get("task_token"),
        tags=body.get("tags") or {},
        hold=body.get("hold", False),
    )


def readable_task_token(body: object) -> str | None:
    """The task token of a message that may be wrong in every other respect, so that its task can be failed."""
    token = body.get("task_token") if isinstance(body, dict) else None
    return token if _is_task_token(token) else None


def readable_copy_id(body: object) -> str | None:
    """The copy id of a message that may be wrong in every other respect: any text, for its sender to recognise.

    None for what was asked for a copy that is there: it is not that copy which is rejected.
    """
    copy_id = body.get("copy_id") if isinstance(body, dict) and COMMAND_KEY not in body else None
    return copy_id if isinstance(copy_id, str) else None


def readable_tags(body: object) -> dict[str, str]:
    """The tags of a message that may be wrong in every other respect; none where they are wrong themselves."""
    tags = body.get("tags") if isinstance(body, dict) else None
    return dict(tags) if isinstance(tags, dict) and is_tags(tags) else {}


def _problems_in(body: Mapping[str, Any], about: str) -> Iterator[Problem]:
    for key in body:
        if key not in MESSAGE_KEYS:
            yield Problem(key, f"is not a known key; the known keys are {', '.join(MESSAGE_KEYS)}")
    given = [key for key in MANIFEST_KEYS if key in body]
    if len(given) != 1:
        has = " and ".join(given) or "none"
        yield Problem(about, f"must have exactly one of {', '.join(MANIFEST_KEYS)}, but has {has}")
    for key, (is_right, otherwise) in _VALUES.items():
        if key in body and not is_right(body[key]):
            yield Problem(key, otherwise)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_copy_id(value: object) -> bool:
    """Whether a client may call a copy so."""
    return isinstance(value, str) and _COPY_ID.fullmatch(value) is not None


def is_tags(value: object) -> bool:
    """Whether these are tags: at most ten, each a short key with a short text."""
    return (
        isinstance(value, dict)
        and len(value) <= MAX_TAGS
        and all(1 <= len(key) <= MAX_TAG_KEY_CHARACTERS and is_encodable(key) for key in value)
        and all(
            isinstance(each, str) and len(each) <= MAX_TAG_CHARACTERS and is_encodable(each) for each in value.values()
        )
    )


def _is_task_token(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_TASK_TOKEN_CHARACTERS and is_encodable(value)


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "manifest_b64gz": (_is_text, "must be a string: base64 of the gzipped JSON manifest"),
    "manifest_uri": (
        lambda value: parse_s3_uri(value) is not None,
        f"must be a string of the form s3://bucket/key, with a key of at most {MAX_KEY_BYTES} bytes",
    ),
    "copy_id": (is_copy_id, "must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit"),
    "action_on_exist": (ACTIONS_ON_EXIST.__contains__, f"must be one of {', '.join(ACTIONS_ON_EXIST)}"),
    **dict.fromkeys(TAG_FLAGS, (_is_flag, "must be true or false")),
    "tags": (
        is_tags,
        f"must be an object of at most {MAX_TAGS} strings of up to {MAX_TAG_CHARACTERS} characters each",
    ),
    "hold": (_is_flag, "must be true or false"),
    "task_token": (_is_task_token, f"must be a string of 1 to {MAX_TASK_TOKEN_CHARACTERS} characters"),
}
"""What the value of each key has to be, and the problem if it is not. ``manifest`` is checked by ``flip``."""
