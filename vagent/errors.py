"""One root error and its leaves. A leaf says whose fault it is, its message the rest.

A message has four parts wherever they exist: where, what, got, allowed.
"""

from __future__ import annotations

from dataclasses import dataclass


class VagentError(Exception):
    """Root of every error that this project raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file.

    `str()` is the operator's line: `file:line: path: what`.
    """

    file: str
    line: int
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.what}"


class ConfigError(VagentError):
    """The operator's configuration is wrong; `problems` holds every fault found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class WireError(VagentError):
    """Bytes or JSON from outside break the rules of their format."""


class StoreError(VagentError):
    """The configuration store refused or failed."""


class ConflictError(StoreError):
    """Somebody else changed the entry first (compare-and-swap failed)."""


class LimitError(VagentError):
    """A named ceiling is reached; the message says which, and its value."""


class KernelError(VagentError):
    """The kernel, or a tool that talks to it, refused."""


class UpstreamError(VagentError):
    """The upstream failed; `status` is what the guest is told (502, 503 or 504)."""

    def __init__(self, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.status = status
