"""Everything about the simulated ICA that can be set, at the start and while it runs.

Much of ICA's behaviour is not documented, so each unknown is a switch here.  Where a guess was needed the
default is the answer that is hardest on a client.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
Range = tuple[float, float]


def switch(default: T, meaning: str) -> T:
    """A field of Switches; its meaning is also its command line help."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Switches:
    """One set of answers to what is not known about ICA, plus the speeds, limits and failure rates."""

    job_seconds: tuple[float, float] = switch((5.0, 15.0), "lo:hi, how long a copy job lives; drawn evenly")
    failure_rate: float = switch(0.2, "share of unscripted copy jobs that do not succeed")
    failed_weight: float = switch(0.6, "weight of FAILED among the jobs that do not succeed")
    partially_succeeded_weight: float = switch(0.35, "weight of PARTIALLY_SUCCEEDED among them")
    stopped_weight: float = switch(0.05, "weight of STOPPED among them")
    leftovers: Literal["all", "some", "none"] = switch("all", "files not copied which stay behind as PARTIAL")
    partial_size: Literal["zero", "full"] = switch("zero", "size shown for a file that is PARTIAL")
    same_project_copy: Literal["allow", "refuse"] = switch("refuse", "copying from a project to itself")
    max_items: int = switch(0, "most items in a copy batch; 0 is no limit")
    max_items_status: int = switch(400, "status of a copy batch that has more")
    skip_counts_partial: bool = switch(True, "SKIP leaves an existing PARTIAL file as it is")
    skip_counts_deleting: bool = switch(True, "SKIP leaves an existing DELETING file as it is")
    skipped_item_status: Literal["QUEUED", "COPYING", "COPIED", "PARTIALLY_COPIED", "FAILED"] = switch(
        "COPIED", "status of a batch item whose file was skipped"
    )
    single_part: Literal["copies", "fails", "fails_with_tags"] = switch(
        "copies", "copying a file whose ETag has no -N: never fails, always, or only if any tag flag is set"
    )
    rename_scheme: Literal["before_extension", "after_extension"] = switch(
        "before_extension", "RENAME makes 'a (1).txt' or 'a.txt (1)'"
    )
    create_folder_on_existing: Literal["conflict", "duplicate", "return_existing"] = switch(
        "conflict", "createFolder on an existing path: 409, a second folder of that path, or the existing one"
    )
    create_folder_seconds: float = switch(0.0, "how long createFolder takes; others for that path get 409")
    delete_seconds: float = switch(2.0, "how long a deleted file or folder stays DELETING")
    several_file_paths: Literal["honoured", "first_only", "last_only", "refused"] = switch(
        "honoured", "a listing with more than one filePath"
    )
    full_matches_folders: bool = switch(True, "a listing by filePath and FULL_CASE_INSENSITIVE finds folders too")
    absent_folder: Literal["empty", "404"] = switch("empty", "a listing by the parentFolderPath of no folder")
    project_search: Literal["answers", "nothing"] = switch("answers", "what search finds among the projects")
    several_ids: Literal["honoured", "first_only"] = switch("honoured", "a listing of data with more than one id")
    default_page_size: int = switch(20, "rows in a page if the client does not say")
    max_page_size: int = switch(1000, "largest pageSize, more is a 400")
    page_cap: int = switch(0, "most rows in a page whatever was asked for, without a word; 0 is no cap")
    end_of_pages: Literal["empty", "null"] = switch("empty", "nextPageToken of the last page")
    url_limit: int = switch(8192, "longest request target in bytes, more is a 414; 0 is no limit")
    url_limit_status: int = switch(414, "status of a request target that is too long")
    url_limit_answer: Literal["problem", "html"] = switch("problem", "what comes with it; HTML is a proxy's")
    rate_limit: int = switch(0, "calls answered in any one second, more are a 429; 0 is no limit")
    retry_after: int = switch(0, "seconds in the Retry-After header of a 429; 0 sends no header")
    token_seconds: float = switch(0.0, "how long a token is good for from when it was set; 0 is for ever")
    job_readable_seconds: float = switch(0.0, "after this a finished job and its batch are 404; 0 is never")
    subject_type: str = switch("ProjectDataCopyBatch", "subjectType of a copy job")
    subject_id_is_batch: bool = switch(True, "subjectId of a copy job is its batch's id, else a random one")
    job_fields: Literal["all", "required", "least"] = switch(
        "all", "what a job says of itself: all, what ICA's document requires (no project), or its id and status alone"
    )
    list_jobs: Literal["answers", "fails"] = switch("answers", "the list of all jobs; one job can always be read")
    echo_folder: bool = switch(True, "a copy batch that is read says its destinationFolderId")
    echo_root: Literal["none", "id"] = switch(
        "none", "destinationFolderId of a copy batch into a project's root: not there, or an id that the root has"
    )
    echo_created_data: bool = switch(True, "an item of a copy batch says what it has become, as createdProjectData")
    echo_time_created: bool = switch(True, "data say when they were made, as timeCreated")
    items_as_files: bool = switch(False, "a folder that is copied stands in the items of its batch as its files")
    items_lag_seconds: float = switch(0.0, "for so long after its start a copy batch has no items")
    jobs_lag_seconds: float = switch(0.0, "the list of jobs is as it was so long ago; a job that is read is not")
    data_lag_seconds: float = switch(
        0.0, "lists of data are as they were so long ago; data that are read by their id are not"
    )
    clock_offset_seconds: float = switch(
        0.0, "so far ICA's clock is ahead, in its timestamps and in the Date of its answers; below 0 it is behind"
    )
    available_after_seconds: float = switch(
        0.0, "for so long after their job has SUCCEEDED its files are still PARTIAL; other jobs' likewise"
    )
    all_skipped_status: Literal["SUCCEEDED", "FAILED"] = switch(
        "SUCCEEDED", "end of a job all of whose files were there, so that it had nothing to copy"
    )
    unicode_form: Literal["as_given", "NFC", "NFD"] = switch(
        "as_given", "form of Unicode in which names are kept; what is asked for is found in any form"
    )
    hang_rate: float = switch(0.0, "share of calls that are never answered; half of them are carried out")
    engine_down: tuple[float, float] = switch(
        (0.0, 0.0), "from:to, seconds from the start between which every copy job that comes to its end fails"
    )
    notification_delay_seconds: tuple[float, float] = switch(
        (0.0, 0.0), "lo:hi, a wide range also reorders notifications"
    )
    notification_duplicate_rate: float = switch(0.0, "share of notifications sent twice")
    notification_loss_rate: float = switch(0.0, "share of notifications never sent")
    manage_notifications: Literal["allowed", "refused"] = switch(
        "allowed", "whether the token's user may make and change notification channels and subscriptions, else 403"
    )
    read_permissions: Literal["allowed", "refused"] = switch(
        "allowed", "whether the token's user may read who has which rights in a project, else 403"
    )
    permission_of: Literal["USER", "EMAIL", "WORKGROUP"] = switch(
        "USER", "as whom the token's user is a member of every project"
    )
    project_role: Literal["NONE", "VIEWER", "CONTRIBUTOR", "ADMINISTRATOR", "DATA_PROVIDER"] = switch(
        "CONTRIBUTOR", "the role of the token's user in every project"
    )
    upload_allowed: bool = switch(True, "the token's user may upload into every project")


def build(cls: type[T], given: Mapping[str, Any], base: T | None = None) -> T:
    """The dataclass `cls` from JSON, on top of `base` if there is one.

    Nothing is ignored or guessed: raises ValueError for an unknown key, a missing one, or a value of
    another type, so that a misspelt switch cannot make a test pass.
    """
    hints = get_type_hints(cls)
    if unknown := given.keys() - hints.keys():
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}; the known keys are {', '.join(sorted(hints))}")
    values = {name: convert(hints[name], value, name) for name, value in given.items()}
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    required = {
        f.name
        for f in fields(cls)  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING
    }
    if missing := required - values.keys():
        raise ValueError(f"missing key {', '.join(sorted(missing))}")
    return cls(**values)


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object in a text, or ValueError."""
    given = json.loads(text)
    if isinstance(given, dict):
        return given
    raise ValueError("the body must be a JSON object")


def convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type `hint`, or ValueError naming what was expected of `name`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == Range:
        return _range(value, name)
    if origin is UnionType:
        return _one_of_types(arguments, value, name)
    if origin is Literal:
        return _one_of(arguments, value, name)
    if _is_enumeration(hint):
        return _one_of(tuple(hint), value, name)
    if origin is list and isinstance(value, list):
        return [convert(arguments[0], each, name) for each in value]
    if origin is dict and isinstance(value, dict):
        return {convert(arguments[0], k, name): convert(arguments[1], v, name) for k, v in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return build(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{name} must be {getattr(hint, '__name__', hint)}, not {value!r}")


def _one_of_types(types: tuple[Any, ...], value: Any, name: str) -> Any:
    """`value` as one of several types, of which one may be None."""
    if value is None and NoneType in types:
        return None
    kinds = [kind for kind in types if kind is not NoneType]
    fitting = (kind for kind in kinds if is_dataclass(kind) == isinstance(value, dict))
    return convert(next(fitting, kinds[0]), value, name)


def _one_of(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return choices[choices.index(value)]


def _is_enumeration(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def _range(value: Any, name: str) -> Range:
    """`"5:15"`, `[5, 15]`, or one number for a range of no width."""
    try:
        ends = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else [value]
        low, high = float(ends[0]), float(ends[-1])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a range such as 5:15, not {value!r}") from error
    if len(ends) > 2 or not 0 <= low <= high:
        raise ValueError(f"{name} must be a range such as 5:15, not {value!r}")
    return low, high
