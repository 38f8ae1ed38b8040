"""Reading JSON that a client has sent, plain or gzipped. Everything that could lose a copy is refused."""

from __future__ import annotations

import binascii
import json
import zlib
from base64 import b64decode
from gzip import BadGzipFile, GzipFile
from io import BytesIO
from typing import Any

from icav2_copy_batch.domain.problems import Problem, Refused, refuse_if_any

_GZIP_MAGIC = b"\x1f\x8b"


def read_json(data: bytes, about: str, max_bytes: int) -> object:
    """Parse JSON or gzipped JSON, told apart by content.

    Raises ``Refused`` for what is not UTF-8 or not JSON, for damaged gzip, for more than ``max_bytes`` of text, and for
    every duplicate key (a JSON parser keeps the last one and says nothing: that would lose a copy).
    """
    if data.startswith(_GZIP_MAGIC):
        data = _gunzip(data, about, max_bytes)
    if len(data) > max_bytes:
        raise Refused([Problem(about, f"holds more than {max_bytes:,} bytes of JSON; split it into several manifests")])
    duplicates: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            duplicates.extend(_repeated_keys(pairs))
        return found

    try:
        parsed: object = json.loads(data.decode("utf-8-sig"), object_pairs_hook=object_of)
    except UnicodeDecodeError as error:
        raise Refused([Problem(about, f"is not UTF-8 text: {error.reason} at byte {error.start:,}")]) from None
    except (ValueError, RecursionError) as error:
        raise Refused([Problem(about, f"is not JSON: {error}")]) from None
    more_than_once = "is a key more than once; list all its destinations under one key"
    refuse_if_any((Problem(key, more_than_once) for key in duplicates), parsed=parsed)
    return parsed


def decode_b64gz(text: str, max_bytes: int) -> object:
    """The manifest in a ``manifest_b64gz``, which may be broken into lines. Raises ``Refused``."""
    try:
        data = b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused([Problem("manifest_b64gz", f"is not base64: {error}")]) from None
    if not data.startswith(_GZIP_MAGIC):
        raise Refused([Problem("manifest_b64gz", "is base64, but not of gzipped data")])
    return read_json(data, "manifest_b64gz", max_bytes)


def _repeated_keys(pairs: list[tuple[str, Any]]) -> list[str]:
    """Each key that stands in the pairs more than once, as often as it is repeated."""
    unseen = {key for key, _ in pairs}
    repeated = []
    for key, _ in pairs:
        if key in unseen:
            unseen.remove(key)
        else:
            repeated.append(key)
    return repeated


def _gunzip(data: bytes, about: str, max_bytes: int) -> bytes:
    """Decompress all members, stopping at one byte over the limit: a gzip bomb is never held in memory."""
    try:
        with GzipFile(fileobj=BytesIO(data)) as file:
            text = file.read(max_bytes + 1)
    except EOFError:
        raise Refused([Problem(about, "is incomplete gzip: its end is missing")]) from None
    except (zlib.error, BadGzipFile) as error:
        raise Refused([Problem(about, f"is damaged gzip: {error}")]) from None
    if len(text) > max_bytes:
        raise Refused([Problem(about, f"decompresses to more than {max_bytes:,} bytes; split the manifest")])
    return text
