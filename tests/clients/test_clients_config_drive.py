"""A config drive of an instance: the same documents, and cloud-init boots from it while
the metadata service is there as well (`force_config_drive` in nova.conf).
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_clients_keystone import asked
from tests.clients.test_clients_novajoin import enrolling, joining

pycdlib = pytest.importorskip("pycdlib", reason="it is not installed")
pytestmark = pytest.mark.system

__all__ = ["enrolling"]


def extracted(image: Path, folder: Path) -> dict[str, bytes]:
    """The files of the drive by their Rock Ridge paths, also put into a folder."""
    iso = pycdlib.PyCdlib()
    iso.open(str(image))
    found = {}
    for above, _, names in iso.walk(rr_path="/"):
        for name in names:
            path = f"{above}/{name}".lstrip("/")
            content = io.BytesIO()
            iso.get_file_from_iso_fp(content, rr_path=f"/{path}")
            found[path] = content.getvalue()
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(found[path])
    iso.close()
    return found


def without_seed(content: bytes) -> Any:
    """A document; the random seed is another one each time."""
    document = json.loads(content)
    if isinstance(document, dict):
        document.pop("random_seed", None)
    return document


def test_a_guest_boots_from_its_drive(
    enrolling: Any, clients: Any, novajoin: Any, facts: Any, tmp_path: Path
) -> None:
    """Each file is what the service answers, the one-time password included, and
    cloud-init finds in it all that it finds over the network.
    """
    image, drive = tmp_path / "drive.iso", tmp_path / "drive"
    uuid = enrolling.guests["alice"].instance_id
    with joining(enrolling):
        before = asked(clients)["join"]
        make = ("vagent.ctl", "instance", "config-drive", uuid, str(image))
        enrolling.agent.tool(*make)
        files = extracted(image, drive)
        for path, content in files.items():
            if path.startswith("ec2/") and path.endswith(".json"):
                continue
            url = "/" + path.removeprefix("ec2/")
            got = tmp_path / "got"
            assert 200 == clients.curl("alice", url, "-o", str(got))[0], url
            if path.endswith("meta_data.json"):
                assert without_seed(content) == without_seed(got.read_bytes())
            else:
                assert got.read_bytes() == content, path
        found = clients.boot("alice", "ConfigDrive", drive=drive).result()
        facts.check_openstack(found, "alice")
        assert before == found["vendor_data2"]["join"]
        assert before == asked(clients)["join"]
    assert (
        before["ipaotp"] == novajoin.ipa()["hosts"][before["hostname"]]["userpassword"]
    )
