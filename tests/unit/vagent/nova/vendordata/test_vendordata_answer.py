"""What replies of targets mean, and where they end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.nova.vendordata.answer import (
    MAX_ANSWER,
    MAX_DEPTH,
    MAX_VALUES,
    Response,
    TargetError,
    check_bounds,
    read_answer,
    read_json,
)


def read(status: int = 200, content: bytes = b"{}", fields: bytes = b"") -> Any:
    return read_answer(Response(status, fields, content))


def failure(status: int = 200, content: bytes = b"{}", fields: bytes = b"") -> str:
    with pytest.raises(TargetError) as caught:
        read(status, content, fields)
    return f"{caught.value.kind}: {caught.value}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1, "b": {"c": [1, 2]}}', {"a": 1, "b": {"c": [1, 2]}}),
        (b"[1, 2]", [1, 2]),
        (b'"hi"', "hi"),
        (b"null", None),
        (b"", {}),
        (b" \r\n", {}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"x": "\xff\xfe"}', {"x": "\ufffd\ufffd"}),
        (b'"\\ud800"', "\ud800"),
    ],
)
def test_good_answers(content: bytes, expected: Any) -> None:
    """Any JSON value, as Nova takes it: an empty one is {}, odd bytes are replaced."""
    assert expected == read(content=content)
    assert expected == read(content=content, fields=b"Content-Type: text/plain\r\n")


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_good_statuses(status: int) -> None:
    """Every 2xx is one."""
    assert {} == read(status)
    assert {} == read(204, b"")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 502, 503, 504])
def test_bad_statuses(status: int) -> None:
    """Whatever their body says."""
    assert f"status: status {status}" == failure(status)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_named_and_not_followed(status: int) -> None:
    """The message says where it would go, whole and escaped."""
    fields = b"Server: x\r\nlocation:  http://elsewhere/\xff \r\n"
    assert failure(status, fields=fields) == (
        f"redirect: status {status}: redirects to 'http://elsewhere/\\xff ',"
        " which is not followed"
    )
    assert "to nowhere," in failure(status)


@pytest.mark.parametrize(
    "content",
    [b"{not json", b"<html>", b"NaN", b"[Infinity]", b"1e999", b'{"a":1}x', b"'a'"],
)
def test_what_is_not_json(content: bytes) -> None:
    """Numbers that JSON does not have included: others could not read the document."""
    assert failure(content=content).startswith("not-json: ")


def test_a_coding_that_was_not_asked_for() -> None:
    """The bytes would not be what they seem."""
    assert "malformed" in failure(fields=b"Content-Encoding: gzip\r\n")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting(opening: bytes) -> None:
    """32 levels are good, 33 are not, and 100,000 are no crash."""
    closing = b"]" if opening == b"[" else b"}"

    def nested(levels: int) -> bytes:
        return opening * (levels - 1) + b"1" + closing * (levels - 1)

    assert read(content=nested(MAX_DEPTH)) is not None
    assert "nested more than 32 levels" in failure(content=nested(MAX_DEPTH + 1))
    assert "too-large" in failure(content=nested(100_000))


def test_number_of_values() -> None:
    """Those inside of others count."""
    assert read(content=json.dumps([1] * (MAX_VALUES - 1)).encode())
    assert "too-large" in failure(content=json.dumps([1] * MAX_VALUES).encode())
    inner = {"a": [[1] * 100] * 200}
    with pytest.raises(TargetError, match="16384 values"):
        check_bounds(inner)


def test_size_is_that_of_the_document() -> None:
    """Letters that six characters stand for in the guest's document count as six."""
    letters = "é" * (MAX_ANSWER // 6 + 1)
    assert "too-large" in failure(content=json.dumps(letters).encode())
    assert "too-large" in failure(content=f'"{letters}"'.encode())
    fits = letters[1:]
    assert fits == read(content=f'"{fits}"'.encode())


def test_a_number_of_many_digits() -> None:
    """Python refuses to read it; that is no crash."""
    assert "not-json" in failure(content=b"1" * 10_000)


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    """They are a value that can be written down again, or a TargetError."""
    try:
        value = read_json(content)
    except TargetError as error:
        assert error.kind in ("not-json", "too-large")  # noqa: PT017 - either is right
    else:
        json.dumps(value, allow_nan=False)
