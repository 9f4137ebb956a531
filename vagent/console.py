"""What the commands do alike on a terminal or in a pipe."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

UNREAD = 1
"""Exit code when the reader of the output ended early."""

Parameters = ParamSpec("Parameters")


def quiet_when_unread(main: Callable[Parameters, int]) -> Callable[Parameters, int]:
    """End without a traceback when the reader of the output has ended (`| head`)."""

    @functools.wraps(main)
    def quiet(*arguments: Parameters.args, **named: Parameters.kwargs) -> int:
        try:
            code = main(*arguments, **named)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes again at exit, which must not fail as well.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return UNREAD
        return code

    return quiet
