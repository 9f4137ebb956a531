"""Runs in Keystone's environment: what a test changes in it, by its own API.

`keystone_seed.py URL seed`: the project `service`, and in it the users `nova` (roles
service, admin) and `novajoin` (admin), passwords as below.
`keystone_seed.py URL password NAME NEW`: a new password, which revokes all tokens that
the user has.
`keystone_seed.py URL accepted NAME PASSWORD`: prints whether Keystone accepts a token
that it issues to the user now. Within the second of a revocation it does not.
"""

from __future__ import annotations

import sys
from typing import Any

from keystoneauth1 import exceptions, session
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


def is_accepted(name: str, password: str) -> bool:
    user = session.Session(auth=account(name, password, "service"))
    subject = {"X-Subject-Token": user.get_token()}
    try:
        user.get("/auth/tokens", headers=subject, endpoint_filter=AT)
    except exceptions.ClientException:
        return False
    return True


def account(name: str, password: str, project: str) -> Any:
    return v3.Password(
        auth_url=URL,
        username=name,
        password=password,
        project_name=project,
        user_domain_id="default",
        project_domain_id="default",
    )


URL, WHAT, *MORE = sys.argv[1:]
AT = {"service_type": "identity", "interface": "public"}
if WHAT == "accepted":
    print(is_accepted(*MORE))
elif WHAT == "seed":
    seed(session.Session(auth=account("admin", "adminpw", "admin")))
else:
    change_password(session.Session(auth=account("admin", "adminpw", "admin")), *MORE)
