"""Programs at an interface's ingress by tcx: a list of them, without a queueing
discipline (since Linux 6.6). They run before those of traffic control's filters, and
outlive whoever attached them.
"""

from __future__ import annotations

import errno

from vagent.kernel import bpf

INGRESS = 46
"""enum bpf_attach_type (linux/bpf.h)."""
MAX_PROGRAMS = 64
"""The kernel takes no more at one interface (BPF_MPROG_MAX)."""
_REPLACE, _BEFORE, _AFTER = 4, 8, 16
_GONE = (errno.ENODEV, errno.ENOENT)


def is_known() -> bool:
    """Does this kernel have tcx? Asks the loopback interface, which is always there.
    Raises KernelError where asking is not allowed.
    """
    return bpf.attached(1, INGRESS, MAX_PROGRAMS, but=(errno.EINVAL,)) is not None


def attach(ifindex: int, program: int, *, is_first: bool) -> None:
    """Run a program, given by descriptor, before all others that are there now, or
    behind them. Raises KernelError.
    """
    bpf.attach(
        ifindex, program, INGRESS, flags=_BEFORE if is_first else _AFTER, replaced=0
    )


def replace(ifindex: int, program: int, old: int) -> None:
    """Put a program in the place of an old one, which is attached; no frame meets
    neither. Raises KernelError.
    """
    bpf.attach(ifindex, program, INGRESS, flags=_REPLACE, replaced=old)


def detach(ifindex: int, program: int) -> None:
    """Remove a program, if it and the interface are there. Raises KernelError."""
    bpf.detach(ifindex, program, INGRESS, but=_GONE)


def attached(ifindex: int) -> tuple[int, ...]:
    """The numbers of the programs, in the order in which they run; () where there is no
    such interface. Raises KernelError.
    """
    return bpf.attached(ifindex, INGRESS, MAX_PROGRAMS, but=(errno.ENODEV,)) or ()
