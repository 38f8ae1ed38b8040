"""Patterns for paths below a folder, as in .gitignore files.

- ``*`` stands for any characters within a name, ``?`` for one of them, ``[ab]`` and ``[!ab]`` for one of a set, ``**``
  for any characters, also across folders.
- A pattern without a slash is compared with each file's name: ``*.bam``.
- A pattern with a slash is compared with the whole path below the folder: ``Reports/*.html``, ``/*.txt`` for the files
  directly in it.
- A pattern that ends in a slash means everything below such a folder: ``logs/`` at any depth, ``/logs/`` at the top.

Upper and lower case differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from icav2_copy_batch.client.errors import Invalid
from icav2_copy_batch.domain.uri import nfc

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_MEMBER = re.compile(r"(.)-(.)|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path matches any of these patterns. Raises ``Invalid`` where one of them is none."""
    compiled = [_compiled(pattern) for pattern in patterns]
    return lambda path: any(each.fullmatch(path) for each in compiled)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(_expression(nfc(pattern)), re.DOTALL)
    except re.error:  # all but sets is translated to what is right
        wrong = "[ ] has to hold a set of characters, such as [ab], [a-c] or [!ab]"
        raise Invalid(f"{pattern!r} is not a valid pattern: {wrong}") from None


def _expression(pattern: str) -> str:
    folder = pattern.endswith("/")
    inside = pattern.removesuffix("/")
    anywhere = "" if "/" in inside else "(?:.*/)?"
    below = "/.*" if folder else ""
    return f"{anywhere}{''.join(_translated(inside.removeprefix('/')))}{below}"


def _translated(pattern: str) -> Iterator[str]:
    for token in _TOKEN.findall(pattern):
        if token in _MEANINGS:
            yield _MEANINGS[token]
        elif len(token) > 1:
            yield _set_of(token)
        else:
            yield re.escape(token)


def _set_of(token: str) -> str:
    """``[a-c]`` or ``[!a-c]`` as a regular expression; a slash is in neither."""
    body = token[1:-1]
    is_negated = body.startswith("!")
    members = "".join(map(_member, _MEMBER.finditer(body.removeprefix("!"))))
    return f"(?!/)[{'^' if is_negated else ''}{members}]"


def _member(found: re.Match[str]) -> str:
    """A range, or a character that stands for itself."""
    first, last = found.groups()
    return f"{re.escape(first)}-{re.escape(last)}" if first else re.escape(found[0])
