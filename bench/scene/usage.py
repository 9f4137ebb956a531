"""What a process and its children used, from /proc. Knows no contestant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.report.figures import Column

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _USER, _SYSTEM, _RESIDENT = 1, 11, 12, 21
"""Fields of /proc/<pid>/stat, counted after the command's name (proc(5))."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far, in user code and in the kernel, and memory in MiB."""

    user: float
    system: float
    resident: float

    def since(self, before: Usage) -> Usage:
        """CPU since then; the memory is that of now."""
        return Usage(
            self.user - before.user, self.system - before.system, self.resident
        )

    @property
    def cpu(self) -> float:
        """CPU seconds in all."""
        return self.user + self.system


def usage(*pids: int) -> Usage:
    """Of these processes and whatever they started and still runs."""
    found = _all()
    wanted = _family(found, set(pids))
    mine = [found[pid] for pid in wanted if pid in found]
    return Usage(
        sum(int(fields[_USER]) for fields in mine) / TICKS,
        sum(int(fields[_SYSTEM]) for fields in mine) / TICKS,
        sum(int(fields[_RESIDENT]) for fields in mine) * PAGE / 2**20,
    )


def busy_seconds() -> float:
    """CPU seconds so far of the whole machine, the kernel's own work included."""
    _, *fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / TICKS


OTHERS = Column("others", "others %", compare=False)
"""CPU that the rest of the machine used meanwhile, 100 being one CPU: the noise."""


class Others:
    """What processes that are not ours use from now on."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._before = self._seconds()

    def percent(self) -> float:
        """Of one CPU, since the beginning; without those that have ended meanwhile."""
        return self.seconds() / (monotonic() - self._began) * 100

    def seconds(self) -> float:
        """CPU seconds since the beginning; as above."""
        used = sum(
            seconds - self._before.get(pid, 0.0)
            for pid, seconds in self._seconds().items()
        )
        return max(0.0, used)

    def _seconds(self) -> dict[int, float]:
        found = _all()
        ours = _family(found, {os.getpid()})
        return {
            pid: (int(fields[_USER]) + int(fields[_SYSTEM])) / TICKS
            for pid, fields in found.items()
            if pid not in ours
        }


def pin(pid: int, cpu: int) -> None:
    """Keep every thread of a running process on one CPU."""
    for thread in _threads(pid):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, {cpu})


def _threads(pid: int) -> Iterator[int]:
    return (int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())


def _all() -> dict[int, list[str]]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may have ended meanwhile.
            with suppress(OSError):
                text = (entry / "stat").read_text()
                found[int(entry.name)] = text.rpartition(")")[2].split()
    return found


def _family(found: Mapping[int, list[str]], pids: set[int]) -> set[int]:
    """These and their descendants."""
    wanted = set(pids)
    while True:
        more = {pid for pid, fields in found.items() if int(fields[_PARENT]) in wanted}
        if more <= wanted:
            return wanted
        wanted |= more
