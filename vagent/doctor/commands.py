"""Runs a program of the host and keeps its output."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
DEADLINE = 15.0
"""Seconds that a program may take: listing the rules of 5,000 ports takes about one."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a program printed. `ok` is false if it failed or is not installed."""

    ok: bool
    out: str
    error: str


def there(program: str) -> bool:
    """Whether the program is installed."""
    return shutil.which(program, path=PATH) is not None


def ask(argv: Sequence[str], text: str = "") -> Said:
    """Run a program with `text` as its standard input. Never raises."""
    program = shutil.which(argv[0], path=PATH)
    if program is None:
        return Said(ok=False, out="", error=f"{argv[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE,
            check=False,
            env={"LC_ALL": "C", "PATH": PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Said(ok=False, out="", error=str(error))
    said = " ".join(done.stderr.split())
    return Said(ok=done.returncode == 0, out=done.stdout, error=said)
