"""Where what is written of a settled copy lies in the manifest bucket: the result, and its report beside it."""

from __future__ import annotations

RESULT, TABLE, PAGE = "json", "csv", "html"


def key_of(copy_id: str, form: str = RESULT) -> str:
    """The key of a copy's result, of its table of files, or of its page."""
    return f"results/{copy_id}.{form}"


def beside(result_uri: str, form: str) -> str:
    """The URI of the table or the page of the copy that has this result."""
    return f"{result_uri.removesuffix(RESULT)}{form}"
