"""Nova fails at each stage of a boot, with nothing kept: what the guest ends with."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.waiting import holds

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("nothing_kept")]

FIRST, META_DATA = "/openstack", "/openstack/2018-08-27/meta_data.json"
USER_DATA = "/openstack/2018-08-27/user_data"
VENDOR_DATA = "/openstack/2018-08-27/vendor_data.json"
VENDOR_DATA2 = "/openstack/2018-08-27/vendor_data2.json"
NETWORK_DATA = "/openstack/2018-08-27/network_data.json"
EC2_TREE = "/latest/meta-data/"
EC2_FIRST = "/2009-04-04/meta-data/instance-id"
PATIENCE = 10.0
"""Seconds that cloud-init 22.4.2 waits for one answer."""


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("connected", [False, True])
def test_first_boot_is_not_lost_while_nova_is_away(
    town: Any, clients: Any, facts: Any, silent: bool, connected: bool
) -> None:
    """Nova's host refuses, or says nothing at all, and is back 5 s later; the agent had
    a connection to it, or none. cloud-init, which asks once and waits 10 s, finds
    everything.
    """
    town.provision("embedded")
    town.provision("nova")
    if connected:
        assert 200 == clients.curl("alice", FIRST)[0]
    with town.unreachable("nova", silent=silent):
        boot = clients.boot("bob")
        holds(lambda: boot.process.poll() is None, seconds=5)  # it has not given up
    facts.check_openstack(boot.result(), "bob")


def test_first_boot_survives_an_endpoint_that_died(
    town: Any, clients: Any, facts: Any
) -> None:
    """Of two endpoints one is dead; nothing is lost and nothing is slow."""
    town.provision("nova", "127.0.0.2", "127.0.0.1")
    result = clients.boot("bob").result()
    facts.check_openstack(result, "bob")
    assert result["seconds"] < 5


def test_nova_away_for_good_is_an_answer_within_cloud_init_s_patience(
    town: Any, clients: Any
) -> None:
    """The agent answers 503 after its hold time, before cloud-init's own time-out."""
    with town.unreachable("nova"):
        result = clients.boot("bob").result()
    assert not result["found"]
    assert 7 < result["seconds"] < PATIENCE


@pytest.mark.parametrize(
    ("which", "silent"),
    [
        (0, False),
        (1, False),
        (0, True),
        (1, True),
    ],
)
def test_one_of_two_endpoints_vanishes(
    town: Any, clients: Any, which: int, silent: bool
) -> None:
    """Its host goes down while the agent has connections to both: every request is
    answered within cloud-init's patience.
    """
    town.provision("nova", *town.nova_addresses)
    # A connection from before an earlier outage repeats its packets ever more slowly.
    deadline = time.monotonic() + 60
    while {one["address"] for one in town.nova.requests()} != set(town.nova_addresses):
        assert time.monotonic() < deadline, "one endpoint is never used"
        assert 200 == clients.curl("alice", FIRST)[0]
    gone = town.nova_addresses[which]
    with town.unreachable("nova", silent=silent, address=gone):
        for _ in range(3):
            began = time.monotonic()
            assert 200 == clients.curl("alice", FIRST)[0]
            assert time.monotonic() - began < PATIENCE


def test_a_frozen_nova_is_only_a_delay(town: Any, clients: Any, facts: Any) -> None:
    """It takes connections and says nothing for 5 s, with a connection kept or not."""
    assert 200 == clients.curl("alice", FIRST)[0]
    with town.nova.frozen():
        boots = [clients.boot("alice"), clients.boot("bob")]
        holds(lambda: [boot.process.poll() for boot in boots] == [None] * 2, seconds=5)
    facts.check_openstack(boots[0].result(), "alice")
    facts.check_openstack(boots[1].result(), "bob")


KILLED = {"delay": 1, "drop": True}
"""What a request sees of it, with `unreachable` for those that come after."""
STAGES = (FIRST, META_DATA, USER_DATA, VENDOR_DATA, NETWORK_DATA, EC2_TREE)
"""Of a boot, apart from VENDOR_DATA2, which is never sent twice."""


@pytest.mark.parametrize("path", STAGES)
def test_nova_is_killed_at_a_stage_of_a_boot(
    town: Any, clients: Any, facts: Any, path: str
) -> None:
    """Its connection ends while it answers this request, and new ones are refused for
    3 s: the guest misses nothing.
    """
    town.nova.breaks(path, **KILLED)
    boot = clients.boot("bob")
    town.wait_for_request(path)
    with town.unreachable("nova"):
        holds(lambda: boot.process.poll() is None, seconds=3)
    facts.check_openstack(boot.result(), "bob")


def test_nova_is_away_for_longer_than_the_hold_time(
    town: Any, clients: Any, facts: Any
) -> None:
    """cloud-init waits for its user data, and takes 503 for final: the agent closes
    without an answer, it asks again, and the guest misses nothing.
    """
    town.nova.breaks(USER_DATA, **KILLED)
    boot = clients.boot("bob")
    town.wait_for_request(USER_DATA)
    with town.unreachable("nova"):
        holds(lambda: boot.process.poll() is None, seconds=11)
    facts.check_openstack(boot.result(), "bob")


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 503}, KILLED])
def test_vendor_data2_is_lost_rather_than_asked_for_twice(
    town: Any, clients: Any, facts: Any, fault: Any
) -> None:
    """Whatever befalls that one request, Nova sees it once; the rest of the boot is
    whole.
    """
    town.nova.breaks(VENDOR_DATA2, **fault)
    boot = clients.boot("bob")
    if fault is KILLED:
        town.wait_for_request(VENDOR_DATA2)
        with town.unreachable("nova"):
            holds(lambda: 1 == asked_for_it(town), seconds=3)
    result = boot.result()
    facts.check_openstack(result, "bob")
    assert not result["vendor_data2"]
    assert 1 == asked_for_it(town)


def asked_for_it(town: Any) -> int:
    """How often Nova saw the request for vendor_data2."""
    return [one["path"] for one in town.nova.requests()].count(VENDOR_DATA2)


@pytest.mark.parametrize(
    "late",
    [
        {"alice": META_DATA, "bob": USER_DATA},
        {"alice": VENDOR_DATA, "bob": NETWORK_DATA, "carol": EC2_TREE},
    ],
    ids=["first", "later"],
)
def test_a_document_that_takes_12_s(
    town: Any, clients: Any, facts: Any, late: dict[str, str]
) -> None:
    """Guests boot at a time, each waiting for another document: cloud-init gives up
    after 10 s and asks again; the late answer of the first request never becomes the
    answer to another.
    """
    town.nova.breaks_each(
        *(
            {"path": path, "instance": facts[name]["uuid"], "delay": 12}
            for name, path in late.items()
        )
    )
    boots = {name: clients.boot(name) for name in late}
    for name, boot in boots.items():
        result = boot.result()
        facts.check_openstack(result, name)
        assert result["seconds"] > PATIENCE


def test_a_first_answer_that_takes_12_s_is_lost_for_that_guest_only(
    town: Any, clients: Any, facts: Any
) -> None:
    """cloud-init's limit, not ours. The neighbour boots meanwhile, the guest later."""
    town.nova.breaks(FIRST, delay=12)
    slow = clients.boot("alice")
    town.wait_for_request(FIRST)
    facts.check_openstack(clients.boot("bob").result(), "bob")
    assert not slow.result()["found"]
    facts.check_openstack(clients.boot("alice").result(), "alice")


FATAL = (FIRST, META_DATA)
"""Without these the OpenStack datasource of Debian 12 finds nothing."""


@pytest.mark.parametrize("path", STAGES)
def test_nova_s_own_503_is_passed_on(
    town: Any, clients: Any, facts: Any, path: str
) -> None:
    """An answer of Nova is an answer: what cloud-init makes of it is what it would make
    of it without the agent. The next boot has everything.
    """
    town.nova.breaks(path, status=503)
    result = clients.boot("bob").result()
    assert (path not in FATAL) == result["found"]
    if path == USER_DATA:
        assert "" == result["user_data"]
    if path == VENDOR_DATA:
        assert not result["vendor_data"]
    facts.check_openstack(clients.boot("bob").result(), "bob")


@pytest.mark.parametrize("path", STAGES)
def test_a_connection_that_closes_without_an_answer_is_not_noticed(
    town: Any, clients: Any, facts: Any, path: str
) -> None:
    """At any stage of a boot: a kept connection that turns out dead costs nothing,
    not even at the first question, which cloud-init asks once.
    """
    assert 200 == clients.curl("bob", FIRST)[0]
    town.nova.breaks(path, drop=True)
    result = clients.boot("bob").result()
    facts.check_openstack(result, "bob")
    assert result["seconds"] < 5


@pytest.mark.parametrize("path", [FIRST, META_DATA, USER_DATA])
@pytest.mark.parametrize(
    ("fault", "status"), [({"status": 503}, 503), ({"drop": True}, 502)]
)
def test_a_broken_answer_breaks_one_request(
    town: Any, clients: Any, facts: Any, path: str, fault: Any, status: int
) -> None:
    """The guest is told at once, with an empty body; nothing else is harmed."""
    town.nova.breaks(path, times=9, **fault)
    began = time.monotonic()
    assert (status, "") == clients.curl("bob", path)
    assert time.monotonic() - began < 2
    assert 200 == clients.curl("bob", "/latest/meta-data/")[0]
    town.nova.heal()
    facts.check_openstack(clients.boot("bob").result(), "bob")


def test_ec2_asks_again_until_nova_is_there(
    town: Any, clients: Any, facts: Any
) -> None:
    """The Ec2 datasource repeats its first question, after a 503 too."""
    town.nova.breaks(EC2_FIRST, status=503)
    facts.check(clients.boot("bob", "Ec2").result(), "bob")
