"""ICA URIs: ``icav2://<project id or project name>/<path>``.

Nothing is decoded. Real ICA paths contain spaces and may contain ``#``, ``?``, ``%``, ``+`` and non-ASCII characters,
so that a general URL parser would cut or change them.

Unicode can write one name in two forms, composed (NFC) and decomposed (NFD), and ICA may hold either. A manifest's
paths are converted to NFC once (see ``manifest.flip``), so that equal paths are equal text. Whatever ICA shows is
converted too before it is compared with them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from uuid import UUID

SCHEME = "icav2://"
MAX_URI_CHARACTERS = 4096

STEPS = frozenset({".", ".."})
"""Path segments that some systems follow and others treat as names, so that a path with one may mean two things."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


class UriError(ValueError):
    """A text is not an ICA URI. The message says why."""


@dataclass(frozen=True, slots=True)
class IcaUri:
    """A file (``/a/b``) or a folder (``/a/b/``) in a project. The project's root is ``/``."""

    project: str
    """Project id or name, as written."""
    path: str

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")

    @property
    def name(self) -> str:
        """The last segment, without a final slash."""
        return self.path.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return f"{SCHEME}{self.project}{self.path}"


def parse_uri(text: str) -> IcaUri:
    """Split a URI into project and path. Raises ``UriError``."""
    if fault := uri_fault(text):
        raise UriError(f"{text!r} {fault}")
    project, _, rest = text[len(SCHEME) :].partition("/")
    return IcaUri(project, f"/{rest}")


def uri_fault(text: str) -> str | None:
    """Why the text is not an ICA URI (a sentence to follow the URI), or None."""
    if not text.startswith(SCHEME):
        return f"does not start with {SCHEME}"
    project, slash, _ = text[len(SCHEME) :].partition("/")
    if not slash:
        return "has no path: a slash must follow the project"
    if not project:
        return "names no project"
    if "//" in text[len(SCHEME) :]:
        return "has an empty path segment (//)"
    if "/." in text and not STEPS.isdisjoint(text.split("/")):
        return "has a path segment . or .., which is not a name"
    if len(text) > MAX_URI_CHARACTERS:
        return f"is longer than {MAX_URI_CHARACTERS} characters"
    if is_plain(text):
        return None
    if _CONTROL_CHARACTER.search(text):
        return "contains a control character"
    if not is_encodable(text):
        return "contains an unpaired surrogate, which UTF-8 cannot express"
    return None


def folder_fault(text: str, no_folder: str = "is no folder: end it with /") -> str | None:
    """Why the text is not the URI of a folder, or None; ``no_folder`` where it is the URI of a file."""
    return uri_fault(text) or (None if text.endswith("/") else no_folder)


def nfc(path: str) -> str:
    """A path in NFC, the Unicode form in which paths are compared."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def copied_into(folder: IcaUri, source: IcaUri) -> IcaUri:
    """Where the copy of a source lies once it is copied into a folder; a folder's copy is a folder."""
    return IcaUri(folder.project, f"{folder.path}{source.name}{'/' if source.is_folder else ''}")


def is_project_id(project: str) -> bool:
    """Whether a project is called by its id (a UUID) rather than by its name."""
    try:
        return str(UUID(project)) == project.lower()
    except ValueError:
        return False


def parent_path(path: str) -> str:
    """The folder in which a path lies: ``/a/`` for ``/a/b`` and for ``/a/b/``; ``/`` for ``/a``."""
    return path.rstrip("/").rpartition("/")[0] + "/"


def is_plain(text: str) -> bool:
    """Whether a text has only printable ASCII characters. Most have, and then no character needs a closer check."""
    return text.isascii() and text.isprintable()


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can express a text. JSON can spell an unpaired surrogate, which nothing can store or send."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
