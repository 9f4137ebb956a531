"""A probe in the place of a guest, for `vagentctl explain`: its frames go through the
program at the guest's own tap. Beside the agent, which knows nothing of it, by the maps
and programs that it has pinned.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple, Self

from vagent.datapath.tap import layout
from vagent.datapath.tap.attach import IngressHook, Program
from vagent.datapath.tap.entries import Way
from vagent.datapath.tap.kernel import BPF_FILES, PROGRAMS_AT_TAPS
from vagent.datapath.tap.layout import Guest, GuestPlace, Refused, TapProbe
from vagent.datapath.tap.probe_up import ProbePath, probe_up
from vagent.errors import KernelError
from vagent.kernel import bpf, tc
from vagent.kernel.bpf import BpfMap

MAX_MARK = 0x7FFFFFFF
_NAMES = ("guest", "refused", "probe")
_HANDLE, _FILTER = 1, "explain"


class SeenAtTaps(NamedTuple):
    """What the programs have counted: for registered tap, VLAN and MAC address, and for
    places from which frames were refused.
    """

    guests: tuple[tuple[Way, Guest], ...]
    refused: tuple[tuple[GuestPlace, Refused], ...]


class TapPrograms:
    """The pinned maps and programs of one data path; a context manager. Its methods may
    raise KernelError, and so does opening it where an agent of this version has none.
    """

    def __init__(
        self, name: str, hook: Callable[[], IngressHook], files: Path = BPF_FILES
    ) -> None:
        self._folder = files / name
        self._hook = hook
        self._maps: dict[str, BpfMap] = {}

    def __enter__(self) -> Self:
        try:
            for name in _NAMES:
                self._maps[name] = self._open_map(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for each in self._maps.values():
            each.close()
        self._maps = {}

    def seen(self) -> SeenAtTaps:
        """What was counted until now."""
        decode = layout.decode_guest_key
        return SeenAtTaps(
            tuple(
                (Way(*decode(key)), layout.decode_guest(value))
                for key, value in self._maps["guest"].elements()
            ),
            tuple(
                (layout.decode_place(key), layout.decode_refused(value))
                for key, value in self._maps["refused"].elements()
            ),
        )

    def is_at(self, ifindex: int) -> bool:
        """Does the agent's program run at this interface?"""
        for path in self._folder.glob(PROGRAMS_AT_TAPS):
            descriptor = bpf.open_pinned(path)
            try:
                if self._hook().has(ifindex, Program.of(descriptor)):
                    return True
            finally:
                os.close(descriptor)
        return False

    def new_mark(self) -> int:
        """A mark that no frame has, as nobody can guess it. What a probe that was
        killed has left, whose interface is gone, is taken away.
        """
        there = {ifindex for ifindex, _ in socket.if_nameindex()}
        for key, value in list(self._maps["probe"].elements()):
            if layout.decode_probe(value).tap not in there:
                self._maps["probe"].delete(key)
        return secrets.randbelow(MAX_MARK) + 1

    def aim(self, mark: int, identity: IPv4Address, ifindex: int) -> None:
        """From now on frames with this mark are a probe's, which has this identity, and
        this interface for answers in place.
        """
        value = layout.encode_probe(TapProbe(identity, ifindex))
        self._maps["probe"].write(layout.encode_number(mark), value)

    def outcome(self, mark: int) -> TapProbe | None:
        """What became of the probe's frames."""
        value = self._maps["probe"].read(layout.encode_number(mark))
        return None if value is None else layout.decode_probe(value)

    def end(self, mark: int) -> None:
        """No frame is the probe's any more."""
        self._maps["probe"].delete(layout.encode_number(mark))

    def _open_map(self, name: str) -> BpfMap:
        path = self._folder / f"{name}_{layout.VERSION}"
        if not path.exists():
            raise KernelError(
                f"{path} is not there: the agent that runs is of another version, or"
                " its data path is not loaded"
            )
        form = layout.MAPS[name]
        return BpfMap(
            form.kind, key=form.key, value=form.value, entries=form.entries, pinned=path
        )


def send_through(path: ProbePath, ifindex: int) -> None:
    """Put what the probe's interface receives into a tap. The agent has attached its
    program there by now; of filters with one preference the latest comes first. Goes
    with the interface. Raises KernelError.
    """
    program = bpf.load(probe_up(path))
    try:
        tc.attach(ifindex, program, handle=_HANDLE, name=_FILTER, is_first=True)
    finally:
        os.close(program)
    first = next(tc.filters(ifindex), None)
    if first is None or first.name != _FILTER:
        raise KernelError("another filter comes first at the probe's interface")
