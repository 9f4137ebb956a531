"""Rules that somebody else takes away are missed and put back: one table, chain,
rule or element as well as all of them. Until then the agent is not ready.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable
from typing import Any

import pytest

from lab.namespaces import Machine
from lab.waiting import wait_for
from tests.system.offers import SERVICE4, offer
from tests.system.tap_counts import detach_programs, pinned_map
from tests.system.test_system_ipv6 import alice, ask6
from tests.system.test_system_life import port_state
from vagent.datapath.tap.entries import COUNTED, KEPT

pytestmark = [pytest.mark.system, pytest.mark.kernel]

READY = "http://127.0.0.1:8085/readyz"
USER_DATA = "/latest/user-data"
SOON = 5.0
"""Seconds within which everything is back, by the agent itself."""


@pytest.fixture
def guarded(site: Any) -> Any:
    """A site with a guest of both families and one service."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    assert "Active" == port_state(site, guest)
    return site


def tables(site: Any) -> list[str]:
    """Family and name of each table of ours."""
    listed = json.loads(site.agent.data_path.run("nft", "-j", "list", "tables"))
    found = [item["table"] for item in listed["nftables"] if "table" in item]
    return [f"{each['family']} {each['name']}" for each in found]


def rules(site: Any) -> list[str]:
    """All that is in our tables, without what the kernel numbers and counts."""
    host = site.agent.data_path
    found = []
    for table in tables(site):
        listed = json.loads(host.run("nft", "-j", "list", "table", *table.split()))
        for item in listed["nftables"]:
            ((kind, value),) = item.items()
            if kind == "counter" or "dynamic" in value.get("flags", ()):
                continue
            value.pop("handle", None)
            elements = value.get("elem", value.get("expr", ()))
            if kind in ("set", "map"):
                value["elem"] = sorted(map(json.dumps, elements))
            found.append(f"{kind} {json.dumps(value, sort_keys=True)}")
    return sorted(found)


def readiness(site: Any) -> str:
    """The status of /readyz and what it says."""
    said: str = site.agent.get(READY, "-w", " %{http_code}").strip()
    return said


def is_ready(site: Any) -> bool:
    """Does /readyz say yes?"""
    return readiness(site) == "ready\n 200"


def take_away(site: Any, commands: Iterable[str], before: list[str]) -> set[str]:
    """Run each nft command, and wait for what it took to be back; what /readyz said
    right after. It may not say yes while something is missing.
    """
    said = set()
    for command in commands:
        site.agent.data_path.run("nft", command)
        at_once = readiness(site)
        if at_once.endswith("200"):
            assert before == rules(site), f"ready after {command}"
        said.add(at_once)
        wait_for(lambda: is_ready(site), seconds=SOON)
        assert before == rules(site), f"not as before, after {command}"
    return said


@pytest.mark.parametrize("how", ["delete", "flush"])
def test_each_table_that_goes_is_put_back(guarded: Any, ask: Any, how: str) -> None:
    """One by one, deleted or emptied: named in /readyz, and as before soon after."""
    before, ours = rules(guarded), tables(guarded)
    assert {"ip vagent", "inet vagent"} <= {*ours}
    said = take_away(guarded, (f"{how} table {each}" for each in ours), before)
    # Where asking takes longer than putting back, it was never seen.
    not_ready = {each for each in said if each.endswith("503")}
    told = "is gone" if how == "delete" else " rules"
    assert all("table " in each and told in each for each in not_ready), said
    log = guarded.agent.log.read_text()
    for table in ours:
        assert f"table {table}" in log
    (guest,) = guarded.lab.guests
    assert "I am alice\n" == ask(guest, USER_DATA) == ask6(guest, USER_DATA)


def test_parts_of_tables_are_put_back(guarded: Any, ask: Any) -> None:
    """Chains, single rules, elements of maps: whatever a guest's way needs."""
    (guest,) = guarded.lab.guests
    host = guarded.agent.data_path
    listed = json.loads(host.run("nft", "-j", "list", "chain", "ip", "vagent", "guard"))
    handles = [item["rule"]["handle"] for item in listed["nftables"] if "rule" in item]
    parts = (
        f"delete rule ip vagent guard handle {handles[-1]}",
        "flush map ip vagent endpoints",
        "flush chain ip vagent to_agent",
        "delete chain ip vagent from_fabric",
        "add chain ip vagent trap { policy drop; }",
    )
    take_away(guarded, parts, rules(guarded))
    lost = guarded.agent.get("http://127.0.0.1:8085/metrics")
    assert f"vagent_datapath_rules_lost_total {len(parts)}\n" in lost
    assert "I am alice\n" == ask(guest, USER_DATA)


def test_a_dormant_table_is_put_back(guarded: Any, ask: Any) -> None:
    """All of its rules are there, and none is applied. Named in /readyz, and in force
    soon after, for a guest too.
    """
    before, ours = rules(guarded), tables(guarded)
    said = take_away(
        guarded, (f"add table {each} {{ flags dormant; }}" for each in ours), before
    )
    not_ready = {each for each in said if each.endswith("503")}
    assert all("it is dormant" in each for each in not_ready), said
    assert "it is dormant" in guarded.agent.log.read_text()
    lost = guarded.agent.get("http://127.0.0.1:8085/metrics")
    assert f"vagent_datapath_rules_lost_total {len(ours)}\n" in lost
    (guest,) = guarded.lab.guests
    assert "I am alice\n" == ask(guest, USER_DATA) == ask6(guest, USER_DATA)


def test_changed_elements_are_put_back(guarded: Any, ask: Any) -> None:
    """As many as before, with another value: an endpoint that is somebody else's."""
    (guest,) = guarded.lab.guests
    host = guarded.agent.data_path
    before = rules(guarded)
    swaps = (("ip vagent endpoints", "0x00010000", "0x00010000 : 192.0.2.66 . 80"),)
    take_away(
        guarded,
        (
            f"delete element {name} {{ {old} }}; add element {name} {{ {new} }}"
            for name, old, new in swaps
        ),
        before,
    )
    assert "has 1 elements changed" in guarded.agent.log.read_text()
    assert before == rules(guarded)
    lost = host.run("nft", "list", "map", "ip", "vagent", "endpoints")
    assert "192.0.2.66" not in lost
    assert "I am alice\n" == ask(guest, USER_DATA)


def test_what_is_at_the_taps_is_put_back(guarded: Any, ask: Any) -> None:
    """Programs, and elements of their maps that are taken away, changed or added; what
    it was is told.
    """
    (guest,) = guarded.lab.guests
    host = guarded.lab.host
    files = host.bpf_files
    maps = {name: pinned_map(files, name) for name in KEPT}

    def held() -> dict[str, dict[bytes, bytes]]:
        found = {name: dict(maps[name].elements()) for name in KEPT}
        for name, end in COUNTED.items():
            found[name] = {key: value[:end] for key, value in found[name].items()}
        return found

    def change(name: str) -> None:
        key, value = next(maps[name].elements())
        maps[name].write(key, bytes([value[0] ^ 1]) + value[1:])

    before = held()
    place = next(iter(before["identity"]))
    for told, harm in (
        ("the program at interface", lambda: detach_programs(host, guest.tap)),
        ("at the guests' side", lambda: detach_programs(host, "vagent0")),
        ("map identity", lambda: maps["identity"].delete(place)),
        ("map reply", lambda: change("reply")),
        ("map guest", lambda: change("guest")),
        ("map service", lambda: maps["service"].write(b"x" * 16, b"\1\0\0\0")),
    ):
        harm()
        at_once = readiness(guarded)
        if at_once.endswith("200"):
            assert before == held(), f"ready after {told}"
        wait_for(lambda: is_ready(guarded), seconds=SOON)
        assert before == held(), told
        assert "I am alice\n" == ask(guest, USER_DATA), told
        assert told in guarded.agent.log.read_text()


def test_the_table_at_the_uplink_is_put_back(guarded: Any) -> None:
    """All of it and parts of it, with the elements that lead to services of the host.
    What its loss means is not told by a guest's metadata.
    """
    offer(guarded, "echo", SERVICE4, 7, "127.0.0.1")
    host, table = guarded.lab.host, "inet vagent"

    def held() -> str:
        # Packets are counted meanwhile.
        return re.sub(r"packets \d+ bytes \d+", "", host.run("nft", "list", "ruleset"))

    before = held()
    assert "127.0.0.1 . 7777" in before
    for command in (
        f"delete table {table}",
        f"flush table {table}",
        "flush ruleset",
        f"delete chain {table} only_replies",
        f"flush map {table} near",
        f"add table {table} {{ flags dormant; }}",
    ):
        host.run("nft", command)
        at_once = readiness(guarded)
        if at_once.endswith("200"):
            assert before == held(), f"ready after {command}"
        wait_for(lambda: is_ready(guarded), seconds=SOON)
        assert before == held(), f"not as before, after {command}"


def test_nobody_has_to_ask(guarded: Any) -> None:
    """The agent finds out by itself, without /readyz."""
    before = rules(guarded)
    guarded.agent.data_path.run("nft", "delete table ip vagent")
    wait_for(
        lambda: guarded.agent.get("http://127.0.0.1:8085/metrics"),
        lambda page: "vagent_datapath_rules_lost_total 1\n" in page,
        seconds=SOON,
    )
    wait_for(lambda: rules(guarded), before.__eq__, seconds=SOON)


def test_rules_of_others_disturb_nothing(guarded: Any) -> None:
    """Other programs change their tables; an operator adds a rule to look with. The
    agent stays ready and writes nothing.
    """
    host = guarded.agent.data_path
    applied = "vagent_datapath_transactions_total"
    before = guarded.agent.get("http://127.0.0.1:8085/metrics").partition(applied)[2]
    host.run("nft", "insert rule ip vagent guard counter")
    for command in (
        "add table ip other",
        "flush table ip other",
        "delete table ip other",
    ):
        host.run("nft", command)
        assert is_ready(guarded)
    after = guarded.agent.get("http://127.0.0.1:8085/metrics")
    assert before.splitlines()[0] == after.partition(applied)[2].splitlines()[0]
    assert "vagent_datapath_rules_lost_total 0\n" in after
    assert "counter packets" in host.run("nft", "list chain ip vagent guard")


def test_a_killed_agent_whose_tables_were_taken_is_right_after_its_start(
    guarded: Any, ask: Any
) -> None:
    """Some deleted, some emptied while it was away; ready means that all is back."""
    before, ours = rules(guarded), tables(guarded)
    for number, table in enumerate(ours):
        guarded.agent.stop(signal.SIGKILL)
        other = ours[(number + 1) % len(ours)]
        guarded.agent.data_path.run("nft", f"delete table {table}; flush table {other}")
        guarded.agent.start()
        assert before == rules(guarded), f"{table} deleted, {other} emptied"
    (guest,) = guarded.lab.guests
    assert "I am alice\n" == ask(guest, USER_DATA)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ip link delete vagent0", "interface vagent0 is gone"),
        ("ip link delete vagentu", "interface vagentu is gone"),
        ("ip link set vagentu down", "interface vagentu is down"),
    ],
)
def test_without_its_interfaces_the_agent_is_not_ready(
    guarded: Any, ask: Any, command: str, told: str
) -> None:
    """Rules alone serve nobody. It is said what is the matter, and that a restart mends
    it, which it does.
    """
    _restart_mends(guarded, ask, guarded.lab.host, command, told)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ip link set vagent1 down", "interface vagent1 is down"),
        ("ip address flush dev vagent1", "vagent1 has the address None, not 169.254."),
        ("ip link delete vagent2", "interface vagentu is gone"),
    ],
)
def test_without_the_ends_in_its_namespace_it_is_not_ready(
    guarded: Any, ask: Any, command: str, told: str
) -> None:
    """The same of those that no program of the host has a reason to touch."""
    _restart_mends(guarded, ask, guarded.agent.data_path, command, told)


def _restart_mends(
    guarded: Any, ask: Any, machine: Machine, command: str, told: str
) -> None:
    machine.run(*command.split())
    said = readiness(guarded)
    assert said.endswith("503")
    assert told in said
    assert "a restart of the agent mends it" in said
    guarded.agent.stop()
    guarded.agent.start()
    assert is_ready(guarded)
    (guest,) = guarded.lab.guests
    assert "I am alice\n" == ask(guest, USER_DATA) == ask6(guest, USER_DATA)
