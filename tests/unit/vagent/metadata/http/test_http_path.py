"""Targets become canonical once, and tricks are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.errors import WireError
from vagent.metadata.http.path import canonical, split_target


@pytest.mark.parametrize(
    ("given_path", "expected"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"/latest/meta-data/", b"/latest/meta-data/"),
        (b"//latest///meta-data", b"/latest/meta-data"),
        (b"/a/./b/../c", b"/a/c"),
        (b"/a/b/..", b"/a/"),
        (b"/a/../b", b"/b"),
        (b"/a/b/c/../d", b"/a/b/d"),
        (b"/a/b/../../c", b"/c"),
        (b"/a/b/c/../..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/../../etc", b"/etc"),
        (b"/%2e%2E/a", b"/a"),
        (b"/%76endor_data2.json", b"/vendor_data2.json"),
        (b"/%252f", b"/%252f"),
        (b"/a%3ab%c3%a9", b"/a%3Ab%C3%A9"),
        (b'/a"b<c>', b"/a%22b%3Cc%3E"),
        (b"/.hidden/..x", b"/.hidden/..x"),
    ],
)
def test_canonical(given_path: bytes, expected: Any) -> None:
    """Dot segments, slashes and escapes have one form."""
    assert expected == canonical(given_path)


BROKEN = "path has a broken percent escape"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a%2fb", "path has the escape %2f"),
        (b"/a%2Fb", "path has the escape %2f"),
        (b"/a%5cb", "path has the escape %5c"),
        (b"/a%00", "path has the escape %00"),
        (b"/a\\b", "path has a backslash"),
        (b"/a%", BROKEN),
        (b"/a%4", BROKEN),
        (b"/%4z", BROKEN),
        (b"/%zz", BROKEN),
    ],
)
def test_refused_paths(path: bytes, expected: str) -> None:
    """What servers read in two ways is refused, and the trace says what it was."""
    with pytest.raises(WireError) as caught:
        canonical(path)
    assert expected == str(caught.value)


@given(st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"%2e", b"%41", b"?", b"~"])))
def test_canonical_is_stable(parts: list[bytes]) -> None:
    """Canonical of canonical is itself, and no dot segment is left."""
    path = canonical(b"/" + b"".join(part for part in parts if part != b"?"))
    assert path == canonical(path)
    assert not {b".", b".."} & set(path.split(b"/"))
    assert b"//" not in path


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?b=c?d", (b"/a", b"?b=c?d")),
        (b"http://169.254.169.254/a", (b"/a", b"")),
        (b"HTTP://host:80", (b"/", b"")),
        (b"http://host?x", (b"/", b"?x")),
    ],
)
def test_origin_and_absolute_form(target: bytes, expected: Any) -> None:
    """Both forms that a client may use; the query is kept as it is."""
    assert expected == split_target(target)


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"host:80",
        b"foo/bar",
        b"https://a/",
        b"/a#b",
        b"/\xff",
        b"/\x7f",
        b"http:///a",
    ],
)
def test_other_forms_are_refused(target: bytes) -> None:
    """Authority, asterisk and relative form, fragments, bytes outside ASCII."""
    with pytest.raises(WireError):
        split_target(target)
