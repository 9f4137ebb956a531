"""Which programs run before ours, as far as the kernel tells."""

from __future__ import annotations

from pathlib import Path

from vagent.datapath.tap.attach import IngressHook
from vagent.datapath.tap.who.in_front import in_front
from vagent.errors import KernelError


def no_hook() -> IngressHook:
    raise KernelError("not permitted")


def test_without_programs_nothing_is_in_front(tmp_path: Path) -> None:
    """Nor where the kernel does not tell, or there is no such folder."""
    assert () == in_front(no_hook, "vagent", ("lo",), files=tmp_path / "absent")
    (tmp_path / "vagent").mkdir()
    assert () == in_front(no_hook, "vagent", ("lo",), files=tmp_path)
