"""One password over repeated reads, from a guest through the whole path to a real
novajoin: each call of it sets another one-time password in IPA, and the former one
enrols nobody.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.clients.facts import FACTS, document
from tests.clients.real_novajoin import URL
from tests.clients.test_clients_keystone import (
    VENDOR_DATA2,
    asked,
    configured,
    credentials,
    vendordata,
)

pytestmark = pytest.mark.system

DAY = "<cache-time>86400</cache-time>"
HOST = "alice-vm.example.test"


@pytest.fixture
def enrolling(town: Any) -> Any:
    """Alice's document asks for enrolment."""
    wanted = document(FACTS["alice"])
    add(town, {**wanted, "meta": {**wanted["meta"], "ipa_enroll": "True"}})
    yield town
    add(town, wanted)


def add(town: Any, instance: dict[str, Any]) -> None:
    file = town.folder / "enrolling.json"
    file.write_text(json.dumps(instance))
    town.agent.tool("vagent.ctl", "instance", "add", str(file))


def joining(town: Any, *, static: Path | None = None, more: str = DAY) -> Any:
    """The agent with novajoin as its target."""
    file = "" if static is None else f"<static-file>{static}</static-file>"
    return configured(town, credentials(), vendordata(f"join@{URL}", more=more + file))


def password_in(ipa: dict[str, Any]) -> str:
    password: str = ipa["hosts"][HOST]["userpassword"]
    return password


def test_one_password_for_many_reads(
    enrolling: Any, clients: Any, novajoin: Any
) -> None:
    """One after another, at the same time, by another version, after a restart and a
    crash of the agent: always the password that IPA knows, set once.
    """
    with joining(enrolling):
        before = len(novajoin.ipa()["calls"])
        first = asked(clients)["join"]
        assert {"hostname": HOST, "krb_realm": "EXAMPLE.TEST"} == {
            name: text for name, text in first.items() if name != "ipaotp"
        }
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: asked(clients)["join"], range(8)))
        _, body = clients.curl("alice", "/openstack/2016-10-06/vendor_data2.json")
        found.append(json.loads(body)["join"])
        enrolling.agent.stop()
        enrolling.agent.start()
        found.append(asked(clients)["join"])
        enrolling.agent.stop(signal.SIGKILL)
        enrolling.agent.start()
        found.append(asked(clients)["join"])
        assert [first] * 11 == found
        assert first["ipaotp"] == password_in(novajoin.ipa())
        assert 1 == len(novajoin.ipa()["calls"]) - before


def test_requests_of_a_boot_share_one_password(
    enrolling: Any, clients: Any, novajoin: Any
) -> None:
    """Eight at once, before anything is known: one call."""
    with joining(enrolling):
        uuid = enrolling.guests["alice"].instance_id
        forget = ("vagent.ctl", "instance", "vendordata", uuid, "--forget")
        enrolling.agent.tool(*forget)
        before = len(novajoin.ipa()["calls"])
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: asked(clients)["join"], range(8)))
        assert [found[0]] * 8 == found
        assert 1 == len(novajoin.ipa()["calls"]) - before


def test_what_happens_without_keeping(
    enrolling: Any, clients: Any, novajoin: Any
) -> None:
    """As in Nova: each read voids the password that the guest read before."""
    with joining(enrolling, more="<cache-time>0</cache-time>"):
        first, second = asked(clients)["join"], asked(clients)["join"]
    assert first["ipaotp"] != second["ipaotp"] == password_in(novajoin.ipa())


def test_a_guest_that_does_not_enrol(town: Any, clients: Any, novajoin: Any) -> None:
    """novajoin wants the image then; that bob has none is its 400, and his alone."""
    with joining(town):
        assert {"join": {}} == asked(clients, "bob")


def test_a_guest_enrols_itself(
    enrolling: Any, clients: Any, novajoin: Any, tmp_path: Path
) -> None:
    """cloud-init gets novajoin's own script as vendor data; the script, run after a
    boot that has read everything once, has a password that IPA takes.
    """
    static = tmp_path / "static.json"
    static.write_text(json.dumps({"cloud-init": novajoin.script()}))
    with joining(enrolling, static=static):
        result = clients.boot("alice").result()
        assert novajoin.script() == result["vendor_data"]["cloud-init"]
        assert HOST == result["vendor_data2"]["join"]["hostname"]
        said = run_script(enrolling, result["vendor_data"]["cloud-init"], tmp_path)
    password = password_in(novajoin.ipa())
    expected = ("-U", "-w", password, "--hostname", HOST, "--mkhomedir")
    assert [*expected, "--realm=EXAMPLE.TEST"] == said.split()


def run_script(town: Any, cloud_config: str, folder: Path) -> str:
    """What novajoin's script calls ipa-client-install with, run in the guest."""
    found = re.search(r"content: \|\n(.*?)\n   path:", cloud_config, re.DOTALL)
    assert found is not None
    lines = [line[5:] for line in found[1].splitlines()]
    script = folder / "setup-ipa-client.sh"
    # Its shebang says sh, but it is written for bash; it sleeps before it asks.
    script.write_text("\n".join(lines).replace("sleep $[", ": $[") + "\n")
    tools = folder / "bin"
    tools.mkdir()
    (tools / "ipa-client-install").write_text(
        f'#!/bin/sh\necho "$@" >{folder}/called\n'
    )
    (tools / "python").write_text('#!/bin/sh\nexec python3 "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    process = town.guests["alice"].machine.start(
        ["bash", str(script)],
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = process.communicate(timeout=60)
    assert 0 == process.returncode, said.decode()
    return (folder / "called").read_text()


def test_the_document_is_never_kept_by_the_proxy(
    enrolling: Any, clients: Any, novajoin: Any
) -> None:
    """Forgotten by an operator: the next read has another password, at once."""
    uuid = enrolling.guests["alice"].instance_id
    with joining(enrolling):
        first = asked(clients)["join"]["ipaotp"]
        forget = ("vagent.ctl", "instance", "vendordata", uuid, "--forget")
        enrolling.agent.tool(*forget)
        second = asked(clients)["join"]["ipaotp"]
        assert first != second == password_in(novajoin.ipa())
        assert 200 == clients.curl("alice", VENDOR_DATA2)[0]
