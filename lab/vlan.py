"""VLAN interfaces, where the kernel has them."""

from __future__ import annotations

import os

from lab.namespaces import LabError, Machine


def missing() -> str:
    """Why there are none on this machine; "" if there are."""
    machine = Machine.create(f"vlan-{os.getpid()}")
    try:
        machine.run("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
        machine.run("ip", "link", "set", "one", "up")
        add(machine, "one", 7)
    except LabError:
        return "this kernel has no VLAN interfaces (CONFIG_VLAN_8021Q)"
    finally:
        machine.destroy()
    return ""


def add(machine: Machine, interface: str, vlan: int) -> str:
    """Make one on an interface of a machine, and return its name. Raises LabError."""
    name = f"{interface}.{vlan}"
    machine.run(
        *("ip", "link", "add", "link", interface, "name", name),
        *("type", "vlan", "id", str(vlan)),
    )
    machine.run("ip", "link", "set", name, "up")
    return name
