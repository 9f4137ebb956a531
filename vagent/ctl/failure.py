"""How a command of vagentctl fails: an error, and the exit code that it means."""

from __future__ import annotations

from vagent.errors import VagentError
from vagent.web.json_client import NEVER_ANSWERED, ApiError

FAILED, USAGE, UNAVAILABLE, NO_PERMISSION, BAD_CONFIG = 1, 2, 69, 77, 78
"""Exit codes beside 0: argparse's 2, the others those of sysexits(3)."""


class CommandError(VagentError):
    """The command cannot do what it was asked; `code` is its exit code."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: VagentError) -> int:
    """UNAVAILABLE if an API of the agent does not answer, NO_PERMISSION if it does not
    let us in, a CommandError's own code, else FAILED.
    """
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, ApiError):
        if error.status == NEVER_ANSWERED:
            return UNAVAILABLE
        if error.status in (401, 403):
            return NO_PERMISSION
    return FAILED
