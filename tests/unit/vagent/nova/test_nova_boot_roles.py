"""Boot roles are stored when an instance is created, and stay."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.errors import WireError
from vagent.nova.boot_roles import with_boot_roles

ROLES = ["admin", "member"]


@pytest.mark.parametrize(
    ("new", "stored", "expected"),
    [
        ({"a": 1}, None, {"a": 1}),
        ({"boot_roles": ROLES}, None, {"boot_roles": ROLES}),
        ({"a": 2}, {"a": 1, "boot_roles": ROLES}, {"a": 2, "boot_roles": ROLES}),
        ({"boot_roles": ROLES}, {"boot_roles": ROLES}, {"boot_roles": ROLES}),
        ({"a": 2}, {"a": 1}, {"a": 2}),
        ({"boot_roles": ROLES}, {"a": 1}, {"boot_roles": ROLES}),
        ({"a": 2}, {"boot_roles": []}, {"a": 2, "boot_roles": []}),
    ],
)
def test_what_is_stored(
    new: dict[str, Any], stored: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    """A document without roles keeps those that there are; none may get some once."""
    assert expected == with_boot_roles(new, stored)


@pytest.mark.parametrize("roles", [["admin"], ["member", "admin"], [], "admin,member"])
def test_other_roles_are_refused(roles: Any) -> None:
    """The message says which there are, and what to do."""
    with pytest.raises(WireError, match="delete it first") as caught:
        with_boot_roles({"boot_roles": roles}, {"boot_roles": ROLES})
    assert str(ROLES) in str(caught.value)
