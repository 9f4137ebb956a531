"""Records which files of the product a piece of work runs through, and in which order.

The interpreter itself reports every call and return (`sys.setprofile`), so nothing is
guessed from imports. Code of libraries, and methods that Python generates for
dataclasses, belong to no file of the product and change nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

PRODUCT = ("vagent", "introspect", "provision")
"""Only files of these packages count."""

_ROOT = Path(__file__).parents[2]


class Footsteps:
    """The files that code runs in between `start` and `stop`, in order.

    A stay begins whenever the code that runs is of another file than before: by a call,
    or because a call returned. Many stays in few files mean that a reader who follows
    the code goes back and forth between them.
    """

    def __init__(self) -> None:
        self.stays: list[str] = []
        self._names: dict[str, str] = {}

    @property
    def files(self) -> int:
        """How many files were entered."""
        return len(set(self.stays))

    @property
    def returns(self) -> int:
        """How many stays were in a file that had been entered before."""
        return len(self.stays) - self.files

    def start(self) -> None:
        """Record from here on, in this thread."""
        sys.setprofile(self._step)

    def stop(self) -> None:
        """Record no more. The walk ends where this is called, however deep that is."""
        sys.setprofile(None)

    def _step(self, frame: FrameType, what: str, _argument: object) -> None:
        if what == "call":
            name = self._file_of(frame)
            if name:
                self._enter(name)
        elif what == "return" and self._file_of(frame):
            self._return_from(frame)

    def _return_from(self, frame: FrameType) -> None:
        """The caller goes on, or, past library code, the nearest of the product."""
        caller = frame.f_back
        while caller is not None:
            name = self._file_of(caller)
            if name:
                self._enter(name)
                return
            caller = caller.f_back

    def _enter(self, name: str) -> None:
        if not self.stays or self.stays[-1] != name:
            self.stays.append(name)

    def _file_of(self, frame: FrameType) -> str:
        """The frame's file, relative to the checkout, or "" where it does not count."""
        path = frame.f_code.co_filename
        name = self._names.get(path)
        if name is None:
            name = self._names[path] = _name_of(Path(path))
        return name


def _name_of(path: Path) -> str:
    if not path.is_relative_to(_ROOT):
        return ""
    relative = path.relative_to(_ROOT)
    return str(relative) if relative.parts[0] in PRODUCT else ""
