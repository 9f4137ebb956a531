"""Targets become paths as Nova's front reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.nova.request import NovaRequest, tree_path

HOSTNAME = ("latest", "meta-data", "hostname")


@pytest.mark.parametrize(
    "target",
    [
        b"/latest/meta-data/hostname",
        b"//latest//meta-data/hostname//",
        b"/latest/./meta-data/../meta-data/hostname",
        b"/../latest/meta-data/hostname",
        b"/latest%2Fmeta-data%2fhostname",
        b"/latest/meta-data/%68ostname?x=/y#z",
        b"/latest/meta-data/hostname#frag?",
        b"http://evil.example/latest/meta-data/hostname",
        b"HTTPS://evil.example:1/latest/meta-data/hostname",
        b"ftp://u:p@h:x/latest/meta-data/hostname?x",
        b"f+1.-://[::1]/latest/meta-data/hostname#x",
        b"http:///latest/meta-data/hostname",
    ],
)
def test_same_path(target: bytes) -> None:
    """Slashes, dots, escapes, queries and absolute targets lead to the same place."""
    assert tree_path(target) == HOSTNAME


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/.",
        b"/../..",
        b"/?x",
        b"/x/..",
        b"http://h",
        b"ftp://h/",
        b"ftp://",
    ],
)
def test_root(target: bytes) -> None:
    """The root is the empty path."""
    assert tree_path(target) == ()


@pytest.mark.parametrize(
    "target",
    [b"*", b"", b"latest", b"?x", b"h:80", b"http:/x", b"1ftp://h/", b"http://[h/x"],
)
def test_no_path(target: bytes) -> None:
    """Targets without a path are told apart from unknown paths."""
    assert tree_path(target) is None


def test_decoded_once_only() -> None:
    """A percent that was itself escaped stays what it is."""
    assert tree_path(b"/%2568ostname") == ("%68ostname",)


@pytest.mark.parametrize("byte", [0, 9, 31, 32, 127, 128, 160, 255])
def test_bytes_that_no_target_has(byte: int) -> None:
    """Nova's front refuses them, in the query as well (RFC 9112 §3.2)."""
    assert tree_path(b"/latest/%c" % byte) is None
    assert tree_path(b"/latest?%c" % byte) is None
    assert tree_path(b"/latest#%c" % byte) is None


@pytest.mark.parametrize("target", [b"/%ff", b"/%00", b"/%"])
def test_strange_bytes_never_crash(target: bytes) -> None:
    """What is not UTF-8 is a path like any other, which matches nothing."""
    assert len(tree_path(target) or ()) == 1


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_any_target(tail: str) -> None:
    """Whatever stands after the slash is a path without empty names or dots."""
    path = tree_path(b"/" + tail.encode())
    assert path is not None
    assert not {"", ".", ".."} & set(path)


def test_values_do_not_show() -> None:
    """repr shows neither headers nor the body."""
    asked = NovaRequest("POST", b"/", {"x-instance-id-signature": b"s3"}, b"secret")
    assert "s3" not in repr(asked).replace("b'/'", "")
    assert "secret" not in repr(asked)


@pytest.mark.parametrize(
    ("method", "taken"),
    [
        *((method, True) for method in ("GET", "M-SEARCH", "A.$_1", "X" * 20)),
        *((method, False) for method in ("get", "GeT", "AB", "X" * 21, "G@T", "GET\n")),
    ],
)
def test_methods_of_nova_s_front(method: str, taken: bool) -> None:
    """Capitals, digits, and a few marks; three to twenty."""
    assert taken == NovaRequest(method, b"/", {}).has_method


def test_query() -> None:
    """Between the first `?` and a fragment, as it is."""
    assert "a=%41?&b" == NovaRequest("GET", b"/x?a=%41?&b#c?d", {}).query
    assert "" == NovaRequest("GET", b"/x", {}).query


def test_accept() -> None:
    """The Accept header as text, empty where there is none."""
    assert NovaRequest("GET", b"/", {}).accept == ""
    assert NovaRequest("GET", b"/", {"accept": b"a/b"}).accept == "a/b"
