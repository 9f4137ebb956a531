"""What the tap programs ask of the kernel: the interface, and Linux behind it.

Programs and maps are pinned below a folder of a bpf file system, so they outlive the
agent: the next one adopts the maps, with what they hold and have counted, and a program
whose text is the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from vagent.datapath.tap import layout
from vagent.datapath.tap.attach import IngressHook, Program
from vagent.datapath.tap.entries import KEPT, Maps, Way
from vagent.datapath.tap.from_tap import from_tap
from vagent.datapath.tap.layout import (
    MAPS,
    Constants,
    DropReason,
    Guest,
    GuestPlace,
    MapForm,
    MapNumbers,
    Refused,
)
from vagent.datapath.tap.to_tap import to_tap
from vagent.errors import KernelError
from vagent.kernel import bpf
from vagent.kernel.bpf import BpfMap

BPF_FILES = Path("/sys/fs/bpf")
"""Where a bpf file system usually is (systemd mounts it)."""
PROGRAMS_AT_TAPS = "from_tap_*"
"""Names under which the programs for taps are pinned, that of now and former ones."""
_MAGIC = 0xCAFE4A11


class _Kind(StrEnum):
    """Our programs: at the taps, at the guests' side of the veth pair, and the fast
    path's at interfaces of the fabric.
    """

    FROM_TAP = "from_tap"
    TO_TAP = "to_tap"
    AT_FABRIC = "at_fabric"


class TapKernel(Protocol):
    """Every method may raise KernelError."""

    def open(self, constants: Constants) -> None:
        """Load the programs, or adopt them and their maps."""

    def close(self) -> None:
        """Leave everything as it is."""

    def remove(self) -> int:
        """Take programs and maps away; at how many interfaces programs were."""

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Write an element of a map."""

    def get(self, name: str, key: bytes) -> bytes | None:
        """The value of an element, None where there is none."""

    def erase(self, name: str, key: bytes) -> None:
        """Remove an element of a map, if it is there."""

    def held(self) -> Maps:
        """What the maps of `entries.KEPT` hold."""

    def attach(self, ifindex: int) -> None:
        """Run the program for taps at this interface, unless it does."""

    def detach(self, ifindex: int) -> None:
        """Take it away from an interface, which may be gone."""

    def has(self, ifindex: int) -> bool:
        """Does it run there?"""

    def attached(self) -> set[int]:
        """The interfaces at which it runs, or a former one of an earlier version."""

    def forget_former(self) -> None:
        """Every tap has the program of now: let go of what earlier versions pinned."""

    def attach_guest_side(self) -> None:
        """Run the other program at the guests' side, unless it does."""

    def has_guest_side(self) -> bool:
        """Does the other program run at the guests' side?"""

    def drops(self) -> dict[str, int]:
        """Frames that were dropped since the maps were made, by DropReason's word."""


class LinuxTapKernel:
    """The kernel of this host. `name` is that of the data path, and of the folder.

    `more` are maps beside those of the layout, and `fabric` makes the fast path's
    program for the fabric's interfaces; both only where the fast path is on.
    """

    def __init__(
        self,
        *,
        name: str,
        hook: Callable[[], IngressHook],
        more: Mapping[str, MapForm] | None = None,
        fabric: Callable[[MapNumbers], bytes] | None = None,
    ) -> None:
        self._folder = BPF_FILES / name
        self._make_hook = hook
        self._forms = {**MAPS, **(more or {})}
        self._fabric = fabric
        self._hook: IngressHook | None = None
        self.maps: dict[str, BpfMap] = {}
        self._programs: dict[_Kind, Program] = {}
        self._former: dict[_Kind, list[Program]] = {kind: [] for kind in _Kind}
        self._kept: set[str] = set()
        self._guest_side = 0
        self._past = [0] * layout.REASONS

    def open(self, constants: Constants) -> None:
        _need_bpf_files(BPF_FILES)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._hook = self._make_hook()
        for name, form in self._forms.items():
            pinned = f"{name}_{layout.VERSION}"
            self._kept.add(pinned)
            self.maps[name] = BpfMap(
                form.kind,
                key=form.key,
                value=form.value,
                entries=form.entries,
                is_preallocated=form.is_preallocated,
                name=name,
                pinned=self._folder / pinned,
            )
        # In the text descriptors stand for maps; they differ from start to start. The
        # kernel's numbers of the maps do not, and tell those of now from former ones.
        maps = {name: each.descriptor for name, each in self.maps.items()}
        same = {name: bpf.number_of(each) for name, each in maps.items()}
        for kind, text in self._texts(constants).items():
            made = hashlib.sha256(text(MapNumbers(**same))).hexdigest()[:16]
            self._load(kind, made, partial(text, MapNumbers(**maps)))
        self._find_former()
        self._guest_side = constants.guest_side

    def close(self) -> None:
        for each in self.maps.values():
            each.close()
        for kind in _Kind:
            for program in self._ours(kind):
                os.close(program.descriptor)
        self.maps, self._programs = {}, {}
        self._former = {kind: [] for kind in _Kind}

    def remove(self) -> int:
        if not self._folder.is_dir():
            return 0
        self._hook = self._hook or self._make_hook()
        self._find_former()
        count = sum(map(self._detach_all, _Kind))
        for path in list(self._folder.iterdir()):
            path.unlink()
        self._folder.rmdir()
        return count

    def forget_former(self) -> None:
        self._detach_all(_Kind.AT_FABRIC, former=True)
        for path in list(self._folder.iterdir()):
            if path.name not in self._kept:
                path.unlink()

    def put(self, name: str, key: bytes, value: bytes) -> None:
        self.maps[name].write(key, value)

    def get(self, name: str, key: bytes) -> bytes | None:
        return self.maps[name].read(key)

    def erase(self, name: str, key: bytes) -> None:
        at = _COUNTERS.get(name)
        value = None if at is None else self.maps[name].read(key)
        if value is not None:
            self._add(self._past, layout.decode_drops(value[at:]))
        self.maps[name].delete(key)

    def held(self) -> Maps:
        return {name: dict(self.maps[name].elements()) for name in KEPT}

    def attach(self, ifindex: int) -> None:
        self._attach(ifindex, _Kind.FROM_TAP)

    def detach(self, ifindex: int) -> None:
        self._at().detach(ifindex, self._ours(_Kind.FROM_TAP))

    def attach_fabric(self, ifindex: int) -> None:
        """Run the fast path's program at an interface of the fabric."""
        self._attach(ifindex, _Kind.AT_FABRIC)

    def detach_fabric(self) -> int:
        """Take the fast path's programs away; at how many interfaces they were."""
        return self._detach_all(_Kind.AT_FABRIC)

    def attached(self) -> set[int]:
        return self._where(self._ours(_Kind.FROM_TAP))

    def has(self, ifindex: int) -> bool:
        return self._at().has(ifindex, self._programs[_Kind.FROM_TAP])

    def attach_guest_side(self) -> None:
        self._attach(self._guest_side, _Kind.TO_TAP)

    def has_guest_side(self) -> bool:
        return self._at().has(self._guest_side, self._programs[_Kind.TO_TAP])

    def drops(self) -> dict[str, int]:
        total = list(self._past)
        for name, at in _COUNTERS.items():
            for _, value in self.maps[name].elements():
                self._add(total, layout.decode_drops(value[at:]))
        for reason in DropReason:
            lost = self.maps["lost"].read(layout.encode_number(reason))
            total[reason] += int.from_bytes(lost or b"", "little")
        return {reason.word: total[reason] for reason in DropReason}

    def news(self) -> Iterator[GuestPlace]:
        """Senders that were refused for the first time, or again after a minute, since
        the last call. Raises KernelError, as the next two.
        """
        told = self._open_map("news")
        while (value := told.take()) is not None:
            yield layout.decode_place(value)

    def refusals(self) -> Iterator[tuple[GuestPlace, Refused]]:
        """Senders that were refused last, some thousand at most."""
        for key, value in self._open_map("refused").elements():
            yield layout.decode_place(key), layout.decode_refused(value)

    def guests(self) -> Iterator[tuple[Way, Guest]]:
        """What was counted for each registered tap, VLAN and MAC address."""
        for key, value in self._open_map("guest").elements():
            yield Way(*layout.decode_guest_key(key)), layout.decode_guest(value)

    def _open_map(self, name: str) -> BpfMap:
        """Also where another thread has closed them. Raises KernelError."""
        found = self.maps.get(name)
        if found is None:
            raise KernelError("the tap programs are not loaded")
        return found

    def _texts(
        self, constants: Constants
    ) -> dict[_Kind, Callable[[MapNumbers], bytes]]:
        texts: dict[_Kind, Callable[[MapNumbers], bytes]] = {
            _Kind.FROM_TAP: partial(from_tap, constants),
            _Kind.TO_TAP: partial(to_tap, constants),
        }
        if self._fabric is not None:
            texts[_Kind.AT_FABRIC] = self._fabric
        return texts

    def _load(self, kind: _Kind, made: str, text: Callable[[], bytes]) -> None:
        """Adopt the program that is pinned under this name, or load and pin it."""
        path = self._folder / f"{kind}_{made}"
        self._kept.add(path.name)
        if not path.exists():
            bpf.pin(bpf.load(text(), kind), path)
        self._programs[kind] = Program.of(bpf.open_pinned(path))

    def _find_former(self) -> None:
        """Programs that an earlier version has pinned."""
        for kind in _Kind:
            for path in sorted(self._folder.glob(f"{kind}_*")):
                if path.name not in self._kept:
                    self._former[kind].append(Program.of(bpf.open_pinned(path)))

    def _at(self) -> IngressHook:
        if self._hook is None:
            raise KernelError("the tap programs are not loaded")
        return self._hook

    def _ours(self, kind: _Kind) -> list[Program]:
        """The program of this kind, and former ones."""
        now = self._programs.get(kind)
        return [*([] if now is None else [now]), *self._former[kind]]

    def _attach(self, ifindex: int, kind: _Kind) -> None:
        self._at().attach(ifindex, self._programs[kind], self._former[kind])

    def _detach_all(self, kind: _Kind, *, former: bool = False) -> int:
        programs = self._former[kind] if former else self._ours(kind)
        there = self._where(programs)
        for ifindex in there:
            self._at().detach(ifindex, programs)
        return len(there)

    def _where(self, programs: Sequence[Program]) -> set[int]:
        """The interfaces that have one of these."""
        if not programs:
            return set()
        return {
            ifindex
            for ifindex, _ in socket.if_nameindex()
            if any(self._at().has(ifindex, each) for each in programs)
        }

    @staticmethod
    def _add(total: list[int], drops: Iterable[int]) -> None:
        for reason, number in enumerate(drops):
            total[reason] += number


_COUNTERS = {"guest": layout.GUEST_DROPS, "tap": 0}
"""Maps whose values have counters by DropReason, and where."""


def _need_bpf_files(path: Path) -> None:
    """Mount a bpf file system where there is none. Raises KernelError."""
    if _kind_of(path) == _MAGIC:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, None) < 0:
        why = os.strerror(ctypes.get_errno())
        raise KernelError(
            f"no bpf file system at {path}, and it cannot be mounted ({why}): "
            f"`mount -t bpf bpf {path}` as root, or systemd does it at boot"
        )


def _kind_of(path: Path) -> int:
    """The magic number of the file system (statfs(2)); 0 where there is none."""
    answer = (ctypes.c_ulong * 32)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), answer) < 0:
        return 0
    return int(answer[0])
