"""What the metadata server knows of one guest, as values.

`vagent.nova.codec` makes them of documents; it checks sizes and fills in defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vagent.nova.reply import NovaReply, SeededReply

DEFAULT_DOMAIN = "novalocal"
"""Nova's `[api] dhcp_domain`."""
DEFAULT_ZONE = "nova"
"""Nova's `default_availability_zone`."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key: a line of `authorized_keys`, or a certificate (`type` x509).

    A `deleted` one is that of a key pair which was deleted after the instance was made:
    the EC2 tree shows it, meta_data.json does not.
    """

    name: str
    data: str
    type: str = "ssh"
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class InjectedFile:
    """One file of Nova's "personality": cloud-init writes `content` to `path`."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ec2Names:
    """Names that only the EC2 tree shows; as in Nova, None is shown as the text `None`.

    `kernel` and `ramdisk` are left out where they are None. `region`, `partition` and
    `services_domain` are of Amazon's tree; Nova has none of them.
    """

    instance: str
    image: str | None
    kernel: str | None
    ramdisk: str | None
    reservation: str | None
    region: str
    partition: str
    services_domain: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One guest, as Nova would describe it.

    `uuid` is lower case with dashes, `tenant_id` the project's id as Nova holds it.
    `user_data` None means that there is none (404), b"" that it is empty (200).
    `network_data` None means that it is not known (404). `network_config` is the text
    of an `interfaces` file. `devices` and `network_data` are JSON in Nova's form.
    `vendor_data` are members of its own for the static vendor data, `boot_roles` the
    roles of whoever created it. `rendered` are versions of its meta_data.json.
    """

    uuid: str
    tenant_id: str
    name: str
    hostname: str
    domain: str
    ec2: Ec2Names
    image_id: str
    instance_type: str
    launch_index: int | None
    availability_zone: str | None
    security_groups: tuple[str, ...]
    fixed_addresses: tuple[IPv4Address | IPv6Address, ...]
    floating_addresses: tuple[IPv4Address, ...]
    block_devices: tuple[tuple[str, str | None], ...]
    dedicated_cpus: tuple[int, ...]
    public_keys: tuple[PublicKey, ...]
    meta: tuple[tuple[str, str], ...] = field(repr=False)
    user_data: bytes | None = field(repr=False)
    network_config: str | None = field(repr=False)
    files: tuple[InjectedFile, ...]
    network_data: Mapping[str, Any] | None = field(repr=False)
    devices: tuple[Mapping[str, Any], ...] = field(repr=False)
    vendor_data: Mapping[str, Any] = field(repr=False)
    boot_roles: tuple[str, ...]
    rendered: dict[str, NovaReply | SeededReply] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @property
    def full_hostname(self) -> str:
        """The host name with its domain; the bare name where the domain is ""."""
        return f"{self.hostname}.{self.domain}" if self.domain else self.hostname

    @property
    def contents(self) -> tuple[bytes, ...]:
        """What is below `/openstack/content/`, numbered from 0000: the injected network
        configuration comes before the files.
        """
        files = tuple(file.content for file in self.files)
        if self.network_config is None:
            return files
        return (self.network_config.encode(), *files)

    @property
    def fixed_ipv4(self) -> IPv4Address | None:
        """The first fixed IPv4 address."""
        for address in self.fixed_addresses:
            if isinstance(address, IPv4Address):
                return address
        return None
