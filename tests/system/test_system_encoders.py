"""What is written as netlink bytes, held against what nft writes, on this kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from lab.namespaces import PATIENCE, Machine, inside
from vagent.config.model import DataPathConfig
from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.rules.render import ruleset
from vagent.datapath.rules.table_counts import missing, wanted_counts
from vagent.datapath.rules.wanted_elements import wanted_elements
from vagent.datapath.state import Attachment, Services
from vagent.datapath.system import LinuxSystem
from vagent.errors import KernelError
from vagent.kernel.nf_tables import NftMessage, add_elements, encode
from vagent.kernel.nf_tables_dump import Elements, Place, TableCounts
from vagent.linklocal.service import LinkLocalService

pytestmark = [pytest.mark.system, pytest.mark.kernel]

NAMES = Names.of(DataPathConfig(), listener_port=8097, guest_rate=1000)
FEATURES = Features(nft_queue=False, ip6_tables=True, ipv6=True)
FABRIC, FABRIC6 = IPv4Address("192.0.2.53"), IPv6Address("2001:db8::123")


class Kernel:
    """nftables of a namespace."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.fill()

    def fill(self, *attachments: Attachment, services: Services | None = None) -> None:
        """Everything anew, by nft."""
        services = services or Services.of((), NAMES, None)
        script = ruleset(NAMES, services, attachments, features=FEATURES)
        self.machine.run("nft", "-f", "-", text=script)

    def transact(self, *steps: NftMessage) -> None:
        """One transaction by messages. Raises KernelError."""
        outcome: list[Any] = []
        working = self._system().transact(steps)
        Deferred.fromCoroutine(working).addBoth(outcome.append)
        if outcome[0] is not None:
            outcome[0].raiseException()

    def generation(self) -> int:
        """nf_tables' number of transactions."""
        return inside(self.machine.name, self._system().nft_generation)

    def table_counts(
        self, counted: frozenset[Place], wanted: Elements | None = None
    ) -> TableCounts:
        """How many rules and elements there are, and how many of `wanted` are not."""
        outcome: list[TableCounts] = []
        reading = self._system().table_counts(
            NAMES.table, counted, lambda: wanted or {}
        )
        Deferred.fromCoroutine(reading).addCallback(outcome.append)
        return outcome[0]

    def complaint(self, *steps: NftMessage) -> str:
        """What the kernel says against a transaction, "" if it took it."""
        try:
            self.transact(*steps)
        except KernelError as failure:
            return str(failure)
        return ""

    def state(self) -> list[str]:
        """All that is in the kernel, without the numbers that it gives."""
        listed = json.loads(self.machine.run("nft", "-j", "list", "ruleset"))
        return sorted(
            json.dumps(_without_handles(item), sort_keys=True)
            for item in listed["nftables"]
        )

    def attachment(self, index: int, tap: str, **more: Any) -> Attachment:
        """An address, of several, of a port at this tap."""
        base = int(NAMES.identity_range.network_address)
        values: dict[str, Any] = {
            "index": index,
            "identity": IPv4Address(base + index),
            "tap": tap,
            "ifindex": 7,
            "mac": f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}",
            "address": IPv4Address((10 << 24) + index),
            "port": index,
        }
        return Attachment(**(values | more))

    def _system(self) -> LinuxSystem:
        return LinuxSystem(
            reactor=cast(Any, None),  # no command is run
            clock=Clock(),
            run_in_thread=self._in_namespace,
        )

    async def _in_namespace(self, work: Any) -> Any:
        return inside(self.machine.name, work)


def _without_handles(item: Any) -> Any:
    if isinstance(item, dict):
        return {k: _without_handles(v) for k, v in item.items() if k != "handle"}
    if isinstance(item, list):
        found = [_without_handles(each) for each in item]
        # The elements of a map have no order.
        return sorted(found, key=json.dumps) if item and _is_elements(item) else found
    return item


def _is_elements(items: list[Any]) -> bool:
    return all(isinstance(item, list) and len(item) == 2 for item in items)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """With our rules, without a port."""
    machine = Machine.create(f"vt{os.getpid()}-encoders")
    yield Kernel(machine)
    machine.destroy()


def some(kernel: Kernel) -> list[Attachment]:
    """Each kind: one of several addresses, the first of them and another, and the only
    one.
    """
    return [
        kernel.attachment(2, "tap-one"),
        kernel.attachment(3, "tap-one", port=2),
        kernel.attachment(300, "a-name-of-15-by"),
        kernel.attachment(301, "tap-two", port=None),
    ]


def test_both_encoders_write_the_same(kernel: Kernel) -> None:
    """What nft makes of the text is what the messages make, byte order and all."""
    ports = some(kernel)
    empty = kernel.state()
    kernel.fill(*ports)
    by_nft = kernel.state()
    kernel.fill()
    assert empty == kernel.state()
    kernel.transact(*change_of_ports(NAMES, [], ports, ipv6=True))
    assert by_nft == kernel.state()
    assert by_nft != empty


def test_what_one_wrote_the_other_takes_away(kernel: Kernel) -> None:
    """A start writes everything by nft; what is detached later goes by messages."""
    ports = some(kernel)
    empty = kernel.state()
    kernel.fill(*ports)
    kernel.transact(*change_of_ports(NAMES, ports, [], ipv6=True))
    assert empty == kernel.state()


def test_a_port_is_replaced_in_one_transaction(kernel: Kernel) -> None:
    """Old and new may have the same index."""
    old = kernel.attachment(2, "tap-one")
    new = replace(old, port=5)
    kernel.fill(new)
    wanted = kernel.state()
    kernel.fill(old)
    kernel.transact(*change_of_ports(NAMES, [old], [new], ipv6=True))
    assert wanted == kernel.state()


def test_what_is_wanted_is_what_is_counted(kernel: Kernel) -> None:
    """Chains, rules, sets and elements, all of them and no more: nothing is ever missed
    that is there, and nothing can go unseen.
    """
    ports = some(kernel)
    kernel.fill(*ports)
    kernel.transact(*netlink_rules(NAMES, FEATURES))
    services = Services.of((), NAMES, None)
    wanted = wanted_counts(NAMES, services, ports, features=FEATURES)
    held = kernel.table_counts(frozenset(wanted.elements))
    assert wanted.rules == held.rules
    # nft gives a set without a name to each list in a rule.
    named = {place: n for place, n in held.elements.items() if "__" not in place[1]}
    assert wanted.elements == named
    assert (wanted.policies, set()) == (held.policies, held.dormant)
    assert () == missing(wanted, held, NAMES.table)


def test_elements_are_compared_with_those_that_were_written(kernel: Kernel) -> None:
    """All bytes of each, by nft and by messages: nothing that is there is missed. A
    changed value is, in any set or map.
    """
    ports = some(kernel)
    hosted = [
        LinkLocalService("dns", IPv4Address("169.254.1.53"), 53, (FABRIC,), 53),
        LinkLocalService("ntp", IPv6Address("fd00::123"), 123, (FABRIC6,), 123),
    ]
    services = Services.of(hosted, NAMES, None)
    kernel.fill(*ports, services=services)
    wanted = wanted_elements(NAMES, services, ports, ipv6=True)
    counted = frozenset(wanted)
    counts = wanted_counts(NAMES, services, ports, features=FEATURES).elements
    assert {place: n for place, n in counts.items() if n} == {
        place: len(elements) for place, elements in wanted.items()
    }
    assert {} == kernel.table_counts(counted, wanted).changed
    kernel.transact(*change_of_ports(NAMES, ports, ports, ipv6=True))
    assert {} == kernel.table_counts(counted, wanted).changed
    others = {
        place: {each[:-1] + bytes([each[-1] ^ 1]) for each in elements}
        for place, elements in wanted.items()
    }
    assert {*others} == {*kernel.table_counts(counted, others).changed}


def test_each_transaction_counts_as_one(kernel: Kernel) -> None:
    """As many as the agent makes: by nft, by messages; none for a question. So it knows
    when somebody else has made one.
    """
    (port, *_) = some(kernel)
    before = kernel.generation()
    kernel.table_counts(frozenset())
    assert before == kernel.generation()
    kernel.fill(port)
    assert before + 1 == kernel.generation()
    kernel.transact(*change_of_ports(NAMES, [port], [], ipv6=True))
    assert before + 2 == kernel.generation()
    kernel.machine.run("nft", "add", "table", "ip", "other")
    assert before + 3 == kernel.generation()


def refused(kernel: Kernel, *steps: NftMessage) -> str:
    """What the kernel says; the state before must still be in force."""
    before = kernel.state()
    said = kernel.complaint(*steps)
    assert before == kernel.state()
    return said


def test_an_element_that_exists_is_named(kernel: Kernel) -> None:
    """The last of three has an index that another port has."""
    there = kernel.attachment(2, "tap-one")
    kernel.fill(there)
    come = [
        kernel.attachment(3, "tap-three"),
        kernel.attachment(4, "tap-four"),
        replace(there, port=5),
    ]
    said = refused(kernel, *change_of_ports(NAMES, [], come, ipv6=True))
    assert "map port_of, tap tap-one: File exists (EEXIST)" == said


def test_an_element_that_is_not_there_is_named(kernel: Kernel) -> None:
    """Of two ports to detach, one is unknown to the kernel."""
    known, unknown = kernel.attachment(2, "tap-one"), kernel.attachment(3, "tap-two")
    kernel.fill(known)
    said = refused(kernel, *change_of_ports(NAMES, [known, unknown], [], ipv6=True))
    assert said.startswith(
        "map port_of, tap tap-two: No such file or directory (ENOENT)"
    )


def test_a_table_that_is_gone_is_told(kernel: Kernel) -> None:
    """`nft flush ruleset` by somebody else, and many answers at once."""
    kernel.machine.run("nft", "flush", "ruleset")
    ports = [kernel.attachment(n, "tap-one") for n in range(2, 250)]
    taps = [replace(port, ifindex=n) for n, port in enumerate(ports, start=1000)]
    said = refused(kernel, *change_of_ports(NAMES, [], taps, ipv6=True))
    assert said.startswith("map port_of, tap tap-one: No such file or directory")


def test_two_thousand_ports_in_one_transaction(kernel: Kernel) -> None:
    """It fits into the socket's buffer, and is taken whole. (Fewer on a machine that is
    known to be slow.)
    """
    many = int(2000 / PATIENCE)
    ports = [kernel.attachment(n, f"t{n}") for n in range(2, many + 2)]
    empty = kernel.state()
    kernel.transact(*change_of_ports(NAMES, [], ports, ipv6=True))
    wanted = wanted_elements(NAMES, Services.of((), NAMES, None), ports, ipv6=True)
    assert {} == kernel.table_counts(frozenset(wanted), wanted).changed
    kernel.transact(*change_of_ports(NAMES, ports, [], ipv6=True))
    assert empty == kernel.state()


def test_a_transaction_waits_for_another_program(kernel: Kernel) -> None:
    """The kernel works transactions off one by one; none is lost between them."""
    stop = threading.Event()
    script = "".join(f"add table ip other{n}\n" for n in range(200))
    script += "".join(f"delete table ip other{n}\n" for n in range(200))

    def meddle() -> None:
        while not stop.is_set():
            kernel.machine.run("nft", "-f", "-", text=script)

    empty = kernel.state()
    port = kernel.attachment(2, "tap-one")
    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        for _ in range(50):
            kernel.transact(*change_of_ports(NAMES, [], [port], ipv6=True))
            kernel.transact(*change_of_ports(NAMES, [port], [], ipv6=True))
    finally:
        stop.set()
        meddler.join()
    assert empty == kernel.state()


def test_without_the_right_the_kernel_says_so(kernel: Kernel) -> None:
    """A process without CAP_NET_ADMIN gets words, not a traceback."""
    steps = add_elements("vagent", "port_of", [])
    code = (
        "import os, sys\n"
        "from vagent.kernel.netlink import transact_batch\n"
        "from vagent.errors import KernelError\n"
        "os.setuid(65534)\n"
        "try: transact_batch(bytes.fromhex(sys.argv[1]))\n"
        "except KernelError as failure: print(failure)\n"
    )
    said = subprocess.run(
        kernel.machine.argv(sys.executable, "-c", code, encode(steps).hex()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Operation not permitted" in said.stdout, said.stderr
