"""A kernel that holds the maps of the tap programs, without packets."""

from __future__ import annotations

from vagent.datapath.tap.entries import KEPT, Maps
from vagent.datapath.tap.layout import Constants, DropReason
from vagent.errors import KernelError


class FakeTapKernel:
    """`log` has every change in order. `refuses` names a method that fails; a tap in
    `gone` takes no program, as one that has been deleted.
    """

    def __init__(self) -> None:
        self.maps: Maps = {name: {} for name in KEPT}
        self.taps: set[int] = set()
        self.guest_side = False
        self.log: list[str] = []
        self.refuses = ""
        self.counted: dict[str, int] = {}
        self.constants: Constants | None = None

    def open(self, constants: Constants) -> None:
        self._try("open")
        self.constants = constants

    def close(self) -> None:
        self._try("close")

    def remove(self) -> int:
        self._try("remove")
        count = len(self.taps) + self.guest_side
        self.taps, self.guest_side = set(), False
        self.maps = {name: {} for name in KEPT}
        return count

    def put(self, name: str, key: bytes, value: bytes) -> None:
        self._try("put", name)
        self.maps[name][key] = value

    def get(self, name: str, key: bytes) -> bytes | None:
        return self.maps[name].get(key)

    def erase(self, name: str, key: bytes) -> None:
        self._try("erase", name)
        self.maps[name].pop(key, None)

    def held(self) -> Maps:
        if self.refuses == "held":
            raise KernelError("no held")
        return {name: dict(each) for name, each in self.maps.items()}

    def attach(self, ifindex: int) -> None:
        self._try("attach", ifindex)
        self.taps.add(ifindex)

    def detach(self, ifindex: int) -> None:
        self._try("detach", ifindex)
        self.taps.discard(ifindex)

    def has(self, ifindex: int) -> bool:
        return ifindex in self.taps

    def attached(self) -> set[int]:
        return set(self.taps)

    def forget_former(self) -> None:
        self._try("forget_former")

    def attach_guest_side(self) -> None:
        self._try("attach guest side")
        self.guest_side = True

    def has_guest_side(self) -> bool:
        return self.guest_side

    def drops(self) -> dict[str, int]:
        return {each.word: self.counted.get(each.word, 0) for each in DropReason}

    def _try(self, name: str, about: object = "") -> None:
        if name == self.refuses:
            raise KernelError(f"no {name}")
        self.log.append(f"{name} {about}".strip())
