"""A hypervisor in memory. `tests/contract/test_hypervisor.py` holds it to libvirt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vagent.guests.hypervisor import HypervisorError


@dataclass
class FakeHypervisor:
    """Domains by UUID. `is_away` lets every call fail, as a libvirtd that went."""

    running: dict[str, str] = field(default_factory=dict)
    is_away: bool = False
    waited: list[float] = field(default_factory=list)
    closed: int = 0
    _changed: bool = False

    def start(self, uuid: str, xml: str) -> None:
        self.running[uuid] = xml
        self._changed = True

    def stop(self, uuid: str) -> None:
        del self.running[uuid]
        self._changed = True

    def domains(self) -> Iterator[tuple[str, str]]:
        self._check()
        yield from tuple(self.running.items())

    def wait(self, seconds: float) -> bool:
        self._check()
        self.waited.append(seconds)
        changed, self._changed = self._changed, False
        return changed

    def close(self) -> None:
        self.closed += 1

    def _check(self) -> None:
        if self.is_away:
            raise HypervisorError("qemu:///system: the connection ended")
