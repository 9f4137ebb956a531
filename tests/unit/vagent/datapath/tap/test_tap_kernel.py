"""Programs and maps are adopted from their pins, replaced where they differ, and gone
at the end. The kernel here is made of files; `tests/system` has the real one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from vagent.datapath.tap import kernel as tap_kernel
from vagent.datapath.tap import layout
from vagent.datapath.tap.attach import Program
from vagent.datapath.tap.kernel import LinuxTapKernel
from vagent.datapath.tap.layout import MAPS, Constants, DropReason, Guest, MapNumbers
from vagent.errors import KernelError
from vagent.kernel import bpf

CONSTANTS = Constants(
    2, b"\2" * 6, b"\3" * 6, 0xA9FE4000, b"\xfd\x40\1\x40", fast_path=False
)
OTHER = replace(CONSTANTS, guest_side=3)


class FakeMap:
    """A map as a dictionary, one for each name of a pin."""

    held: ClassVar[dict[str, dict[bytes, bytes]]] = {}

    def __init__(self, kind: object, *, pinned: Path, **form: object) -> None:
        del kind, form
        is_new = not pinned.exists()
        if is_new:
            pinned.write_text("map")
            self.held[pinned.name] = {}
        self.descriptor = os.open(pinned, os.O_RDONLY)
        self.mine = self.held[pinned.name]

    def write(self, key: bytes, value: bytes) -> None:
        self.mine[key] = value

    def read(self, key: bytes) -> bytes | None:
        return self.mine.get(key)

    def delete(self, key: bytes) -> None:
        self.mine.pop(key, None)

    def elements(self) -> Iterator[tuple[bytes, bytes]]:
        yield from [*self.mine.items()]

    def close(self) -> None:
        os.close(self.descriptor)


class FakeHook:
    """Programs at interfaces, by the number of the file that they are pinned as."""

    def __init__(self) -> None:
        self.there: dict[int, set[int]] = {}

    def attach(
        self, ifindex: int, program: Program, former: Sequence[Program] = ()
    ) -> None:
        here = self.there.setdefault(ifindex, set())
        here.difference_update(each.number for each in former)
        here.add(program.number)

    def detach(self, ifindex: int, programs: Sequence[Program]) -> None:
        self.there.get(ifindex, set()).difference_update(p.number for p in programs)

    def has(self, ifindex: int, program: Program) -> bool:
        return program.number in self.there.get(ifindex, set())

    def in_front(self, ifindex: int, program: Program) -> tuple[str, ...]:
        raise AssertionError(ifindex, program)


class Host:
    """What outlives an agent: pins, and programs at interfaces 1 to 9."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "vagent"
        self.hook = FakeHook()
        self.loaded: list[str] = []

    def kernel(self, *, fabric: bool = False) -> LinuxTapKernel:
        return LinuxTapKernel(
            name="vagent",
            hook=lambda: self.hook,
            fabric=(lambda _: b"fabric") if fabric else None,
        )

    def started(self, constants: Constants = CONSTANTS) -> LinuxTapKernel:
        made = self.kernel()
        made.open(constants)
        return made

    def load(self, text: bytes, name: str) -> int:
        del text
        self.loaded.append(name)
        return os.open(self.folder, os.O_RDONLY)

    def pin(self, descriptor: int, path: Path) -> None:
        os.close(descriptor)
        path.write_text("program")

    def pins(self) -> list[str]:
        return sorted(each.name.split("_")[0] for each in self.folder.iterdir())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Without anything of ours."""
    made = Host(tmp_path)
    monkeypatch.setattr(tap_kernel, "BPF_FILES", tmp_path)
    monkeypatch.setattr(tap_kernel, "_need_bpf_files", lambda _: None)
    monkeypatch.setattr(tap_kernel, "BpfMap", FakeMap)
    monkeypatch.setattr(bpf, "load", made.load)
    monkeypatch.setattr(bpf, "pin", made.pin)
    monkeypatch.setattr(bpf, "open_pinned", lambda path: os.open(path, os.O_RDONLY))
    monkeypatch.setattr(bpf, "number_of", lambda each: os.fstat(each).st_ino)
    monkeypatch.setattr(
        socket, "if_nameindex", lambda: [(n, f"if{n}") for n in range(1, 10)]
    )
    return made


def test_the_next_agent_adopts_what_it_finds(host: Host) -> None:
    """Nothing is loaded again, maps keep what they hold, and taps their program."""
    first = host.started()
    first.attach_guest_side()
    first.attach(5)
    first.put("service", b"k" * 16, b"\1\0\0\0")
    first.close()
    assert ["from_tap", "to_tap"] == host.loaded
    second = host.started()
    assert ["from_tap", "to_tap"] == host.loaded
    assert ({5}, True, True) == (
        second.attached(),
        second.has(5),
        second.has_guest_side(),
    )
    assert {b"k" * 16: b"\1\0\0\0"} == second.held()["service"]
    assert b"\1\0\0\0" == second.get("service", b"k" * 16)


def test_a_program_with_another_text_takes_the_place_of_the_former(host: Host) -> None:
    """Here the pair is another one, which the way back does not depend on. Its pin goes
    when every tap has the new one.
    """
    first = host.started()
    first.attach(5)
    first.close()
    second = host.started(OTHER)
    assert ["from_tap", "to_tap", "from_tap"] == host.loaded
    assert ({5}, False) == (second.attached(), second.has(5))
    second.attach(5)
    assert [1] == [len(host.hook.there[5])]
    before = len(host.pins())
    second.forget_former()
    assert before - 1 == len(host.pins())
    assert second.has(5)


def test_a_lost_map_is_made_anew_with_the_programs(host: Host) -> None:
    """One that still holds the lost map is not adopted."""
    host.started().close()
    (host.folder / f"guest_{layout.VERSION}").unlink()
    (host.folder / "another").write_text("so that the new file has another number")
    host.started().close()
    assert ["from_tap", "to_tap", "from_tap"] == host.loaded


def test_removal_leaves_nothing(host: Host) -> None:
    """Programs at all interfaces, and pins; also those of an agent that was killed."""
    killed = host.started()
    killed.attach_guest_side()
    killed.attach(5)
    assert 2 == host.kernel().remove()
    assert {5: set(), 2: set()} == host.hook.there
    assert not host.folder.exists()
    assert 0 == host.kernel().remove()


def test_the_fast_paths_programs_go_where_it_is_off(host: Host) -> None:
    """A start without it takes away what one with it left."""
    fast = host.kernel(fabric=True)
    fast.open(CONSTANTS)
    fast.attach_fabric(7)
    assert 1 == fast.detach_fabric()
    fast.attach_fabric(7)
    fast.close()
    slow = host.started()
    slow.forget_former()
    assert set() == host.hook.there[7]


def test_drops_are_of_guests_taps_and_the_way_back(host: Host) -> None:
    """What a guest that went had is not forgotten."""
    kernel = host.started()
    drops = [0] * layout.REASONS
    drops[DropReason.SPOOFED] = 3
    key = layout.encode_guest_key(5, 0, b"\2" * 6)
    kernel.put("guest", key, layout.encode_guest(Guest(2, drops=tuple(drops))))
    kernel.put("tap", layout.encode_number(5), layout.encode_drops(drops))
    lost = layout.encode_number(DropReason.TOO_BIG)
    kernel.put("lost", lost, (7).to_bytes(8, "little"))
    kernel.erase("guest", key)
    kernel.erase("service", b"x" * 16)
    found = kernel.drops()
    assert {"spoofed": 6, "too_big": 7} == {k: v for k, v in found.items() if v}


def test_before_the_start_there_is_nothing_to_attach(host: Host) -> None:
    """It is said in words."""
    with pytest.raises(KernelError, match="not loaded"):
        host.kernel().detach(5)


def test_every_map_of_the_layout_is_pinned(host: Host) -> None:
    """And the programs find each of them."""
    host.started()
    assert {f"{name}_{layout.VERSION}" for name in MAPS} <= {
        each.name for each in host.folder.iterdir()
    }
    assert {*MAPS} <= {*MapNumbers._fields}
