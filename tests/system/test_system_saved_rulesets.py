"""What `nft list ruleset` says while an agent runs can be loaded again. `make
test-debian13` runs this with Debian 13's nft, as both the agent's and the operator's.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest

from lab.guests import Guest
from lab.namespaces import LabError, Machine
from lab.waiting import wait_for
from tests.system.offers import datagrams
from tests.system.test_system_addresses import with_addresses
from tests.system.test_system_flows import ECHO
from tests.system.test_system_in_force import is_ready, rules
from tests.system.test_system_ipv6 import alice, ask6
from tests.system.test_system_life import more, offer_echo
from tests.system.test_system_limits import limited

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
DYNAMIC = ("opening", "telling", "opening_of_port", "telling_of_port")
QUEUE = re.compile(r"^\s+(?:queue |xt target).*\n", re.MULTILINE)
"""How nft lists the rule that queues packets."""


def opens(guest: Guest, *addresses: str) -> None:
    """More flows at a time than it may, which nobody answers."""
    for address in addresses:
        for _ in range(6):
            with datagrams(guest, address, 9) as flow, suppress(OSError):
                flow.send(b"quiet")


def saved(host: Machine) -> str:
    """The ruleset, without what this kernel would not take from any nft."""
    listed = host.run("nft", "list", "ruleset")
    return listed if takes(host, "queue num 9") else QUEUE.sub("", listed)


def takes(host: Machine, rule: str) -> bool:
    """Does the kernel have what this rule needs?"""
    chain = "type filter hook prerouting priority 0;"
    with suppress(LabError):
        host.run("nft", "-c", f"table ip t {{ chain c {{ {chain} {rule}; }}; }}")
        return True
    return False


def without_times(text: str) -> str:
    """Without the seconds that elements have left, and what was counted."""
    return re.sub(r" expires \w+|packets \d+ bytes \d+", "", text)


def without_elements(text: str) -> str:
    """Without what is in sets and maps, and what was counted."""
    return re.sub(r"\n\s+elements = \{[^}]*\}", "", without_times(text))


def lasting(site: Any) -> list[str]:
    """Our rules, without the sets that packets fill."""
    return [each for each in rules(site) if '"timeout": 60' not in each]


@pytest.fixture
def busy(idle_site: Any) -> Any:
    """A site with a guest of several addresses and one of a single one, both of which
    have opened more flows than they may.
    """
    limited(idle_site, "<max-vm-new-flows>2</max-vm-new-flows>")
    both, single = alice(idle_site), idle_site.bob()
    with_addresses(idle_site, both)
    idle_site.introduce(single)
    idle_site.provision()
    opens(both, "169.254.169.254", "fd00:ec2::254")
    opens(single, "169.254.169.254")
    return idle_site


def test_the_host_s_saved_ruleset_loads(busy: Any, ask: Any) -> None:
    """While the agent runs, in place of the one there is, as Debian's nftables.service
    does it; of ours there is one table, which names no tap. Guests are served, also by
    a service of the host.
    """
    host = busy.lab.host
    both, _ = busy.lab.guests
    offer_echo(busy)
    text = host.run("nft", "list", "ruleset")
    assert ("tap-" in text, text.count("table ")) == (False, 1)
    assert "127.0.0.1 . " in text
    host.run("nft", "-c", "-f", "-", text=text)
    host.run("nft", "-f", "-", text=f"flush ruleset\n{text}")
    wait_for(lambda: is_ready(busy))
    assert without_times(text) == without_times(host.run("nft", "list", "ruleset"))
    wait_for(lambda: ask(both, USER_DATA), "I am alice\n".__eq__)

    def echoed() -> bytes:
        with datagrams(both, *ECHO) as flow, suppress(OSError):
            return more(flow, b"x")
        return b""

    # It has opened as many flows as it may in a second.
    wait_for(echoed, b"X".__eq__)


def test_a_saved_ruleset_loads(busy: Any, ask: Any) -> None:
    """In the namespace as well, though nobody has a reason to; it has elements of all
    sets. Guests are served.
    """
    host = busy.agent.data_path
    both, single = busy.lab.guests
    before, text = lasting(busy), saved(host)
    assert "tap-" not in text
    for name in DYNAMIC:
        held = rf"set {name} {{\n[^}}]*elements = {{ [^}}]+ }}\n"
        assert re.search(held, text), f"{name} has no elements"
    host.run("nft", "-c", "-f", "-", text=text)
    host.run("nft", "-f", "-", text=f"flush ruleset\n{text}")
    wait_for(lambda: is_ready(busy) and lasting(busy) == before)
    wait_for(lambda: ask(both, USER_DATA), "I am alice\n".__eq__)
    wait_for(lambda: ask6(both, USER_DATA), "I am alice\n".__eq__)
    wait_for(lambda: ask(single, USER_DATA), "I am bob\n".__eq__)


def test_a_saved_ruleset_loads_without_agent_and_tap(busy: Any, ask: Any) -> None:
    """As while the machine starts: what is loaded is what was saved, and the agent that
    comes later serves its guests.
    """
    both, single = busy.lab.guests
    busy.agent.stop()
    busy.lab.host.run("ip", "link", "delete", single.tap)
    for machine in (busy.lab.host, busy.agent.data_path):
        text = saved(machine)
        machine.run("nft", "flush", "ruleset")
        machine.run("nft", "-c", "-f", "-", text=text)
        machine.run("nft", "-f", "-", text=text)
        # What packets added to a set may be gone: each has its own time-out.
        assert without_elements(text) == without_elements(saved(machine))
    busy.agent.start()
    wait_for(lambda: ask(both, USER_DATA), "I am alice\n".__eq__)
    wait_for(lambda: ask6(both, USER_DATA), "I am alice\n".__eq__)
