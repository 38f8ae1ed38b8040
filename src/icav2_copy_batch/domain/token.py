"""Finding ICA's token in a secret, however somebody has stored it. No error and no log ever contains its text."""

from __future__ import annotations

import json
import re

TOKEN_KEYS = frozenset({"token", "jwt", "access_token", "accesstoken", "id_token", "api_key", "apikey"})
"""Keys under which a secret with several values may hold the token, in upper or lower case."""
MOST_WRAPPINGS = 4
"""How many layers are removed, such as a JSON object, in it a JSON string, in it quotes, in them "Bearer"."""

# What may follow "Bearer" (RFC 6750, section 2.1). HTTP allows all of it in a header.
_BARE = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_BEARER = re.compile(r"bearer\s+(?=\S)", re.IGNORECASE)

_ADVICE = "store the bare token as the secret's text, in one line and without quotes"


class UnusableSecret(ValueError):
    """It is not certain which text in a secret is the token. The message describes the secret and never quotes it."""


def bare_token(secret: str) -> str:
    """The token in a secret, without the white space, quotes, JSON or "Bearer" that may be around it.

    In a JSON object it is the only value, or the one under a known key (``TOKEN_KEYS``). Raises ``UnusableSecret``.
    """
    text = secret
    for _ in range(MOST_WRAPPINGS):
        text = text.strip("\ufeff \t\r\n")
        if _BARE.fullmatch(text):
            return text
        text = _unwrapped(text)
    raise UnusableSecret(f"the secret has too many layers around the token; {_ADVICE}")


def _unwrapped(text: str) -> str:
    """The text without its outermost layer. Raises ``UnusableSecret``."""
    if not text:
        raise UnusableSecret(f"the secret is empty; {_ADVICE}")
    parsed = _parsed(text)
    if isinstance(parsed, str):
        return parsed
    if isinstance(parsed, dict):
        return _only_token_of(parsed)
    if parsed is not None:
        raise UnusableSecret(f"the secret is a JSON {type(parsed).__name__} and not a token; {_ADVICE}")
    if text[0] == text[-1] == "'" and len(text) > 1:
        return text[1:-1]
    if bearer := _BEARER.match(text):
        return text[bearer.end() :]
    lines = len(text.splitlines())
    if lines > 1:
        raise UnusableSecret(f"the secret has {lines} lines of text; {_ADVICE}")
    raise UnusableSecret(f"the secret has characters that a token cannot have; {_ADVICE}")


def _parsed(text: str) -> object:
    """The text parsed as JSON, or None if it is not JSON. The parser's own error would quote the text."""
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
        f"the secret is a JSON object with {len(values)} values, of which {len(texts)} could be the token; {_ADVICE}, "
        'or as a JSON object with the one key "token"'
    )
