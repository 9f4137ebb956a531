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
    ],
)
def test_same_path(target: bytes) -> None:
    """Slashes, dots, escapes, queries and absolute targets lead to the same place."""
    assert tree_path(target) == HOSTNAME


@pytest.mark.parametrize(
    "target",
    [b"/", b"//", b"/.", b"/../..", b"/?x", b"/x/..", b"http://h", b"http://h/"],
)
def test_root(target: bytes) -> None:
    """The root is the empty path."""
    assert tree_path(target) == ()


@pytest.mark.parametrize("target", [b"*", b"", b"latest", b"ftp://h/", b"?x"])
def test_no_path(target: bytes) -> None:
    """Targets without a path are told apart from unknown paths."""
    assert tree_path(target) is None


def test_decoded_once_only() -> None:
    """A percent that was itself escaped stays what it is."""
    assert tree_path(b"/%2568ostname") == ("%68ostname",)


@pytest.mark.parametrize("target", [b"/%ff", b"/\xff", b"/%00", b"/%"])
def test_strange_bytes_never_crash(target: bytes) -> None:
    """What is not UTF-8 is a path like any other, which matches nothing."""
    assert len(tree_path(target) or ()) == 1


@given(st.binary())
def test_any_target(tail: bytes) -> None:
    """Any bytes after the slash give a path without empty names or dots."""
    path = tree_path(b"/" + tail)
    assert path is not None
    assert not {"", ".", ".."} & set(path)


def test_values_do_not_show() -> None:
    """repr shows neither headers nor the body."""
    asked = NovaRequest("POST", b"/", {"x-instance-id-signature": b"s3"}, b"secret")
    assert "s3" not in repr(asked).replace("b'/'", "")
    assert "secret" not in repr(asked)


def test_accept() -> None:
    """The Accept header as text, empty where there is none."""
    assert NovaRequest("GET", b"/", {}).accept == ""
    assert NovaRequest("GET", b"/", {"accept": b"a/b"}).accept == "a/b"
