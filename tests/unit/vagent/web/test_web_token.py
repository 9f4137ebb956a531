"""Promises of vagent.web.token: where a tool has its token from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagent.errors import VagentError
from vagent.web.token import VARIABLE, bearer, given_token

TOKEN = b"0123456789abcdef"


def test_where_a_token_comes_from(tmp_path: Path) -> None:
    """The file of the option, else that of the environment, else none."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(TOKEN + b"\n")
    other.write_bytes(TOKEN[::-1])
    environment = {VARIABLE: str(other)}
    assert TOKEN == given_token(str(mine), environment)
    assert TOKEN[::-1] == given_token(None, environment)
    assert None is given_token(None, {})
    assert None is given_token(None, {VARIABLE: ""})


def test_what_cannot_be_used(tmp_path: Path) -> None:
    """An error that names the file and does not repeat it."""
    file = tmp_path / "token"
    with pytest.raises(VagentError, match="No such file"):
        given_token(str(file), {})
    file.write_text("zyzzyva")
    with pytest.raises(VagentError, match="does not hold a token") as caught:
        given_token(str(file), {})
    assert "zyzzyva" not in str(caught.value)


def test_the_header() -> None:
    """RFC 6750; none without a token."""
    assert {"Authorization": "Bearer 0123456789abcdef"} == bearer(TOKEN)
    assert {} == bearer(b"")
