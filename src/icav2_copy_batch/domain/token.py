"""The token for ICA, out of a secret as somebody has stored it; its text is in no error and no log."""

from __future__ import annotations

import json
import re

TOKEN_KEYS = frozenset({"token", "jwt", "access_token", "accesstoken", "id_token", "api_key", "apikey"})
"""Under which a secret of several values may hold the token, in whatever case."""
MOST_WRAPPINGS = 4
"""A JSON object, in it a JSON string, in it a quoted one with "Bearer": more is not plain."""

# What RFC 6750 lets stand behind "Bearer", section 2.1; and so nothing that HTTP does not let into a header.
_BARE = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_BEARER = re.compile(r"bearer\s+(?=\S)", re.IGNORECASE)

_ADVICE = "store the bare token as the secret's text, in one line and without quotes"


class UnusableSecret(ValueError):
    """A secret that holds no token for certain. The message says of what kind it is, and never what stands in it."""


def bare_token(secret: str) -> str:
    """The token in a secret: with white space, one pair of quotes, JSON or "Bearer" around it, or with nothing.

    Of a JSON object it is the only value, or the one under a known key (``TOKEN_KEYS``). Raises ``UnusableSecret``.
    """
    text = secret
    for _ in range(MOST_WRAPPINGS):
        text = text.strip("\ufeff \t\r\n")
        if _BARE.fullmatch(text):
            return text
        text = _unwrapped(text)
    raise UnusableSecret(f"the secret has too much around the token; {_ADVICE}")


def _unwrapped(text: str) -> str:
    """The text without what is outermost around it."""
    if not text:
        raise UnusableSecret(f"the secret is empty; {_ADVICE}")
    parsed = _parsed(text)
    if isinstance(parsed, str):
        return parsed
    if isinstance(parsed, dict):
        return _only_token_of(parsed)
    if parsed is not None:
        raise UnusableSecret(f"the secret is a JSON {type(parsed).__name__} and no token; {_ADVICE}")
    if text[0] == text[-1] == "'" and len(text) > 1:
        return text[1:-1]
    if bearer := _BEARER.match(text):
        return text[bearer.end() :]
    lines = len(text.splitlines())
    if lines > 1:
        raise UnusableSecret(f"the secret has {lines} lines of text; {_ADVICE}")
    raise UnusableSecret(f"the secret has characters that no token has; {_ADVICE}")


def _parsed(text: str) -> object:
    """What the text is as JSON; None where it is none. The parser's own error would quote it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _only_token_of(values: dict[str, object]) -> str:
    known = {value for key, value in values.items() if key.lower() in TOKEN_KEYS and isinstance(value, str)}
    texts = known or {value for value in values.values() if isinstance(value, str)}
    if len(texts) == 1 and (known or len(values) == 1):
        return texts.pop()
    raise UnusableSecret(
        f"the secret is a JSON object of {len(values)} values, of which {len(texts)} could be the token; {_ADVICE}, "
        'or a JSON object with it under "token" alone'
    )
