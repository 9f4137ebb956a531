"""Whom a 503 would cost a document for good."""

from __future__ import annotations

import pytest

from vagent.metadata.guest.cloud_init import takes_503_for_final
from vagent.metadata.http.request_head import RequestHead, parse_request_head

DOCUMENT = "/openstack/2018-08-27/user_data"


def asks(path: str, agent: str) -> RequestHead:
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nUser-Agent: {agent}\r\n"
    parsed = parse_request_head(f"{head}\r\n".encode())
    assert isinstance(parsed, RequestHead)
    return parsed


@pytest.mark.parametrize(
    "version", ["0.7.9", "22.4.2", "22.4.2-1+deb12u3", "24.4.1", "25.0"]
)
def test_an_old_cloud_init_does_without(version: str) -> None:
    """Whatever its distribution appends to the version."""
    assert takes_503_for_final(asks(DOCUMENT, f"Cloud-Init/{version}"))
    content = "/openstack/content/0000"
    assert takes_503_for_final(asks(content, f"Cloud-Init/{version}"))


@pytest.mark.parametrize(
    "agent",
    [
        *("Cloud-Init/25.1", "Cloud-Init/25.1.4-1", "Cloud-Init/26.2"),
        *("python-requests/2.28.1", "curl/7.88.1", "My Cloud-Init/22.4.2"),
        *("Cloud-Init/", "Cloud-Init/22", "Cloud-Init/x.1"),
    ],
)
def test_others_come_back_after_it(agent: str) -> None:
    """Newer ones, other clients, and what only looks like one."""
    assert not takes_503_for_final(asks(DOCUMENT, agent))


@pytest.mark.parametrize(
    "path",
    [
        *("/openstack", "/openstack/", "/", "/latest/meta-data/", "/openstackx/y"),
        *("/latest/user-data", "/latest/api/token"),
    ],
)
def test_of_other_paths_a_503_is_not_final(path: str) -> None:
    """The list of versions, and the tree of EC2, which it repeats whatever failed."""
    assert not takes_503_for_final(asks(path, "Cloud-Init/22.4.2"))
