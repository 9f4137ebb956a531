"""What a target is told of a guest: the body that Nova posts, key for key.

Source: nova/api/metadata/vendordata_dynamic.py. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json

from vagent.nova.instance import Instance


def question_of(instance: Instance) -> bytes:
    """The JSON body. `hostname` has no domain, `user-data` is base64 or null, and
    `boot-roles` are names with commas between them.
    """
    user_data = instance.user_data
    body = {
        "project-id": instance.tenant_id,
        "instance-id": instance.uuid,
        "image-id": instance.image_id,
        "user-data": None
        if user_data is None
        else base64.b64encode(user_data).decode(),
        "hostname": instance.hostname,
        "metadata": dict(instance.meta),
        "boot-roles": ",".join(instance.boot_roles),
    }
    return json.dumps(body).encode()


def digest_of(url: str, question: bytes) -> str:
    """Names a question: an answer counts for the same URL and body only."""
    return hashlib.sha256(url.encode() + b"\n" + question).hexdigest()
