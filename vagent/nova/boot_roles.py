"""Boot roles are those of an instance's creation: a new document does not change them.

So that what targets are told stays the same over time: a guest that was allowed to be a
mail server remains one (specification "vendordata reboot", Ocata).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vagent.errors import WireError

FIELD = "boot_roles"


def with_boot_roles(
    new: Mapping[str, Any], stored: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The new document with the roles of the one whose place it takes.

    Raises WireError where it says others. An instance that was created without roles
    may be given some later, once.
    """
    kept = None if stored is None else stored.get(FIELD)
    if kept is None:
        return dict(new)
    given = new.get(FIELD, kept)
    if given != kept:
        raise WireError(
            f"instance.{FIELD}: got {given}, allowed is {kept}: they were stored when"
            " the instance was created; delete it first to give it others"
        )
    return {**new, FIELD: kept}
