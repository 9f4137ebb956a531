"""What each field of an instance document may hold, and its default.

Names that Nova takes from its database (EC2 ids, reservation) are derived from the UUID
by a hash, so they never change and differ between guests. Every function raises
WireError with the field's name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from uuid import UUID

from vagent.errors import WireError
from vagent.nova.fields import Fields, check_line, shown
from vagent.nova.instance import DEFAULT_DOMAIN, Ec2Names, PublicKey
from vagent.nova.vendordata.answer import (
    MAX_DEPTH,
    MAX_VALUES,
    TargetError,
    check_bounds,
)

MAX_USER_DATA = 65_535
"""Bytes of user data. Nova's column holds 65,535 base64 characters (49,149 bytes)."""
MAX_KEYS = 64
"""Public keys. Nova has one; cloud images have shown no need for more than a few."""
MAX_KEY = 16_384
"""Characters of a public key; an RSA key of 16,384 bits takes about 2,800."""
MAX_BLOCK_DEVICES = 256
"""Entries of the EC2 block device mapping."""

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_WORD = re.compile(r"[!-~]+")
_LEAF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A name that the EC2 tree can list, and that is then also its path."""


def uuid(fields: Fields) -> str:
    """The instance's UUID, lower case with dashes."""
    text = fields.text("uuid")
    try:
        uuid = str(UUID(text))
    except ValueError:
        uuid = ""
    if uuid != text.lower():
        raise fields.wrong("uuid", shown(text), "a UUID with dashes")
    return uuid


def tenant(fields: Fields) -> str:
    """The tenant as Nova compares it: 32 lower-case hex digits without dashes."""
    text = fields.text("tenant_id")
    tenant = text.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{32}", tenant):
        raise fields.wrong("tenant_id", shown(text), "32 hex digits, or a UUID")
    return tenant


def hostname(fields: Fields, name: str, uuid: str) -> str:
    """The host name without domain; by default made from the display name."""
    # As Nova does it: lower case, other characters become dashes, and at most the 63
    # characters of a DNS label.
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:63].strip("-.")
    return fields.text(
        "hostname",
        plain or f"vm-{uuid}",
        most=200,
        pattern=_HOSTNAME,
        allowed="letters, digits, dots and dashes",
    )


def domain(fields: Fields) -> str:
    """The domain that is appended to the host name; "" for none."""
    domain: str = fields.take("domain", str, DEFAULT_DOMAIN)
    if domain and (len(domain) > 200 or not _HOSTNAME.fullmatch(domain)):
        raise fields.wrong("domain", shown(domain), "a domain name, or an empty text")
    return domain


def ec2_names(fields: Fields, uuid: str, image_id: str) -> Ec2Names:
    """The names that only the EC2 tree shows."""

    def word(name: str, default: str | None) -> str | None:
        return fields.optional(
            name, default, pattern=_WORD, allowed="one ASCII word, or null"
        )

    def required(name: str, default: str) -> str:
        return fields.text(name, default, pattern=_WORD, allowed="one ASCII word")

    return Ec2Names(
        instance=required("ec2_instance_id", f"i-{_digest(uuid, 17)}"),
        image=word("ami_id", f"ami-{_digest(image_id, 17)}" if image_id else None),
        kernel=word("kernel_id", None),
        ramdisk=word("ramdisk_id", None),
        reservation=required("reservation_id", f"r-{_digest(uuid, 17)}"),
    )


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def launch_index(fields: Fields) -> int:
    """The number of this machine among those that one request created."""
    index: int = fields.take("launch_index", int, 0)
    if not 0 <= index <= 0x7FFFFFFF:
        raise fields.wrong("launch_index", shown(index), "0 to 2147483647")
    return index


def block_devices(fields: Fields) -> tuple[tuple[str, str], ...]:
    """EC2 block device mapping: virtual name → device."""
    if not fields.has("block_devices"):
        return (("ami", "vda"), ("root", "/dev/vda"))
    pairs = fields.pairs("block_devices", most=MAX_BLOCK_DEVICES, longest=255)
    for name, _ in pairs:
        if not _LEAF.fullmatch(name):
            raise WireError(
                f"instance.block_devices: got name {shown(name)},"
                " allowed are letters, digits, dots, dashes and underscores"
            )
    return pairs


def public_keys(fields: Fields) -> tuple[PublicKey, ...]:
    """Public keys: a list (then they are named key-0, key-1, …), or name → key."""
    if fields.is_list("public_keys"):
        keys = fields.items("public_keys", _key, most=MAX_KEYS, default=())
        return tuple(PublicKey(f"key-{index}", key) for index, key in enumerate(keys))
    pairs = fields.pairs("public_keys", most=MAX_KEYS, longest=MAX_KEY)
    for name, _ in pairs:
        # cloud-init takes such a name for a directory, does not find it, and then
        # discards the whole tree.
        if name.rstrip().endswith("/"):
            raise WireError(
                f"instance.public_keys: got name {shown(name)},"
                " allowed is one that does not end with a slash"
            )
    return tuple(
        PublicKey(
            name, check_line(f"instance.public_keys[{shown(name)}]", key, MAX_KEY)
        )
        for name, key in pairs
    )


def user_data(fields: Fields) -> bytes | None:
    """User data from text or base64; None where neither is given."""
    has_text, has_base64 = fields.has("user_data"), fields.has("user_data_base64")
    if has_text and has_base64:
        raise fields.wrong("user_data", "user_data_base64 too", "one of the two")
    if has_text:
        name, data = "user_data", fields.take("user_data", str).encode()
    elif has_base64:
        name, text = "user_data_base64", fields.take("user_data_base64", str)
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise fields.wrong(name, "something else", "base64 (RFC 4648)") from None
    else:
        return None
    if len(data) > MAX_USER_DATA:
        raise fields.wrong(name, f"{len(data)} bytes", f"at most {MAX_USER_DATA}")
    return data


def group(where: str, value: object) -> str:
    """The name of a security group."""
    return check_line(where, value, 255)


def vendor_data(fields: Fields) -> Mapping[str, Any]:
    """Members of vendor_data.json, as the guest gets them."""
    value: dict[str, Any] = fields.take("vendor_data", dict, {})
    try:
        check_bounds(value)
    except TargetError as error:
        allowed = f"{MAX_DEPTH} levels and {MAX_VALUES} values"
        raise fields.wrong("vendor_data", str(error), allowed) from None
    return value


def role(where: str, value: object) -> str:
    """The name of a role; targets read them with commas between."""
    name = check_line(where, value, 255)
    if "," in name:
        raise WireError(f"{where}: got {shown(name)}, allowed is a name without comma")
    return name


def _key(where: str, value: object) -> str:
    return check_line(where, value, MAX_KEY)


def address(where: str, value: object) -> IPv4Address | IPv6Address:
    """An IPv4 or IPv6 address."""
    try:
        return ip_address(check_line(where, value, 64))
    except ValueError:
        raise WireError(
            f"{where}: got {shown(value)}, allowed is an IPv4 or IPv6 address"
        ) from None


def address4(where: str, value: object) -> IPv4Address:
    """An IPv4 address."""
    found = address(where, value)
    if not isinstance(found, IPv4Address):
        raise WireError(f"{where}: got {found}, allowed is an IPv4 address")
    return found


def cpu(where: str, value: object) -> int:
    """The number of a processor."""
    if type(value) is not int or not 0 <= value <= 65_535:
        raise WireError(f"{where}: got {shown(value)}, allowed is 0 to 65535")
    return value


def device(where: str, value: object) -> Mapping[str, Any]:
    """A tagged device, as Nova writes it into meta_data.json."""
    if not isinstance(value, dict):
        raise WireError(f"{where}: got {shown(value)}, allowed is an object")
    return value
