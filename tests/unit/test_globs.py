"""Patterns for paths below a folder."""

from __future__ import annotations

import re
import unicodedata

import pytest

from icav2_copy_batch.client.errors import Invalid
from icav2_copy_batch.client.globs import matcher


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        ("*.bam", ["a.bam", "x/a.bam", "x/y/.bam"], ["a.bam.bai", "a.BAM", "a.bam/b"]),
        ("a?.txt", ["ab.txt", "x/a1.txt"], ["a.txt", "a/.txt", "abc.txt"]),
        ("x/*.txt", ["x/a.txt"], ["x/y/a.txt", "a.txt", "w/x/a.txt"]),
        ("/*.txt", ["a.txt"], ["x/a.txt"]),
        ("**/a.txt", ["a.txt", "x/a.txt", "x/y/a.txt"], ["x/ba.txt"]),
        ("x/**", ["x/a", "x/y/a"], ["x", "w/x/a"]),
        ("x/**/a", ["x/a", "x/y/a", "x/y/z/a"], ["x/b", "xa"]),
        ("**", ["a", "x/a"], []),
        ("logs/", ["logs/a", "x/logs/a", "x/logs/y/a"], ["logs", "x/logs", "mylogs/a"]),
        ("/logs/", ["logs/a", "logs/y/a"], ["x/logs/a"]),
        ("x/logs/", ["x/logs/a"], ["w/x/logs/a"]),
        ("L00?/", ["L001/a", "x/L002/a"], ["L0011/a"]),
        ("[ab].txt", ["a.txt", "x/b.txt"], ["c.txt", "ab.txt"]),
        ("[!ab].txt", ["c.txt"], ["a.txt", "/.txt"]),
        ("[a-c]", ["b"], ["d", "-"]),
        ("[]]", ["]"], ["a"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[!-a]", ["b"], ["a", "-"]),
        ("[+--]", ["+", ",", "-"], ["a", "."]),
        ("[a&&b]", ["a", "&"], ["c"]),
        ("[a||b~~[]", ["a", "|", "~", "["], ["c"]),
        ("[^\\]x", ["^x", "\\x"], ["ax"]),
        ("[ab", ["[ab"], ["a"]),
        ("a.(b)+$", ["a.(b)+$"], ["a.bb"]),
        ("run 42/*", ["run 42/a b"], ["run/42/a"]),
        ("a\n*", ["a\nb"], ["a"]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_pattern_matches(pattern: str, matches: list[str], does_not: list[str]) -> None:
    is_match = matcher([pattern])
    assert [path for path in matches if not is_match(path)] == []
    assert [path for path in does_not if is_match(path)] == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pattern", ["[z-a]", "[]", "[!]", "[a--b]"])
def test_a_set_of_nothing_is_no_pattern(pattern: str) -> None:
    with pytest.raises(Invalid, match=f"'x/{re.escape(pattern)}' is not a valid pattern"):
        matcher([f"x/{pattern}"])


def test_one_of_several_patterns_is_enough_and_none_matches_nothing() -> None:
    assert matcher(["*.txt", "x/"])("x/a.bam")
    assert not matcher([])("a")


def test_a_pattern_in_another_unicode_form_is_the_same() -> None:
    assert matcher([unicodedata.normalize("NFD", "é*")])("élan")
