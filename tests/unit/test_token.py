"""A secret as somebody stored it: the token in it, or an error that does not quote it."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icav2_copy_batch.domain.token import UnusableSecret, bare_token

TOKEN = "eyJhbGciOi.eyJzdWIi-Mn0_.c2ln~+/aXQ=="

PLAIN = {
    "bare": TOKEN,
    "with a line break": f"{TOKEN}\n",
    "with white space": f" \t\r\n{TOKEN} \r\n",
    "with a byte order mark": f"\ufeff{TOKEN}",
    "in double quotes": f'"{TOKEN}"',
    "in single quotes": f"'{TOKEN}'",
    "as a JSON string": json.dumps(TOKEN + "\n"),
    "as the header": f"Bearer {TOKEN}",
    "as a JSON object": json.dumps({"token": TOKEN}),
    "as a pretty JSON object": json.dumps({"jwt": TOKEN}, indent=1) + "\n",
    "as the only value of a JSON object": json.dumps({"ICAv2JWTKey-copy": TOKEN}),
    "as one value of several": json.dumps({"access_token": TOKEN, "expires_in": 3600, "token_type": "bearer"}),
    "in capitals": json.dumps({"JWT": TOKEN, "user": "service"}),
    "twice": json.dumps({"token": TOKEN, "jwt": TOKEN}),
    "in several wrappings": json.dumps({"token": f'"Bearer {TOKEN}"'}),
}

UNUSABLE = {
    "": "is empty",
    " \n": "is empty",
    '""': "is empty",
    '{"token": ""}': "is empty",
    f"{TOKEN}\nrotated 2026-01-01": "has 2 lines of text",
    f"{TOKEN}\n{TOKEN}\n{TOKEN}": "has 3 lines of text",
    f"{TOKEN} {TOKEN}": "has characters that a token cannot have",
    f"é{TOKEN}": "has characters that a token cannot have",
    f"{TOKEN}\x00": "has characters that a token cannot have",
    f'"{TOKEN}': "has characters that a token cannot have",
    "'": "has characters that a token cannot have",
    json.dumps([TOKEN]): "is a JSON list",
    json.dumps({}): "is a JSON object with 0 values, of which 0 could be the token",
    json.dumps({"a": TOKEN, "b": TOKEN + "x"}): "is a JSON object with 2 values, of which 2 could be the token",
    json.dumps({"token": TOKEN, "jwt": TOKEN + "x"}): "is a JSON object with 2 values, of which 2 could be the token",
    json.dumps({"user": "service", "port": 1}): "is a JSON object with 2 values, of which 1 could be the token",
    json.dumps({"token": {"token": TOKEN}}): "is a JSON object with 1 values, of which 0 could be the token",
    '"' * 3: "has characters that a token cannot have",
    json.dumps(json.dumps(json.dumps(json.dumps(json.dumps(TOKEN))))): "has too many layers around the token",
    "[" * 100_000: "has characters that a token cannot have",
}


@pytest.mark.parametrize("secret", PLAIN.values(), ids=PLAIN)
def test_a_token_is_found_in_what_is_plainly_around_it(secret: str) -> None:
    assert bare_token(secret) == TOKEN


@pytest.mark.parametrize(("secret", "said"), UNUSABLE.items(), ids=UNUSABLE.values())
def test_any_other_secret_is_an_error_that_says_of_what_kind_it_is_and_what_to_store(secret: str, said: str) -> None:
    with pytest.raises(UnusableSecret, match=said) as raised:
        bare_token(secret)
    assert "store the bare token" in str(raised.value)


@given(
    st.text()
    | st.text(alphabet="\"{}[]:, abc\n'").map(lambda text: f"{text}{TOKEN}{text}")
    | st.dictionaries(st.text(), st.text()).map(json.dumps)
)
def test_whatever_the_secret_is_no_error_quotes_it_and_no_token_breaks_a_header(secret: str) -> None:
    found = attempt(secret)
    if isinstance(found, UnusableSecret):
        assert TOKEN not in "".join(traceback.format_exception(found))
        assert (found.__cause__, found.__context__) == (None, None)
    else:
        assert found.isascii()
        assert found.isprintable()
        assert " " not in found
        assert bare_token(found) == found


def attempt(secret: str) -> str | UnusableSecret:
    try:
        return bare_token(secret)
    except UnusableSecret as error:
        return error
