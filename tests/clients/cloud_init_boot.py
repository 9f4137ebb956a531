"""Runs in a guest: one datasource of Debian's cloud-init, as a first boot would ask it.

`cloud_init_boot.py PACKAGES FOLDER KIND`, with OpenStack, ConfigDrive, NoCloud, Ec2 or
Ec2-aws as KIND: prints what it found as JSON. A config drive is in
FOLDER/lib/seed/config_drive, as if it was mounted. Ec2-aws takes the cloud for
Amazon's, which always asks for a session token. Only DMI is faked (there is no virtual
machine to ask), the kernel's command line, and what DNS says of names that do not exist
(nothing). Nothing is written outside FOLDER.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import time
from typing import Any

PACKAGES, FOLDER, KIND = sys.argv[1:4]
KIND, _, PLATFORM = KIND.partition("-")
sys.path.insert(0, PACKAGES)

from cloudinit import distros, dmi, helpers, url_helper, util  # noqa: E402 - found by the line above
from cloudinit.net import network_state  # noqa: E402
from cloudinit.sources import (  # noqa: E402
    DataSourceConfigDrive,
    DataSourceEc2,
    DataSourceNoCloud,
    DataSourceOpenStack,
    InvalidMetaDataException,
)

SETTINGS: dict[str, Any] = {
    "datasource_list": [KIND],
    # One address: the other names would be looked up in a DNS that is not there.
    "datasource": {"Ec2": {"metadata_urls": ["http://169.254.169.254"]}},
}
SEED = "http://169.254.169.254/nocloud/"
PRODUCT = {"system-product-name": "OpenStack Nova"}


def datasource() -> Any:
    dmi.read_dmi_data = PRODUCT.get
    util._DNS_REDIRECT_IP = set()  # DNS was asked, and found honest
    names = DataSourceEc2.CloudNames
    DataSourceEc2.identify_platform = lambda: names.AWS if PLATFORM else names.UNKNOWN
    paths = helpers.Paths({"cloud_dir": f"{FOLDER}/lib", "run_dir": f"{FOLDER}/run"})
    distro = distros.fetch("debian")("debian", {}, paths)
    if KIND == "Ec2":
        return DataSourceEc2.DataSourceEc2(SETTINGS, distro, paths)
    if KIND == "NoCloud":
        util.get_cmdline = lambda: f"quiet ds=nocloud;s={SEED}"
        return DataSourceNoCloud.DataSourceNoCloudNet(SETTINGS, distro, paths)
    if KIND == "ConfigDrive":
        return DataSourceConfigDrive.DataSourceConfigDrive(SETTINGS, distro, paths)
    return DataSourceOpenStack.DataSourceOpenStack(SETTINGS, distro, paths)


def main() -> None:
    logging.basicConfig(
        level=logging.DEBUG, filename=f"{FOLDER}/cloud-init.log", force=True
    )
    source = datasource()
    began = time.monotonic()
    try:
        found = source._get_data()
    except InvalidMetaDataException:
        found = False
    result: dict[str, Any] = {"found": found, "seconds": time.monotonic() - began}
    if found:
        user_data = source.get_userdata_raw() or b""
        if isinstance(user_data, str):
            user_data = user_data.encode()
        result |= {
            "instance_id": source.get_instance_id(),
            "hostname": str(source.get_hostname()),
            "keys": source.get_public_ssh_keys(),
            "user_data": base64.b64encode(user_data).decode(),
            "zone": source.availability_zone,
            "metadata": source.metadata,
        }
    if found and KIND in ("OpenStack", "ConfigDrive"):
        result |= {
            "vendor_data": source.vendordata_pure,
            "vendor_data2": source.vendordata2_pure,
            "network": source.network_config,
            "ec2": source.ec2_metadata,
        }
    if found and KIND == "NoCloud":
        # Newer cloud-init reads this file as well; this one understands it.
        config = url_helper.readurl(f"{SEED}network-config").contents
        state = network_state.parse_net_config_data(util.load_yaml(config))
        result |= {
            "vendor_data": (source.get_vendordata_raw() or b"").decode(),
            "interfaces": list(state.iter_interfaces()),
        }
    if found and KIND == "Ec2":
        result |= {"network": source.network_config, "identity": source.identity}
    print(json.dumps(result, default=repr))


main()
