"""The parsers keep their promises: for the corpus of the fuzzer, and for what
hypothesis makes of the words that matter.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import hot
from tests.fuzz.promises import PROMISES

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
FILES = sorted(CORPUS.glob("*/*"))
FROM_THE_KERNEL = [
    file for file in FILES if file.parent.name in ("packet", "netlink", "conntrack")
]

LINES = st.sampled_from(
    [
        *(b"Host: a", b"Host: b:80", b"host:", b"Host: a, b"),
        *(b"Content-Length: 0", b"Content-Length: 3", b"Content-Length: +3"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked"),
        *(b"Connection: close", b"Connection: keep-alive", b"Connection: Host"),
        *(b"X_Instance-ID: a", b"x-tenant_id: b", b"X-Metadata-Provider: c"),
        *(b"X-Forwarded-For: 1.2.3.4", b"Forwarded: for=1", b"Upgrade: h2c"),
        *(b"Expect: 100-continue", b"Accept: */*", b"User-Agent: x", b" fold"),
        *(b"X: a\nY: b", b"X: a\rY", b"X: \0", b"X : a", b": a", b"X", b"X: \x7f"),
    ]
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n\r\n"])
STARTS = st.builds(
    lambda method, target, version: b"%b %b %b" % (method, target, version),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"get", b"TRACE"]),
    st.sampled_from(
        [b"/", b"/a/../b", b"//x%2e", b"http://a/b", b"*", b"/ x", b"/%2f"]
    ),
    st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 "]),
)
STATUS = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 ", b"HTTP/1.1 204", b"HTTP/1.1 100 Continue"]
)
BODIES = st.sampled_from(
    [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1"]
)


def message(starts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Heads of one of these, lines that are good and bad, and a body."""
    lines = st.lists(st.tuples(LINES, ENDS), max_size=6).map(
        lambda made: b"".join(line + end for line, end in made)
    )
    one = st.builds(
        lambda start, end, fields, body: start + end + fields + b"\r\n" + body,
        *(starts, ENDS, lines, BODIES),
    )
    return st.lists(one, min_size=1, max_size=2).map(b"".join)


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_the_corpus_breaks_no_promise(file: Path) -> None:
    """Seeds, and all that a fuzzer ever found."""
    PROMISES[file.parent.name](file.read_bytes())


def test_every_target_has_a_corpus() -> None:
    """And nothing is in the corpus that no target reads."""
    assert set(PROMISES) == {file.parent.name for file in FILES}


@hot
@given(message(STARTS))
def test_requests_of_words_that_matter(data: bytes) -> None:
    """Read whole and byte by byte; accepted means well-formed."""
    PROMISES["requests"](data)


@hot
@given(message(STATUS))
def test_replies_of_words_that_matter(data: bytes) -> None:
    """The same for what an upstream says."""
    PROMISES["reply"](data)


@pytest.mark.parametrize("name", PROMISES)
@hot
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    """Nothing but refusals come of noise."""
    PROMISES[name](data)


@pytest.mark.parametrize("file", FROM_THE_KERNEL, ids=lambda file: file.name)
@hot
@given(st.data())
def test_what_comes_from_the_kernel_with_faults(
    file: Path, data: st.DataObject
) -> None:
    """Bytes of a packet or message changed, added or cut away."""
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(at, min(at + 8, len(content))))
    content[at:end] = data.draw(st.binary(max_size=8))
    PROMISES[file.parent.name](bytes(content))


SEGMENTS = st.sampled_from(
    [
        b"a",
        b".",
        b"..",
        b"%2e",
        b"%2E%2e",
        b"%41",
        b"%c3",
        b"",
        b"%",
        b"%2f",
        b"\\",
        b"?",
    ]
)


@hot
@given(st.lists(SEGMENTS, max_size=8).map(b"/".join), st.booleans())
def test_paths_of_dots_and_escapes(text: bytes, is_absolute: bool) -> None:
    """One reading makes them canonical, or refuses them."""
    PROMISES["path"]((b"http://h/" if is_absolute else b"/") + text)
