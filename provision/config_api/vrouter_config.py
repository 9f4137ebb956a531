"""The global-vrouter-config object: what create and update do to it, and how it is
shown. Pure.

Contrail's other properties of this type are stored without meaning, so that its tools
read back what they wrote. Unknown properties are refused; Contrail drops them silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from provision.config_api.reply import RefusedError
from vagent.errors import WireError
from vagent.linklocal.codec import (
    FQ_NAME,
    KIND,
    PROPERTY,
    conform_entries,
    decode_entry,
    raw_entries,
)
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.table import MAX_SERVICES, shown_name

PARENT_TYPE = "global-system-config"
PARENT_FQ_NAME = FQ_NAME[:1]
PARENT_UUID = str(uuid5(NAMESPACE_DNS, PARENT_FQ_NAME[0]))
"""The parent exists from the start and never changes."""

_IDENTITY = frozenset(
    {"uuid", "fq_name", "name", "parent_type", "parent_uuid", "parent_href", "href"}
)
_CARRIED = frozenset(
    {
        "annotations",
        "application_policy_set_refs",
        "display_name",
        "ecmp_hashing_include_fields",
        "enable_security_logging",
        "encapsulation_priorities",
        "encryption_mode",
        "encryption_tunnel_endpoints",
        "flow_aging_timeout_list",
        "flow_export_rate",
        "forwarding_mode",
        "id_perms",
        "igmp_enable",
        "perms2",
        "port_translation_pools",
        "tag_refs",
        "vxlan_network_identifier_mode",
    }
)
_SHOWN = 200


def created(body: dict[str, Any], new_uuid: Callable[[], UUID]) -> dict[str, Any]:
    """The object that a create call makes. Raises RefusedError (400)."""
    properties = _properties(body, "create")
    if body.get("fq_name") != list(FQ_NAME):
        raise RefusedError(
            400, f"fq_name {_show(body.get('fq_name'))}: only {list(FQ_NAME)} exists"
        )
    parent_type = body.get("parent_type") or PARENT_TYPE
    if parent_type != PARENT_TYPE:
        raise RefusedError(
            400, f"Parent {PARENT_FQ_NAME[0]} type {_show(parent_type)} does not exist"
        )
    given = body.get("uuid")
    return {
        "uuid": str(new_uuid()) if given is None else parse_uuid(given),
        "display_name": FQ_NAME[-1],
        **_without_nulls(properties),
    }


def default() -> dict[str, Any]:
    """The object before anybody changes it; its UUID is the same everywhere."""
    uuid = uuid5(NAMESPACE_DNS, ":".join(FQ_NAME))
    return {"uuid": str(uuid), "display_name": FQ_NAME[-1]}


def updated(stored: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The object after an update: given properties replace, null takes away, the
    others stay.

    Raises RefusedError (400) for a bad property or for another object's identity.
    """
    properties = _properties(body, "update")
    identity = shown(stored, "")
    for key in ("uuid", "fq_name", "parent_type"):
        if body.get(key) not in (None, identity[key]):
            raise RefusedError(
                400, f"{key} {_show(body[key])} is not this object's: {identity[key]}"
            )
    return _without_nulls({**stored, **properties})


def changed_entries(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[object]:
    """The services of an object that another has not, or not as they are."""
    known = _entries(old)
    return [entry for entry in _entries(new) if entry not in known]


def written_entries(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[object]:
    """The services that a change from `old` to `new` writes: those that it changed, and
    all of them where the same list was written again.
    """
    same = _entries(old) == _entries(new)
    return _entries(new) if same else changed_entries(old, new)


def refuse_own_servers(
    old: Mapping[str, Any], new: Mapping[str, Any], own: OwnServers
) -> None:
    """Raise RefusedError (400) for a service that an update brings and that leads to a
    server of the agent's own.
    """
    for entry in changed_entries(old, new):
        with suppress(WireError):  # the agent leaves such an entry out
            why_not = own.why_not(decode_entry(entry))
            if why_not:
                raise RefusedError(400, f"service {shown_name(entry)}: {why_not}")


def shown(stored: dict[str, Any], root: str) -> dict[str, Any]:
    """The object as a read shows it; hrefs start with `root`."""
    return {**stored, **_names(), **_hrefs(stored["uuid"], root)}


def summary(stored: dict[str, Any], root: str) -> dict[str, Any]:
    """The reply to a create."""
    return {**_names(), **_hrefs(stored["uuid"], root), "uuid": stored["uuid"]}


def list_item(stored: dict[str, Any], root: str) -> dict[str, Any]:
    """The object in a list."""
    href = _hrefs(stored["uuid"], root)["href"]
    return {"uuid": stored["uuid"], "fq_name": list(FQ_NAME), "href": href}


def parent(root: str) -> dict[str, Any]:
    """The global-system-config that always exists, as a read shows it."""
    return {
        "uuid": PARENT_UUID,
        "fq_name": list(PARENT_FQ_NAME),
        "name": PARENT_FQ_NAME[0],
        "display_name": PARENT_FQ_NAME[0],
        "parent_type": "config-root",
        "href": f"{root}/{PARENT_TYPE}/{PARENT_UUID}",
    }


def parse_uuid(text: object) -> str:
    """A UUID in lower case with dashes. Raises RefusedError (400)."""
    try:
        if not isinstance(text, str):
            raise ValueError
        return str(UUID(text))
    except ValueError:
        raise RefusedError(400, f"Invalid uuid {_show(text)}") from None


def _names() -> dict[str, Any]:
    return {
        "fq_name": list(FQ_NAME),
        "name": FQ_NAME[-1],
        "parent_type": PARENT_TYPE,
        "parent_uuid": PARENT_UUID,
    }


def _hrefs(uuid: str, root: str) -> dict[str, str]:
    return {
        "href": f"{root}/{KIND}/{uuid}",
        "parent_href": f"{root}/{PARENT_TYPE}/{PARENT_UUID}",
    }


def _properties(body: dict[str, Any], operation: str) -> dict[str, Any]:
    """The properties in a body, checked and converted."""
    unknown = sorted(body.keys() - _IDENTITY - _CARRIED - {PROPERTY})
    if unknown:
        raise RefusedError(
            400,
            f"Bad property in {operation}: class GlobalVrouterConfig does not have "
            f"field {_show(unknown[0])}",
        )
    properties = {key: body[key] for key in _CARRIED & body.keys()}
    if body.get(PROPERTY) is not None:
        properties[PROPERTY] = _services(body[PROPERTY], operation)
    elif PROPERTY in body:
        properties[PROPERTY] = None
    return properties


def _without_nulls(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if value is not None}


def _services(value: object, operation: str) -> dict[str, Any]:
    try:
        entries = conform_entries(value)
        if len(entries) > MAX_SERVICES:
            raise WireError(f"{len(entries)} entries (at most {MAX_SERVICES})")
    except WireError as error:
        raise RefusedError(
            400,
            f"Bad property in {operation}: Error validating property {PROPERTY} "
            f"value {_show(value)} {error}",
        ) from None
    return {"linklocal_service_entry": entries}


def _entries(value: Mapping[str, Any]) -> list[object]:
    with suppress(WireError):  # an older store may hold anything
        return raw_entries(value.get(PROPERTY))
    return []


def _show(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
