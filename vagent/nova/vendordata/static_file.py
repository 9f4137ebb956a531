"""The static vendor data of this host: one JSON object in a file.

The file is looked at for each request that shows it (one `stat` call) and read again
when it has changed. A changed file that cannot be used is reported once, and the old
content stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vagent.config.files import read_bounded, reason
from vagent.config.vendordata import MAX_STATIC
from vagent.errors import ConfigError, Problem, VagentError
from vagent.nova.vendordata.answer import TargetError, read_json
from vagent.nova.vendordata.events import StaticFileReloaded
from vagent.observe.event import Emit
from vagent.transport.tls_context import State, state_of


class StaticFile:
    """The content of the file. Raises ConfigError when made of one that is no good."""

    def __init__(self, path: Path | None, emit: Emit) -> None:
        self._path = path
        self._emit = emit
        self._state = _state(path)
        self._content: Mapping[str, Any] = {}
        if path is not None:
            try:
                self._content = read_static(path)
            except VagentError as error:
                raise ConfigError(
                    (Problem(str(path), 0, "vendordata/static-file", str(error)),)
                ) from error

    def content(self) -> Mapping[str, Any]:
        """The object in the file as it is now, or was when last usable."""
        if self._path is not None:
            state = _state(self._path)
            if state != self._state:
                self._state = state
                self._reload(self._path)
        return self._content

    def _reload(self, path: Path) -> None:
        try:
            self._content = read_static(path)
        except VagentError as error:
            self._emit(StaticFileReloaded(f"{path}: {error}"))
        else:
            self._emit(StaticFileReloaded())


def read_static(path: Path) -> dict[str, Any]:
    """The object in the file. Raises VagentError, without the file's name."""
    try:
        content = read_bounded(path, MAX_STATIC).data
    except (OSError, ValueError) as error:
        raise VagentError(f"cannot be read: {reason(error)}") from error
    if len(content) > MAX_STATIC:
        raise VagentError(f"too large; allowed: {MAX_STATIC} bytes")
    value = read_json(content)
    if not isinstance(value, dict):
        kind = json.dumps(value)[:20]
        raise TargetError("not-json", f"got {kind}; allowed: a JSON object")
    return value


def _state(path: Path | None) -> State | None:
    """Changes when the file does; None while it is missing."""
    if path is None:
        return None
    try:
        return state_of((path,))
    except OSError:
        return None
