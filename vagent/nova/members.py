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
from vagent.nova.fields import Fields, check_any_text, check_line, check_text, shown
from vagent.nova.instance import DEFAULT_DOMAIN, DEFAULT_ZONE, Ec2Names, InjectedFile
from vagent.nova.vendordata.answer import (
    MAX_DEPTH,
    MAX_VALUES,
    TargetError,
    check_bounds,
)

MAX_USER_DATA = 65_535
"""Bytes of user data. Nova's column holds 65,535 base64 characters (49,149 bytes)."""
MAX_FILES = 256
"""Injected files. Nova's quota `injected_files` is 5 by default."""
MAX_FILE_PATH = 4096
"""Characters of an injected file's path; Linux takes no longer ones."""
MAX_BLOCK_DEVICES = 256
"""Entries of the EC2 block device mapping."""

MAX_HOSTNAME = 255
"""Characters of a host name or domain (RFC 1123)."""

_LABEL = re.compile(r"[\w-]{1,63}")
"""A label as Nova holds it: `_` is common, and Nova keeps letters of Latin-1."""
_HOSTNAME = (
    "labels of 1 to 63 letters, digits, '-' or '_' with dots between,"
    f" {MAX_HOSTNAME} characters in all, not starting with '-'"
)
_TENANT = re.compile(r"[!-~]([ -~]*[!-~])?")
_WORD = re.compile(r"[!-~]+")
_LETTERED = re.compile(r"[!-~]*[0-9][a-z]")
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
    """The project's id. As in Nova, X-Tenant-ID must be equal to it, capitals and
    dashes included; Keystone makes 32 lower-case hex digits without dashes.
    """
    return fields.text(
        "tenant_id", pattern=_TENANT, allowed="a project's id in printable ASCII"
    )


def hostname(fields: Fields, name: str, uuid: str) -> str:
    """The host name without domain; by default made from the display name."""
    # As Nova does it: lower case, other characters become dashes, and at most the 63
    # characters of a DNS label.
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower())
    plain = re.sub(r"\.\.+", ".", plain).strip("-.")[:63].strip("-.")
    text = fields.text("hostname", plain or f"vm-{uuid}")
    if not _is_hostname(text):
        raise fields.wrong("hostname", shown(text), _HOSTNAME)
    return text


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= MAX_HOSTNAME
        and not text.startswith("-")
        and all(_LABEL.fullmatch(label) for label in labels)
    )


def domain(fields: Fields) -> str:
    """The domain that is appended to the host name; "" for none."""
    domain: str = fields.take("domain", str, DEFAULT_DOMAIN)
    if domain and not _is_hostname(domain):
        raise fields.wrong("domain", shown(domain), f"an empty text, or {_HOSTNAME}")
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
        reservation=word("reservation_id", f"r-{_digest(uuid, 17)}"),
        region=required("region", _region(fields)),
        partition=required("partition", "aws"),
        services_domain=required("services_domain", domain(fields) or "localdomain"),
    )


def _region(fields: Fields) -> str:
    """The zone by default, without its letter where that is Amazon's: `eu-west-1a`."""
    name = availability_zone(fields) or DEFAULT_ZONE
    word = name if _WORD.fullmatch(name) else DEFAULT_ZONE
    return word[:-1] if _LETTERED.fullmatch(word) else word


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def launch_index(fields: Fields) -> int | None:
    """The number of this machine among those that one request created, or null."""
    if fields.is_null("launch_index"):
        return None
    index: int = fields.take("launch_index", int, 0)
    if not 0 <= index <= 0x7FFFFFFF:
        raise fields.wrong("launch_index", shown(index), "0 to 2147483647")
    return index


def availability_zone(fields: Fields) -> str | None:
    """The zone's name, which may be empty or null. botocore takes it without its last
    letter for the region, so where only the region is given it is that with an `a`.
    """
    if fields.is_null("availability_zone"):
        return None
    region = fields.take("region", str, "")
    default = f"{region}a" if region else DEFAULT_ZONE
    zone = fields.take("availability_zone", str, default)
    return check_text("instance.availability_zone", zone, 255)


def value(where: str, value: object) -> str:
    """A value of the metadata: any text of up to 255 characters."""
    return check_any_text(where, value, 255)


def block_devices(fields: Fields) -> tuple[tuple[str, str | None], ...]:
    """EC2 block device mapping: virtual name → device, null if it has no name."""
    if not fields.has("block_devices"):
        return (("ami", "vda"), ("root", "/dev/vda"))
    pairs = fields.pairs("block_devices", _device_name, most=MAX_BLOCK_DEVICES)
    for name, _ in pairs:
        if not _LEAF.fullmatch(name):
            raise WireError(
                f"instance.block_devices: got name {shown(name)},"
                " allowed are letters, digits, dots, dashes and underscores"
            )
    return pairs


def _device_name(where: str, value: object) -> str | None:
    return None if value is None else check_text(where, value, 255)


def files(fields: Fields) -> tuple[InjectedFile, ...]:
    """The injected files (Nova's "personality")."""
    return fields.items("files", _file, most=MAX_FILES, default=())


def _file(where: str, value: object) -> InjectedFile:
    fields = _object(where, value)
    path = fields.text("path", most=MAX_FILE_PATH)
    content = _bytes(fields, "content", "content_base64")
    if content is None:
        raise fields.wrong("content", "nothing", "content or content_base64")
    fields.finish()
    return InjectedFile(path, content)


def _object(where: str, value: object) -> Fields:
    if not isinstance(value, dict):
        raise WireError(f"{where}: got {shown(value)}, allowed is an object")
    return Fields(where, value)


def _bytes(fields: Fields, plain: str, base64_name: str) -> bytes | None:
    """Bytes from a text or base64, None where neither is given."""
    if not fields.has(base64_name):
        return fields.take(plain, str).encode() if fields.has(plain) else None
    if fields.has(plain):
        raise fields.wrong(plain, f"{base64_name} too", "one of the two")
    text = fields.take(base64_name, str)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        allowed = "base64 (RFC 4648)"
        raise fields.wrong(base64_name, "something else", allowed) from None


def user_data(fields: Fields) -> bytes | None:
    """User data from text or base64; None where neither is given."""
    data = _bytes(fields, "user_data", "user_data_base64")
    if data is not None and len(data) > MAX_USER_DATA:
        name = "user_data" if fields.has("user_data") else "user_data_base64"
        raise fields.wrong(name, f"{len(data)} bytes", f"at most {MAX_USER_DATA}")
    return data


def group(where: str, value: object) -> str:
    """The name of a security group: Neutron takes any text, an empty one included."""
    return check_any_text(where, value, 255)


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
