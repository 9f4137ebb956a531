"""What a target is told of a guest is what Nova tells it, byte for byte."""

from __future__ import annotations

import base64
import json

from vagent.nova.codec import decode_instance
from vagent.nova.vendordata.question import digest_of, question_of

UUID = "1a2b3c00-0000-4000-8000-000000000001"
TENANT = "7e000000000040008000000000000001"
USER_DATA = b"#cloud-config\n"

RECORDED = (
    f'{{"project-id": "{TENANT}", "instance-id": "{UUID}",'
    ' "image-id": "1a6e0000-0000-4000-8000-000000000001",'
    f' "user-data": "{base64.b64encode(USER_DATA).decode()}",'
    ' "hostname": "full-vm-1", "metadata": {"role": "web", "empty": "",'
    r' "\u00fcn\u00ef": "v\u00e0lu\u00e9 \u2603"}, "boot-roles": "admin,member"}'
)
"""As Nova 34 sent it, but for its longer user data."""


def test_a_recorded_request() -> None:
    """Keys, their order, escapes and blanks are Nova's."""
    instance = decode_instance(
        {
            "uuid": UUID,
            "tenant_id": TENANT,
            "image_id": "1a6e0000-0000-4000-8000-000000000001",
            "hostname": "full-vm-1",
            "domain": "example.test",
            "user_data": USER_DATA.decode(),
            "meta": {"role": "web", "empty": "", "ünï": "vàlué ☃"},
            "boot_roles": ["admin", "member"],
        }
    )
    assert RECORDED.encode() == question_of(instance)


def test_what_is_not_known() -> None:
    """No user data are null, empty ones an empty text; no image and no roles, too."""
    bare = decode_instance({"uuid": UUID, "tenant_id": TENANT})
    empty = decode_instance({"uuid": UUID, "tenant_id": TENANT, "user_data": ""})
    assert {
        "project-id": TENANT,
        "instance-id": UUID,
        "image-id": "",
        "user-data": None,
        "hostname": f"vm-{UUID}",
        "metadata": {},
        "boot-roles": "",
    } == json.loads(question_of(bare))
    assert "" == json.loads(question_of(empty))["user-data"]


def test_the_digest_names_url_and_body() -> None:
    """Another URL or another body is another question; the same is the same."""
    one = digest_of("http://a/", b"x")
    assert one == digest_of("http://a/", b"x")
    assert 3 == len({one, digest_of("http://b/", b"x"), digest_of("http://a/", b"y")})
