"""Targets are called with a token of the agent's own account in a real Keystone. The
token may end or be revoked, the account be refused, and Keystone be away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.waiting import wait_for
from tests.clients.real_keystone import CREDENTIALS, TOKEN_SECONDS
from tests.clients.test_clients_nova import number
from tests.clients.who_target import GUARDED, PLAIN

pytestmark = pytest.mark.system

VENDOR_DATA2 = "/openstack/latest/vendor_data2.json"
NOBODY: dict[str, Any] = {}
NOVA = {"user": "nova", "project": "service", "has_token": True}


def credentials(**changes: str) -> str:
    """`<service-credentials>` of agent.conf."""
    options = "".join(
        f"<{name}>{text}</{name}>" for name, text in (CREDENTIALS | changes).items()
    )
    return (
        "<service-credentials><auth-type>password</auth-type>"
        f"<auth-options>{options}</auth-options></service-credentials>"
    )


def vendordata(*targets: str, more: str = "<cache-time>0</cache-time>") -> str:
    """`<vendordata>`: each request calls, unless told otherwise, and a failure is not
    remembered.
    """
    return (
        f"<vendordata><dynamic-targets>{' '.join(targets)}</dynamic-targets>"
        f"<failure-cache-time>0</failure-cache-time>{more}</vendordata>"
    )


@contextmanager
def configured(town: Any, *sections: str) -> Iterator[None]:
    """The agent with these sections, and its embedded server as the upstream."""
    with town.restarted("</agent>", f"{''.join(sections)}</agent>"):
        town.provision("embedded")
        yield


def asked(clients: Any, name: str = "alice") -> dict[str, Any]:
    """What a guest gets of targets."""
    status, body = clients.curl(name, VENDOR_DATA2)
    assert 200 == status, body
    document: dict[str, Any] = json.loads(body)
    del document["static"]
    return document


def known(said: dict[str, Any]) -> dict[str, Any]:
    """Who asked, without the roles."""
    return {name: text for name, text in said.items() if name != "roles"}


def test_the_account_of_the_agent_asks(town: Any, clients: Any, who: Any) -> None:
    """Keystone's own middleware knows it: user, project and roles; one token for many
    calls; what a guest sends as a token reaches nobody.
    """
    with configured(town, credentials(), vendordata(f"who@{GUARDED}")):
        before = len(who.asked())
        forged = ("-H", "X-Auth-Token: forged", "-H", "X-Service-Token: forged")
        status, body = clients.curl("alice", VENDOR_DATA2, *forged)
        said = json.loads(body)["who"]
        assert (200, NOVA) == (status, known(said))
        assert {"service", "admin"} <= set(said["roles"].split(","))
        for _ in range(3):
            assert NOVA == known(asked(clients, "bob")["who"])
        assert 1 == len({one["token"] for one in who.asked()[before:]})
        assert 1 == number(town, "vagent_keystone_credentials_fetched_total")


def test_without_an_account_there_is_no_token(
    town: Any, clients: Any, who: Any
) -> None:
    """A target that wants one refuses; another one is called all the same."""
    targets = vendordata(f"who@{GUARDED}", f"plain@{PLAIN}")
    with configured(town, targets):
        found = asked(clients)
    assert NOBODY == found["who"]
    assert not found["plain"]["has_token"]


def test_a_revoked_token_is_replaced(
    town: Any, clients: Any, who: Any, keystone: Any
) -> None:
    """A new password revokes what the account has; the target's 401 brings a new one,
    within the same request of the guest.
    """
    with configured(town, credentials(), vendordata(f"who@{GUARDED}")):
        assert NOVA == known(asked(clients)["who"])
        keystone.set_password("nova", CREDENTIALS["password"])
        before = len(who.asked())
        assert NOVA == known(asked(clients)["who"])
        tokens = [one["token"] for one in who.asked()[before:]]
        assert 2 == len(tokens) == len(set(tokens))
        assert 1 == number(town, "vagent_keystone_credentials_refused_total")


def test_a_token_that_ended_is_replaced(
    town: Any, clients: Any, who: Any, keystone: Any
) -> None:
    """For Keystone, whose clock is ahead, it is over; the agent does not know."""
    with configured(town, credentials(), vendordata(f"who@{GUARDED}")):
        assert NOVA == known(asked(clients)["who"])
        before = len(who.asked())
        keystone.set_clock(TOKEN_SECONDS + 60)
        try:
            assert NOVA == known(asked(clients)["who"])
        finally:
            keystone.set_clock(0)
        tokens = [one["token"] for one in who.asked()[before:]]
        assert 2 == len(tokens) == len(set(tokens))


def test_a_token_is_renewed_before_it_ends(
    town: Any, clients: Any, who: Any, keystone: Any
) -> None:
    """Two minutes before, without a refusal: here Keystone's clock is behind, so that
    what it gives ends soon.
    """
    keystone.set_clock(90 - TOKEN_SECONDS)
    try:
        with configured(town, credentials(), vendordata(f"plain@{PLAIN}")):
            before = len(who.asked())
            for _ in range(3):
                assert asked(clients)["plain"]["has_token"]
            tokens = [one["token"] for one in who.asked()[before:]]
            assert 3 == len(set(tokens))
            assert 0 == number(town, "vagent_keystone_credentials_refused_total")
    finally:
        keystone.set_clock(0)


def test_wrong_credentials(town: Any, clients: Any, who: Any, keystone: Any) -> None:
    """Nobody is called without a token; when the account is right again, it works
    without a restart, and the trace names the reason and no password.
    """
    with configured(town, credentials(password="wr0ng"), vendordata(f"p@{PLAIN}")):
        before = len(who.asked())
        assert {"p": NOBODY} == asked(clients)
        assert before == len(who.asked())
        said = town.agent.tool("vagent.ctl", "trace", "Keystone")
        assert "no credentials from Keystone" in said
        assert "401" in said
        assert "wr0ng" not in said + town.agent.log.read_text()
        keystone.set_password("nova", "wr0ng")
        try:
            wait_for(lambda: asked(clients)["p"] != NOBODY)
        finally:
            keystone.set_password("nova", CREDENTIALS["password"])


def test_keystone_is_away(town: Any, clients: Any, who: Any, keystone: Any) -> None:
    """At the start of the agent: what needs a token fails, and works when Keystone has
    come. Later: the token that is there goes on working.
    """
    keystone.kill()
    try:
        with configured(town, credentials(), vendordata(f"plain@{PLAIN}")):
            assert {"plain": NOBODY} == asked(clients)
            keystone.start()
            wait_for(lambda: asked(clients)["plain"] != NOBODY)
            keystone.kill()
            assert asked(clients)["plain"]["has_token"]
            told = number(town, "vagent_keystone_credentials_fetched_total")
            assert 1 == told
    finally:
        keystone.kill()
        keystone.start()


def test_the_hard_mode_marks_the_instance(
    town: Any, clients: Any, who: Any, keystone: Any
) -> None:
    """The document is an error until the target answers; operators see whose."""
    hard = "<failure-mode>hard</failure-mode>"
    uuid = town.guests["alice"].instance_id
    with configured(town, vendordata(f"who@{GUARDED}", more=hard)):
        assert (500, "") == clients.curl("alice", VENDOR_DATA2)
        assert 200 == clients.curl("alice", "/openstack/latest/meta_data.json")[0]
        listed = json.loads(
            town.agent.tool("vagent.ctl", "-o", "json", "instance", "list")
        )
        failed = {one["uuid"]: one.get("failed_targets") for one in listed}
        assert ["who"] == failed.pop(uuid)
        assert [None, None] == list(failed.values())
        assert "is marked as failed: who: status 401" in town.agent.log.read_text()
    with configured(town, credentials(), vendordata(f"who@{GUARDED}", more=hard)):
        assert NOVA == known(asked(clients)["who"])
        shown = town.agent.tool("vagent.ctl", "instance", "vendordata", uuid)
        assert "answered" in shown
        assert "failed" not in shown
        town.agent.tool("vagent.ctl", "instance", "vendordata", uuid, "--forget")
