"""Which programs of others run before ours at the taps, for the doctor: it asks the
kernel itself, beside the agent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vagent.datapath.tap.attach import IngressHook, Program
from vagent.datapath.tap.kernel import BPF_FILES, PROGRAMS_AT_TAPS
from vagent.errors import KernelError
from vagent.kernel import bpf


def in_front(
    hook: Callable[[], IngressHook],
    name: str,
    taps: Iterable[str],
    *,
    files: Path = BPF_FILES,
) -> tuple[tuple[str, str], ...]:
    """Tap and program, in words. `name` is that of the data path; nothing where the
    kernel does not tell, as to who may not ask.
    """
    with suppress(KernelError, OSError):
        programs = [
            bpf.open_pinned(path) for path in (files / name).glob(PROGRAMS_AT_TAPS)
        ]
        try:
            ours = [Program.of(each) for each in programs]
            return tuple(_in_front(hook(), ours, taps))
        finally:
            for each in programs:
                os.close(each)
    return ()


def _in_front(
    hook: IngressHook, ours: Iterable[Program], taps: Iterable[str]
) -> Iterator[tuple[str, str]]:
    for tap in dict.fromkeys(taps):
        with suppress(KernelError, OSError):
            ifindex = socket.if_nametoindex(tap)
            for program in ours:
                for other in hook.in_front(ifindex, program):
                    yield tap, other
