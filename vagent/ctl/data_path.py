"""`vagentctl data-path`: removes what an agent left in the kernel.

A clean stop leaves rules and interfaces in force as a guard; this command removes them.
It works without an agent and without agent.conf; only `nft` and `ip` are needed.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vagent.config.model import AgentConfig
from vagent.ctl.doctor import needs_root
from vagent.ctl.failure import UNAVAILABLE, CommandError
from vagent.ctl.parser import Group
from vagent.ctl.session import Session
from vagent.errors import KernelError

if TYPE_CHECKING:
    from vagent.doctor.facts import Ours

FAMILIES = ("netdev", "ip", "ip6", "inet")
UNSEEN = "a process that cannot be seen"


def register(groups: Any) -> None:
    """Add the group to the parser."""
    group = Group(groups, "data-path", "what the agent has in this host's kernel")
    remove = group.command(
        "remove", remove_data_path, "take away the rules and interfaces that it left"
    )
    about = "data-path/name of that agent (default: as in agent.conf, else vagent)"
    remove.add_argument("--name", help=about)


def remove_data_path(session: Session, args: Namespace) -> None:
    """Remove everything and say what was removed; it is no error if there was nothing.
    Raises CommandError while an agent runs.
    """
    needs_root("data-path remove")
    # Imported late: lxml and the data path are slow to load.
    from vagent.doctor.facts import Ours

    ours = Ours.of(_config(session, args.name))
    _refuse_a_running_agent(ours)
    removed = [
        *_remove_programs(ours),
        *_remove_tables(ours),
        *_remove_interfaces(ours),
    ]
    if not removed:
        session.say(f"nothing of {ours.table} is in this host's kernel")
    session.show_lines(removed)


def _config(session: Session, name: str | None) -> AgentConfig:
    if name is None:
        return session.agent_config
    default = AgentConfig()
    return replace(default, data_path=replace(default.data_path, name=name))


def _refuse_a_running_agent(ours: Ours) -> None:
    """Raises CommandError if an agent runs. From start to end it has the queue, and in
    between a listener, whichever queue it has.
    """
    from vagent.doctor.look_host import look_at_sockets
    from vagent.kernel.namespace import entered_if_named

    with entered_if_named(ours.namespace) as is_there:
        if not is_there:
            return
        listeners, queue = look_at_sockets(ours.queue_number, [ours.listener])
    what = ""
    if queue is not None:
        what = f"{queue.owner or UNSEEN} has NFQUEUE {queue.number}"
    for listener in listeners:
        who = listener.process or UNSEEN
        what = f"{who} listens on {listener.address}, port {listener.port}"
    if what:
        raise CommandError(f"{what}; stop the agent first: systemctl stop vagent")


def _remove_programs(ours: Ours) -> Iterator[str]:
    """Remove the tap programs, their maps and pins. A kernel without such programs has
    none.
    """
    from vagent.config.model import DataPathConfig
    from vagent.datapath.fast_path.compose import tap_kernel_of

    with suppress(KernelError):
        config = DataPathConfig(name=ours.table, queue_number=ours.queue_number)
        count = tap_kernel_of(config).remove()
        if count:
            yield f"programs at {count} interfaces"


def _remove_tables(ours: Ours) -> Iterator[str]:
    listed = json.loads(_asked(["nft", "-j", "list", "tables"]))["nftables"]
    tables = [item["table"] for item in listed if "table" in item]
    found = {table["family"] for table in tables if table["name"] == ours.table}
    families = [family for family in FAMILIES if family in found]
    script = "".join(f"delete table {family} {ours.table}\n" for family in families)
    if script:
        _asked(["nft", "-f", "-"], script)
    yield from (f"table {family} {ours.table}" for family in families)


def _remove_interfaces(ours: Ours) -> Iterator[str]:
    """Remove the ends of our veth pairs, whose other ends lie in a namespace, and
    nothing else, so that `--name eth` cannot remove a host's interface. Then the
    namespace.
    """
    from vagent.kernel.namespace import Namespace

    ends = (ours.guest_side, ours.uplink)
    for link in json.loads(_asked(["ip", "-j", "-d", "link", "show", "type", "veth"])):
        name = link.get("ifname")
        # That of an earlier version had both ends on the host.
        former = (name, link.get("link")) == (ours.guest_side, ours.inner_side)
        if name in ends and (former or "link_netnsid" in link):
            _asked(["ip", "link", "del", name])
            yield f"interface {name}"
    if Namespace(ours.namespace).is_named():
        _asked(["ip", "netns", "del", ours.namespace])
        yield f"network namespace {ours.namespace}"


def _asked(argv: list[str], text: str = "") -> str:
    from vagent.doctor.commands import ask, there

    if not there(argv[0]):
        raise CommandError(f"{argv[0]} is not installed", code=UNAVAILABLE)
    said = ask(argv, text)
    if not said.ok:
        raise CommandError(f"{' '.join(argv)}: {said.error}")
    return said.out
