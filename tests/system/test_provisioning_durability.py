"""What the config API acknowledges is on the disk; what is not, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.script.objects import ConfigObjects
from tests.system.small_disk import SmallDisk, small_disk
from tests.system.test_provision_script import METADATA, Server
from vagent.linklocal.codec import FQ_NAME, KIND
from vagent.web.json_client import ApiError

pytestmark = pytest.mark.system

INSTANCE = "/vagent/instance/1a2b3c00-0000-4000-8000-000000000003"
OTHER = "/vagent/instance/1a2b3c00-0000-4000-8000-000000000004"
DOCUMENT = {"name": "web", "user_data": "x" * 5_000}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """What the store is on."""
    with small_disk(tmp_path / "state", kibibytes=256) as disk:
        yield disk


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[Server]:
    """A config API that has one service and one instance."""
    server = Server(disk.folder / "vagent.sqlite")
    try:
        assert os.EX_OK == server.run(*METADATA).returncode
        server.client().call("PUT", INSTANCE, DOCUMENT)
        yield server
    finally:
        server.kill()


def everything(server: Server) -> Any:
    """Services in force and instances, as the API tells them."""
    instances = server.client().json("GET", "/vagent/instances")
    return server.in_force(), instances


def changes(server: Server) -> Iterator[tuple[str, str, Any]]:
    """Each kind of change that there is."""
    uuid = ConfigObjects(server.client()).fq_name_to_id(KIND, FQ_NAME)
    assert uuid is not None
    yield "PUT", INSTANCE, {**DOCUMENT, "name": "other"}
    yield "PUT", OTHER, DOCUMENT
    yield "DELETE", INSTANCE, None
    yield "PUT", f"/{KIND}/{uuid}", {KIND: {"annotations": "x" * 5_000}}
    yield "DELETE", f"/{KIND}/{uuid}", None


def test_a_full_disk_changes_nothing(server: Server, disk: SmallDisk) -> None:
    """A real ENOSPC: 503 with the reason for each change, deleting included; all is as
    it was, after a kill as well; and with room it works.
    """
    before = everything(server)
    disk.fill()
    for method, path, value in changes(server):
        with pytest.raises(ApiError, match="full; nothing was changed") as caught:
            server.client().call(method, path, value)
        assert 503 == caught.value.status
    assert before == everything(server)
    server.kill()
    disk.free()
    server.start()
    assert before == everything(server)
    server.client().call("DELETE", INSTANCE)
    server.client().call("PUT", OTHER, DOCUMENT)


def test_what_was_acknowledged_survives_a_kill(server: Server) -> None:
    """Written, replaced, and deleted."""
    server.client().call("PUT", OTHER, DOCUMENT)
    server.client().call("PUT", OTHER, {**DOCUMENT, "name": "other"})
    server.client().call("DELETE", INSTANCE)
    server.kill()
    server.start()
    instances = server.client().json("GET", "/vagent/instances")["instances"]
    assert [{**DOCUMENT, "name": "other"}] == [each["instance"] for each in instances]
    assert ["metadata"] == [
        each["linklocal_service_name"] for each in server.in_force()
    ]
