"""The addresses at which guests everywhere ask for metadata, named here alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

METADATA_ADDRESS = IPv4Address("169.254.169.254")
"""Amazon's, and so everybody's: OpenStack, Contrail, cloud-init."""

METADATA_ADDRESSES6 = (IPv6Address("fe80::a9fe:a9fe"), IPv6Address("fd00:ec2::254"))
"""The same for IPv6: OpenStack's (Neutron, Contrail's `metadata6`) and Amazon's."""
