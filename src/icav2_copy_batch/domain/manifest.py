"""What a client submits: reading it, refusing it with every problem named, and flipping it into jobs."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from gzip import BadGzipFile, GzipFile
from io import BytesIO
from itertools import groupby
from typing import Any

from icav2_copy_batch.domain.projects import Projects, UnknownProject, text_as_spelled
from icav2_copy_batch.domain.uri import MAX_URI_CHARACTERS, SCHEME, STEPS, is_encodable, is_plain, nfc, uri_fault

PROBLEMS_LISTED = 100
ACTIONS_ON_EXIST = ("SKIP", "OVERWRITE", "RENAME")
MANIFEST_KEYS = ("manifest", "manifest_b64gz", "manifest_uri")
TAG_FLAGS = ("copy_user_tags", "copy_technical_tags", "copy_instrument_info")
MESSAGE_KEYS = (*MANIFEST_KEYS, "copy_id", "action_on_exist", *TAG_FLAGS, "task_token")

_COPY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_S3_URI = re.compile(rf"s3://({_BUCKET_NAME.pattern})/(.+)", re.DOTALL)
MAX_KEY_BYTES = 1024
"""S3's limit, https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html."""
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a submission."""

    about: str
    """The source, destination or key it is about."""
    problem: str

    def __str__(self) -> str:
        return f"{self.about}: {self.problem}"


class Refused(Exception):
    """The submission is the client's to correct. Holds its first ``PROBLEMS_LISTED`` problems and their number."""

    def __init__(self, problems: Iterable[Problem], total: int | None = None, parsed: object = None) -> None:
        self.parsed = parsed
        """What could be read all the same, so that whoever waits for it can be told."""
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__("; ".join(map(str, self.problems[:3])))


class ProblemList:
    """Collects problems: keeps the first ``PROBLEMS_LISTED``, counts them all."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """``names`` are those by which the client calls projects (see ``Projects``): the problems use them too."""
        self.listed: list[Problem] = []
        self.total = 0
        self._names = {} if names is None else names

    def add(self, about: str, problem: str) -> None:
        self.total += 1
        if len(self.listed) < PROBLEMS_LISTED:
            self.listed.append(Problem(text_as_spelled(about, self._names), text_as_spelled(problem, self._names)))

    def refuse_if_any(self, parsed: object = None) -> None:
        if self.total:
            raise Refused(self.listed, self.total, parsed)


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How ICA is to copy. The defaults are those of the tool this replaces."""

    action_on_exist: str = "SKIP"
    """What ICA does with a file that is there: SKIP, OVERWRITE or RENAME (files only, never folders)."""
    copy_user_tags: bool = True
    copy_technical_tags: bool = True
    copy_instrument_info: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """A submission as a message: exactly one of the first three is set."""

    manifest: object = None
    manifest_b64gz: str | None = None
    manifest_uri: tuple[str, str] | None = None
    """Bucket and key."""
    copy_id: str | None = None
    options: CopyOptions = CopyOptions()
    task_token: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a manifest may be, and how large a job may get before it is split."""

    max_manifest_bytes: int = 256 * 1024 * 1024
    """Of the JSON text, after decompression."""
    max_sources_per_job: int = 1000
    max_packed_bytes: int = 32 * 1024
    """Of a job's packed sources; keeps the item small, since each of its moves is paid by the item's size."""
    allow_same_project: bool = False


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A destination folder and its sources, sorted."""

    destination: str
    packed_sources: bytes


# --- reading ---------------------------------------------------------------------------------------------------------


def read_json(data: bytes, about: str, max_bytes: int) -> object:
    """Parse JSON or gzipped JSON, told apart by content.

    Refuses what is not UTF-8 or not JSON, damaged gzip, more than ``max_bytes`` of text, and every duplicate key
    (a JSON parser keeps the last one and says nothing: that would lose a copy).
    """
    if data.startswith(_GZIP_MAGIC):
        data = _gunzip(data, about, max_bytes)
    if len(data) > max_bytes:
        raise Refused([Problem(about, f"holds more than {max_bytes:,} bytes of JSON; split it into several manifests")])
    duplicates = ProblemList()

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    duplicates.add(key, "stands more than once as a key; list all its destinations under one")
                seen.add(key)
        return found

    try:
        parsed: object = json.loads(data.decode("utf-8-sig"), object_pairs_hook=object_of)
    except UnicodeDecodeError as error:
        raise Refused([Problem(about, f"is not UTF-8 text: {error.reason} at byte {error.start:,}")]) from None
    except (ValueError, RecursionError) as error:
        raise Refused([Problem(about, f"is not JSON: {error}")]) from None
    duplicates.refuse_if_any(parsed)
    return parsed


def read_message(body: object, about: str) -> Message:
    """Check everything about a message except the manifest itself."""
    if not isinstance(body, dict):
        raise Refused([Problem(about, f"must be a JSON object, not {_type_name(body)}")])
    problems = ProblemList()
    for key in (key for key in body if key not in MESSAGE_KEYS):
        problems.add(key, f"is not a known key; known are {', '.join(MESSAGE_KEYS)}")
    given = [key for key in MANIFEST_KEYS if key in body]
    if len(given) != 1:
        problems.add(
            about, f"must have exactly one of {', '.join(MANIFEST_KEYS)}, but has {' and '.join(given) or 'none'}"
        )
    _check(problems, body, "manifest_b64gz", _is_text, "must be a string: base64 of the gzipped JSON manifest")
    _check(
        problems,
        body,
        "manifest_uri",
        _is_s3_uri,
        "must be a string of the form s3://bucket/key, the key of at most 1024 bytes",
    )
    _check(problems, body, "copy_id", _is_copy_id, "must be 1 to 128 letters, digits, '.', '_' or '-'")
    _check(
        problems,
        body,
        "action_on_exist",
        ACTIONS_ON_EXIST.__contains__,
        f"must be one of {', '.join(ACTIONS_ON_EXIST)}",
    )
    for flag in TAG_FLAGS:
        _check(problems, body, flag, lambda value: isinstance(value, bool), "must be true or false")
    _check(problems, body, "task_token", _is_task_token, "must be a string of 1 to 2048 characters")
    problems.refuse_if_any()
    s3_uri = _S3_URI.fullmatch(body["manifest_uri"]) if "manifest_uri" in body else None
    return Message(
        manifest=body.get("manifest"),
        manifest_b64gz=body.get("manifest_b64gz"),
        manifest_uri=(s3_uri[1], s3_uri[2]) if s3_uri else None,
        copy_id=body.get("copy_id"),
        options=CopyOptions(**{key: body[key] for key in ("action_on_exist", *TAG_FLAGS) if key in body}),
        task_token=body.get("task_token"),
    )


def readable_task_token(body: object) -> str | None:
    """The task token of a message that may be wrong in every other respect, so that its sender hears of it."""
    token = body.get("task_token") if isinstance(body, dict) else None
    return token if _is_task_token(token) else None


def is_message(body: object) -> bool:
    """Whether an uploaded file is a message rather than the bare map: it has a message's key."""
    return isinstance(body, dict) and any(key in body for key in MESSAGE_KEYS)


def decode_b64gz(text: str, max_bytes: int) -> object:
    """The manifest in a ``manifest_b64gz``, which may be broken into lines."""
    try:
        data = b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused([Problem("manifest_b64gz", f"is not base64: {error}")]) from None
    if not data.startswith(_GZIP_MAGIC):
        raise Refused([Problem("manifest_b64gz", "is base64, but not of gzipped data")])
    return read_json(data, "manifest_b64gz", max_bytes)


def _gunzip(data: bytes, about: str, max_bytes: int) -> bytes:
    """Decompress all members, stopping at one byte over the limit: a gzip bomb is never held in memory."""
    try:
        with GzipFile(fileobj=BytesIO(data)) as file:
            text = file.read(max_bytes + 1)
    except EOFError:
        raise Refused([Problem(about, "is gzip cut short: its end is missing")]) from None
    except (zlib.error, BadGzipFile) as error:
        raise Refused([Problem(about, f"is damaged gzip: {error}")]) from None
    if len(text) > max_bytes:
        raise Refused([Problem(about, f"decompresses to more than {max_bytes:,} bytes; split the manifest")])
    return text


def _check(
    problems: ProblemList, body: Mapping[str, Any], key: str, is_right: Callable[[Any], bool], otherwise: str
) -> None:
    if key in body and not is_right(body[key]):
        problems.add(key, otherwise)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_copy_id(value: object) -> bool:
    return isinstance(value, str) and _COPY_ID.fullmatch(value) is not None


def _is_s3_uri(value: object) -> bool:
    match = _S3_URI.fullmatch(value) if isinstance(value, str) else None
    return match is not None and is_object_key(match[2])


def is_bucket_name(value: object) -> bool:
    """Whether S3 would take this for a bucket's name, or nearly so."""
    return isinstance(value, str) and _BUCKET_NAME.fullmatch(value) is not None


def is_object_key(value: object) -> bool:
    """Whether an object in S3 may have this key."""
    return isinstance(value, str) and is_encodable(value) and 1 <= len(value.encode()) <= MAX_KEY_BYTES


def _is_task_token(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 2048 and is_encodable(value)


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


# --- flipping --------------------------------------------------------------------------------------------------------


def flip(manifest: object, limits: Limits, projects: Projects | None = None) -> list[PlannedJob]:
    """Turn ``{source: [destination, …]}`` into one job per destination, or refuse with every problem.

    Whatever the manifest calls its projects, the jobs and all checks know them by their ids, and all paths in NFC.
    Raises what looking up one of ``projects`` raises; afterwards these know how the manifest spells them.

    The order of the manifest's keys means nothing: jobs are sorted by their destination (so that those into one project
    stand together), and a job's sources too. A destination with more sources than the limits allow becomes several
    jobs. But for the sorting, linear in the entries.
    """
    if not isinstance(manifest, dict):
        raise Refused([Problem("manifest", f"must be an object of source to destinations, not {_type_name(manifest)}")])
    projects = projects or Projects()
    problems = ProblemList(projects.names)
    if not manifest:
        problems.add("manifest", "is empty: it names no source")
    manifest = _in_one_spelling(manifest, projects, problems)
    folders: dict[str, dict[str, str]] = {}  # destination → name in that folder → source
    trees: dict[str, str] = {}  # folder at a destination → the source folder whose tree is copied to it
    project_of: dict[str, str] = {}  # folder of a source without a fault → its project
    for source, destinations in manifest.items():
        folder, _, name = source.rpartition("/")
        project = project_of.get(folder)
        # Next to a source without a fault, only the name is new.
        is_right = project and name and name not in STEPS and is_plain(name) and len(source) <= MAX_URI_CHARACTERS
        fault = None if is_right else _source_fault(source)
        if fault:
            problems.add(source, fault)
        elif project is None:
            project = project_of[folder] = _project(source)
        if not isinstance(destinations, list) or not destinations:
            problems.add(source, "must have a non-empty list of destination folders")
            continue
        if not name:
            name = source[source.rfind("/", 0, -1) + 1 :]
        refused_project = None if fault or limits.allow_same_project else project
        for destination in destinations:
            if not isinstance(destination, str):
                problems.add(source, f"has a destination that must be a string but is {_type_name(destination)}")
                continue
            names = folders.get(destination)
            if names is None:
                names = folders[destination] = {}
                if fault := _destination_fault(destination):
                    problems.add(destination, fault)
            if refused_project and destination.startswith(refused_project):
                problems.add(source, f"is in the same project as its destination {destination}; ICA copies between two")
            if name[-1:] == "/":
                trees.setdefault(destination + name, source)
            namesake = names.setdefault(name, source)
            if namesake is not source:
                problems.add(source, f"has the same name as {namesake} in {destination}; one of the two would be lost")
        for destination in _repeated(destinations) if len(destinations) > 1 else ():
            problems.add(source, f"names the destination {destination} more than once")
    for destination in folders if trees else ():
        if tree := next((tree for tree in _lineage(destination) if tree in trees), None):
            fault = f"lies in {tree}, to which {trees[tree]} is copied; submit it later, as another copy"
            problems.add(destination, fault)
    problems.refuse_if_any()
    return [
        job
        for destination in sorted(folders)
        for job in _split(destination, sorted(folders[destination].values()), limits)
    ]


def digest(jobs: Iterable[PlannedJob], options: CopyOptions) -> str:
    """A fingerprint of what a submission asks for: which sources into which destinations, and how.

    Not of how it is asked for, which is no part of what ``flip`` makes of it, and not of how it is split into ``jobs``.
    """
    fingerprint = hashlib.sha256(json.dumps(astuple(options)).encode())
    for destination, of_destination in groupby(jobs, key=lambda job: job.destination):
        fingerprint.update(f"\n\n{destination}".encode())
        for job in of_destination:
            # As text: another zlib may pack it otherwise. No URI has a line break in it.
            fingerprint.update(b"\n" + zlib.decompress(job.packed_sources))
    return fingerprint.hexdigest()


def pack_sources(sources: list[str]) -> bytes:
    """Sources as kept in a job's item. They share long prefixes, so that compression takes most of it away."""
    return zlib.compress("\n".join(sources).encode())


def unpack_sources(packed: bytes) -> list[str]:
    return zlib.decompress(packed).decode().split("\n") if packed else []


def _in_one_spelling(manifest: dict[str, Any], projects: Projects, problems: ProblemList) -> dict[str, Any]:
    """The manifest with each project called by its id in lower case, and paths in NFC; most come like that.

    A project that nobody knows is a problem once, and keeps its name, so that everything else is checked all the same.
    What is no URI stays as it is.
    """
    known: dict[str, str] = {}  # icav2://<project as spelled> → icav2://<id>
    nothing = f"{SCHEME}/"  # with which no URI begins

    def learn(uri: str) -> str:
        """What the next URI of its project begins with."""
        root = _root(uri)
        if root not in known:
            if uri_fault(uri):
                return nothing
            try:
                known[root] = SCHEME + projects.id_of(root[len(SCHEME) :])
            except UnknownProject as error:
                known[root] = root
                problems.add(uri, str(error))
        return f"{root}/"

    # Mostly a URI is of the project of the one before it.
    of_source = of_destination = nothing
    is_ascii = True
    for source, destinations in manifest.items():
        is_ascii = is_ascii and source.isascii()
        if not source.startswith(of_source):
            of_source = learn(source)
        for destination in destinations if isinstance(destinations, list) else ():
            if isinstance(destination, str):
                is_ascii = is_ascii and destination.isascii()
                if not destination.startswith(of_destination):
                    of_destination = learn(destination)
    if is_ascii and not projects.names:
        return manifest

    def respelled(uri: str) -> str:
        root = _root(uri)
        return known[root] + nfc(uri[len(root) :]) if root in known else uri

    one_spelling: dict[str, Any] = {}
    for source, destinations in manifest.items():
        if (key := respelled(source)) in one_spelling:
            problems.add(source, "stands more than once as a key, spelled otherwise; list all under one")
        elif isinstance(destinations, list):
            one_spelling[key] = [respelled(each) if isinstance(each, str) else each for each in destinations]
        else:
            one_spelling[key] = destinations
    return one_spelling


def _split(destination: str, sources: list[str], limits: Limits) -> Iterator[PlannedJob]:
    for start in range(0, len(sources), limits.max_sources_per_job):
        yield from _halve_until_small(destination, sources[start : start + limits.max_sources_per_job], limits)


def _halve_until_small(destination: str, sources: list[str], limits: Limits) -> Iterator[PlannedJob]:
    packed = pack_sources(sources)
    if len(packed) <= limits.max_packed_bytes or len(sources) == 1:
        yield PlannedJob(destination, packed)
        return
    middle = len(sources) // 2
    yield from _halve_until_small(destination, sources[:middle], limits)
    yield from _halve_until_small(destination, sources[middle:], limits)


def _lineage(folder: str) -> Iterator[str]:
    """A folder and those that it lies in, the longest first."""
    end = len(folder)
    while end > 0:
        yield folder[:end]
        end = folder.rfind("/", 0, end - 1) + 1


def _repeated(destinations: list[object]) -> list[str]:
    counts = Counter(destination for destination in destinations if isinstance(destination, str))
    return [destination for destination, count in counts.items() if count > 1]


def _source_fault(source: str) -> str | None:
    if fault := uri_fault(source):
        return fault
    return (
        "is the root of a project; name a file or a folder in it"
        if source.count("/") == 3 and source[-1] == "/"
        else None
    )


def _destination_fault(destination: str) -> str | None:
    return uri_fault(destination) or (
        None if destination[-1] == "/" else "is a destination, which must be a folder: end it with /"
    )


def _root(uri: str) -> str:
    """``icav2://<project>``; nothing of what is no URI for want of a path."""
    return uri[: max(uri.find("/", len(SCHEME)), 0)]


def _project(uri: str) -> str:
    """``icav2://<project>/``"""
    return uri[: uri.index("/", len(SCHEME)) + 1]
