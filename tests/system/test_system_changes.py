"""What guests see of changes that an operator makes, through the whole path."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from lab.waiting import wait_for

pytestmark = pytest.mark.system

USER_DATA = "/openstack/latest/user_data"
PASSWORD = "/openstack/latest/password"
STATUS = ("-o", "/dev/null", "-w", "%{http_code}")


def described(site: Any, guest: Any, text: str | None) -> None:
    """Change the guest's user data by the config API; returns when that is done."""
    document = {
        "uuid": guest.instance_id,
        "tenant_id": guest.tenant_id,
        **({} if text is None else {"user_data": text}),
    }
    file = site.folder / "changed.json"
    file.write_text(json.dumps(document))
    site.agent.tool("vagent.ctl", "instance", "add", str(file))


def waiting(site: Any, guest: Any, path: str = USER_DATA) -> subprocess.Popen[bytes]:
    """The guest waits for a change; returns when it does."""

    def known() -> int:
        said = site.agent.tool("vagent.ctl", "-o", "json", "trace", "Metadata")
        return sum(one["event"] == "ChangeAwaited" for one in json.loads(said))

    before = known()
    url = f"http://169.254.169.254{path}?wait_for_change=true&timeout_sec=60"
    process: subprocess.Popen[bytes] = guest.machine.start(
        ["curl", "-sS", "-m", "50", "-w", " %{http_code}", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: known() > before)
    return process


def test_changes_are_seen_at_once(site: Any, ask: Any) -> None:
    """Also that something was deleted, and by whoever waits for it."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    for text in ("one", "two"):
        described(site, alice, text)
        assert text == ask(alice, USER_DATA)
    process = waiting(site, alice)
    described(site, alice, "three")
    assert b"three 200" == process.communicate(timeout=20)[0]
    described(site, alice, None)
    assert "404" == ask(alice, USER_DATA, *STATUS)
    uuid = alice.instance_id
    assert "" == ask(alice, PASSWORD)
    for text in ("c2VjcmV0", "YW5vdGhlcg=="):
        assert "200" == ask(alice, PASSWORD, "--data", text, *STATUS)
        assert "409" == ask(alice, PASSWORD, "--data", "more", *STATUS)
        command = ("vagent.ctl", "instance", "password", uuid)
        assert f"{text}\n" == site.agent.tool(*command)
        site.agent.tool(*command, "--clear")
        assert "" == ask(alice, PASSWORD)
    log = site.agent.log.read_text()
    assert f"GET /vagent/instance/{uuid}/password : 200 for uid 0" in log
    assert f"DELETE /vagent/instance/{uuid}/password : 200 for uid 0" in log
    assert "c2VjcmV0" not in log


def test_what_ends_a_wait(idle_site: Any) -> None:
    """A port that goes: a reset. A stop: the document as it is, within a moment."""
    site = idle_site
    site.agent.start()
    alice, bob = site.alice(), site.bob()
    for guest in (alice, bob):
        site.introduce(guest)
        described(site, guest, "same")
    site.provision()
    gone, kept = waiting(site, alice), waiting(site, bob)
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    said, complaint = gone.communicate(timeout=20)
    assert b" 000" == said
    assert b"reset" in complaint.lower()
    assert 0 == site.agent.stop()
    assert b"same 200" == kept.communicate(timeout=20)[0]
