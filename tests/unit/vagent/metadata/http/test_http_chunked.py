"""The chunked coding: whole, in every cut, with a tail; and every way to break it."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import hot
from vagent.errors import WireError
from vagent.metadata.http.chunked import Chunked
from vagent.metadata.limits import MAX_CHUNK_LINE, MAX_TRAILERS

CODED = b'3\r\nabc\r\n2;x="y z";q\r\nde\r\n0\r\nTrailer: t\r\n\r\n'


def test_whole_with_a_tail() -> None:
    """Content, and what follows the body untouched."""
    chunked = Chunked()
    assert b"abcde" == chunked.feed(CODED + b"GET /")
    assert b"GET /" == chunked.rest


def test_the_tail_is_not_read() -> None:
    """Though it may look like lines of the coding."""
    chunked = Chunked()
    tail = b"no trailer\r\n\r\n0\r\n"
    assert b"abcde" == chunked.feed(CODED + tail)
    assert tail == chunked.rest


@hot
@given(st.lists(st.integers(0, len(CODED)), max_size=8))
def test_any_cut(cuts: list[int]) -> None:
    """Where the network cuts does not matter."""
    chunked = Chunked()
    edges = [0, *sorted(cuts), len(CODED)]
    pieces = [CODED[a:b] for a, b in itertools.pairwise(edges)]
    assert b"abcde" == b"".join(chunked.feed(piece) for piece in pieces)
    assert b"" == chunked.rest


def test_no_prefix_is_complete() -> None:
    """It ends with its last byte and not before."""
    for end in range(len(CODED)):
        chunked = Chunked()
        chunked.feed(CODED[:end])
        assert chunked.rest is None


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1 \r\n",
        b" 1\r\n",
        b"123456789\r\n",
        b"1;\r\n",
        b"1;=a\r\n",
        b'1;a="b\r\n',
        b"1\na\n",
        b"1\r\nabc",
        b"1\r\na\n\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\nContent-Length: 1\r\n\r\n",
        b"0\r\nHOST: a\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nA: b\x01\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"1" * (MAX_CHUNK_LINE + 1),
        b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1),
        b"0\r\nA: " + b"b" * MAX_TRAILERS,
    ],
)
def test_broken_coding(data: bytes) -> None:
    """Refused at once, not waited for."""
    with pytest.raises(WireError):
        Chunked().feed(data)


@pytest.mark.parametrize(
    ("size", "is_refused"), [(255, False), (256, False), (257, True)]
)
def test_size_line_ceiling(size: int, is_refused: bool) -> None:
    """A size line of 256 bytes, not 257."""
    line = b"1;" + b"a" * (size - 2) + b"\r\n"
    if is_refused:
        with pytest.raises(WireError):
            Chunked().feed(line)
    else:
        assert b"x" == Chunked().feed(line + b"x")


@pytest.mark.parametrize(
    ("surplus", "is_refused"), [(-1, False), (0, False), (1, True)]
)
def test_all_trailers_together_have_a_ceiling(
    surplus: int, *, is_refused: bool
) -> None:
    """n-1, n, n+1 bytes of them, line ends included."""
    last = b"B: " + b"c" * (MAX_TRAILERS + surplus - 2 * len(b"A: b\r\n") - 5)
    lines = b"A: b\r\n" * 2 + last + b"\r\n"
    assert MAX_TRAILERS + surplus == len(lines)
    chunked = Chunked()
    if is_refused:
        with pytest.raises(WireError, match="trailers are too long"):
            chunked.feed(b"0\r\n" + lines + b"\r\n")
    else:
        chunked.feed(b"0\r\n" + lines + b"\r\n")
        assert b"" == chunked.rest


@pytest.mark.parametrize(
    ("size", "is_refused"), [(255, False), (256, False), (257, True)]
)
def test_a_size_line_that_does_not_end(size: int, *, is_refused: bool) -> None:
    """It is waited for up to its own 256 bytes, wherever in the body it begins."""
    chunked = Chunked()
    begun = b"c8\r\n" + b"x" * 200 + b"\r\n1;" + b"a" * (size - 2)
    if is_refused:
        with pytest.raises(WireError, match="too long"):
            chunked.feed(begun)
    else:
        assert b"x" * 200 == chunked.feed(begun)


def test_a_trailer_may_be_longer_than_a_size_line() -> None:
    """It has the ceiling of all trailers."""
    chunked = Chunked()
    chunked.feed(b"0\r\nA: " + b"b" * (2 * MAX_CHUNK_LINE) + b"\r\n\r\n")
    assert b"" == chunked.rest


@hot
@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """Content, patience or WireError; nothing else."""
    with contextlib.suppress(WireError):
        Chunked().feed(data)


@pytest.mark.parametrize(
    "extension",
    [
        b" ; a",
        b"\t;\ta = b",
        b';a="b c" ; d',
        b';a= "quoted \\" and \\\\"',
    ],
)
def test_blanks_and_escapes_in_extensions(extension: bytes) -> None:
    """RFC 9112, 7.1.1: they are read, and nobody needs to know the extension."""
    one = Chunked()
    assert b"hello" == one.feed(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
    assert b"" == one.rest


@pytest.mark.parametrize("line", [b"5 ", b"5;", b"5; =a", b'5;a="b', b'5;a="b\\"'])
def test_what_is_no_extension(line: bytes) -> None:
    """Blanks alone, or a part that is missing."""
    with pytest.raises(WireError):
        Chunked().feed(line + b"\r\nhello\r\n")
