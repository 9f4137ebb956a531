"""Runs in Keystone's environment: what a test changes in it, by its own API.

`keystone_seed.py URL seed`: the project `service`, and in it the users `nova` (roles
service, admin) and `novajoin` (admin), passwords as below.
`keystone_seed.py URL password NAME NEW`: a new password, which revokes all tokens that
the user has.
"""

from __future__ import annotations

import sys
from typing import Any

from keystoneauth1 import session
from keystoneauth1.identity import v3

USERS = {"nova": ("novapw", ("service", "admin")), "novajoin": ("njpw", ("admin",))}


def found(keystone: Any, kind: str, name: str) -> str:
    """The id of what has this name."""
    path = f"/{kind}s?name={name}"
    (one,) = keystone.get(path, endpoint_filter=AT).json()[f"{kind}s"]
    return str(one["id"])


def seed(keystone: Any) -> None:
    body = {"project": {"name": "service", "domain_id": "default"}}
    made = keystone.post("/projects", json=body, endpoint_filter=AT).json()
    project = made["project"]["id"]
    for name, (password, roles) in USERS.items():
        body = {"user": {"name": name, "password": password, "domain_id": "default"}}
        made = keystone.post("/users", json=body, endpoint_filter=AT).json()
        user = made["user"]["id"]
        for role in roles:
            keystone.put(
                f"/projects/{project}/users/{user}/roles/"
                + found(keystone, "role", role),
                endpoint_filter=AT,
            )


def change_password(keystone: Any, name: str, password: str) -> None:
    user = found(keystone, "user", name)
    body = {"user": {"password": password}}
    keystone.patch(f"/users/{user}", json=body, endpoint_filter=AT)


URL, WHAT, *MORE = sys.argv[1:]
AT = {"service_type": "identity", "interface": "public"}
ADMIN = v3.Password(
    auth_url=URL,
    username="admin",
    password="adminpw",
    project_name="admin",
    user_domain_id="default",
    project_domain_id="default",
)
if WHAT == "seed":
    seed(session.Session(auth=ADMIN))
else:
    change_password(session.Session(auth=ADMIN), *MORE)
