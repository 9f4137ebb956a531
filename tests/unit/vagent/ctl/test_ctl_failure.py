"""Promises of vagent.ctl.failure: exit codes."""

from __future__ import annotations

import pytest

from vagent.ctl.failure import BAD_CONFIG, CommandError, exit_code
from vagent.errors import StoreError
from vagent.web.json_client import BROKEN, NEVER_ANSWERED, ApiError


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (NEVER_ANSWERED, 69),
        (401, 77),
        (403, 77),
        (400, 1),
        (404, 1),
        (500, 1),
        (BROKEN, 1),
        (503, 1),
    ],
)
def test_an_api_that_refuses(status: int, code: int) -> None:
    """No answer is 69, no permission 77, everything else 1."""
    assert code == exit_code(ApiError("no", status=status))


def test_other_errors() -> None:
    """A command's own code; 1 where it named none, and for an error of another kind."""
    assert 78 == exit_code(CommandError("no", code=BAD_CONFIG))
    assert 1 == exit_code(CommandError("no"))
    assert 1 == exit_code(StoreError("no"))
