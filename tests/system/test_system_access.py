"""Who may use the operator's APIs of a real agent: root, members of the group, and
whoever has the token; no other user of the host.
"""

from __future__ import annotations

import grp
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.agent import configuration
from vagent.web.places import SHARE

pytestmark = pytest.mark.system

STRANGER = 65534
MEMBER, GROUP = 54321, 54322
USER_DATA = "only-for-the-guest"
INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
DEFINITION = {
    "uuid": INSTANCE,
    "tenant_id": "0123456789abcdef0123456789abcdef",
    "user_data": USER_DATA,
}
PORT = {
    "id": "93c2c386-6e79-485e-bfa4-b9daa713133b",
    "instance-id": INSTANCE,
    "system-name": "tap-none",
    "ip-address": "10.9.9.9",
    "mac-address": "02:00:00:00:09:09",
    "type": 0,
}
CODE = ("-o", "/dev/null", "-w", "%{http_code}")
HOLD = """
import socket, sys
held = []
for _ in range(int(sys.argv[1])):
    one = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    held.append(one)
print("holding", flush=True)
sys.stdin.read()
"""


def ask(site: Any, uid: int, url: str, *options: str) -> str:
    """What this user gets from the agent over TCP."""
    user = ("setpriv", f"--reuid={uid}", "--regid=65534", "--clear-groups")
    return str(site.lab.host.run(*user, "curl", "-sS", "-m", "10", *options, url))


def ask_socket(site: Any, uid: int, name: str, path: str, group: int = 65534) -> str:
    """The status that a user with one group gets by a Unix socket; 000 if the system
    does not even let it connect.
    """
    return str(
        site.lab.host.run(
            *("setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"),
            *("curl", "-s", "-m", "10", *CODE),
            *("--unix-socket", f"{site.folder}/run/{name}.sock"),
            f"http://localhost{path}",
            check=False,
        )
    )


def with_group(folder: Path) -> tuple[str, ...]:
    """A prefix that runs the agent on a host with the group vagent and a member."""
    groups, users = folder / "group", folder / "passwd"
    groups.write_text(
        Path("/etc/group").read_text() + f"vagent:x:{GROUP}:vagent-member\n"
    )
    users.write_text(
        Path("/etc/passwd").read_text() + f"vagent-member:x:{MEMBER}:65534::/:/bin/sh\n"
    )
    script = (
        f"mount --bind {groups} /etc/group && mount --bind {users} /etc/passwd &&"
        ' exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def open_folders(folder: Path) -> None:
    """Let every user enter the folders above the sockets, as on a host."""
    for each in (folder, *folder.parents):
        if each.stat().st_mode & 0o005 != 0o005:
            each.chmod(each.stat().st_mode | 0o055)


def test_what_another_user_of_the_host_cannot(idle_site: Any) -> None:
    """Read user data, replace it, register a port, delete, provision, and keep root
    out by holding connections. Introspection is for everybody.
    """
    site = idle_site
    site.agent.start()
    instances = "http://127.0.0.1:8082/vagent/instance"
    document = json.dumps(DEFINITION)
    put = ("-X", "PUT", "-d", document)
    assert ask(site, 0, f"{instances}/{INSTANCE}", *put, *CODE)[0] == "2"
    shown = ask(site, 0, f"{instances}/{INSTANCE}")
    assert USER_DATA in shown

    calls: list[tuple[str, tuple[str, ...]]] = [
        (f"{instances}/{INSTANCE}", ()),
        (f"{instances}s", ()),
        (f"{instances}/{INSTANCE}", put),
        (f"{instances}/{INSTANCE}", ("-X", "DELETE")),
        ("http://127.0.0.1:8082/global-vrouter-configs", ()),
        ("http://127.0.0.1:8082/vagent/services", ()),
        ("http://127.0.0.1:9091/port", ("-d", json.dumps(PORT))),
        (f"http://127.0.0.1:9091/port/{PORT['id']}", ("-X", "DELETE")),
        ("http://127.0.0.1:9091/ports", ()),
        ("http://127.0.0.1:9091/syncports", ("-d", "")),
    ]
    for url, options in calls:
        assert "403" == ask(site, STRANGER, url, *options, *CODE), (url, options)
        assert USER_DATA not in ask(site, STRANGER, url, *options)
    assert shown == ask(site, 0, f"{instances}/{INSTANCE}")
    assert "[]" == ask(site, 0, "http://127.0.0.1:9091/ports")
    assert "200" == ask(site, STRANGER, "http://127.0.0.1:8085/healthz", *CODE)

    for port, path in ((9091, "ports"), (8082, ""), (8085, "healthz")):
        user = ("setpriv", f"--reuid={STRANGER}", "--regid=65534", "--clear-groups")
        held = site.lab.host.start(
            [*user, sys.executable, "-c", HOLD, str(3 * SHARE), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert held.stdout.readline() == b"holding\n"
        assert "200" == ask(site, 0, f"http://127.0.0.1:{port}/{path}", *CODE)
        held.communicate(timeout=20)
    log = site.agent.log.read_text()
    assert f"PUT /vagent/instance/{INSTANCE} : 20" in log
    assert "for uid 0 over TCP from 127.0.0.1" in log
    assert USER_DATA not in log


def test_sockets_without_the_group(idle_site: Any) -> None:
    """Are root's alone, and vagentctl uses them; those of a killed agent are
    replaced, and none is left after a clean stop, even if one was removed before.
    """
    with pytest.raises(KeyError):
        grp.getgrnam("vagent")
    site = idle_site
    site.agent.start()
    site.agent.process.kill()
    site.agent.process.wait()
    site.agent.start()
    run = site.folder / "run"
    open_folders(run)
    for name, path in (
        ("port-api", "/ports"),
        ("config-api", "/"),
        ("introspect", "/healthz"),
    ):
        assert "200" == ask_socket(site, 0, name, path)
        assert "000" == ask_socket(site, STRANGER, name, path)
    site.agent.tool(
        *("vagent.ctl", "--config", str(site.agent.conf), "port", "add"),
        *("--instance", INSTANCE, "--tap", "tap-none", "--ip", "10.9.9.9"),
        *("--mac", "02:00:00:00:09:09"),
    )
    assert "POST /port : 200 for uid 0 gid 0 over socket" in site.agent.log.read_text()
    (run / "introspect.sock").unlink()
    assert 0 == site.agent.stop()
    assert [] == list(run.glob("*.sock"))


def test_a_member_of_the_group(idle_site: Any) -> None:
    """May do what root may, by the sockets and over TCP; others still may not."""
    site = idle_site
    site.agent.prefix = with_group(site.folder.parent)
    site.agent.start()
    open_folders(site.folder / "run")
    url = "http://127.0.0.1:9091/ports"
    assert "200" == ask(site, MEMBER, url, *CODE)
    assert "403" == ask(site, STRANGER, url, *CODE)
    assert "200" == ask_socket(site, MEMBER, "port-api", "/ports", group=GROUP)
    assert "000" == ask_socket(site, STRANGER, "port-api", "/ports")


def test_a_token_over_another_address(idle_site: Any, tmp_path: Path) -> None:
    """Who has it may; who has none or a wrong one may not, root included; vagentctl
    finds it in agent.conf, and a file of its own.
    """
    site = idle_site
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    site.lab.host.run("ip", "address", "add", "192.0.2.77/32", "dev", "lo")
    site.agent.config = configuration(
        site.folder,
        extra="<port-api><address>192.0.2.77</address>"
        f'<access file="{token}">token</access></port-api>',
    )
    site.agent.start()
    url = "http://192.0.2.77:9091/ports"
    bearer = "Authorization: Bearer 0123456789abcde"
    assert "200" == ask(site, STRANGER, url, "-H", f"{bearer}f", *CODE)
    assert "401" == ask(site, STRANGER, url, "-H", f"{bearer}0", *CODE)
    assert "401" == ask(site, 0, url, *CODE)
    options = ("--port-api", "http://192.0.2.77:9091", "--token-file", str(token))
    site.agent.tool("vagent.ctl", *options, "port", "list")
    assert "0123456789abcdef" not in site.agent.log.read_text()
