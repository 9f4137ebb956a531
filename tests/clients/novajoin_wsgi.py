"""novajoin's own pipeline (Paste, keystonemiddleware, its controller), unmodified; only
FreeIPA behind it is a stand-in. $FOLDER holds join.conf and what IPA knows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.clients import ipa_stand_in

FOLDER = Path(os.environ["FOLDER"])
ipa_stand_in.install(FOLDER / "ipa.json")
os.environ.setdefault("KRB5CCNAME", "MEMORY:stand-in")
sys.argv = ["novajoin-server"]  # novajoin reads its own options from it

from novajoin import config, ipa, keystone_client  # noqa: E402 - after IPA is there
from oslo_log import log  # noqa: E402
from paste import deploy  # noqa: E402

# Both read /etc/ipa/default.conf, which a host has that is enrolled in IPA.
ipa.IPANovaJoinBase._ipa_client_configured = lambda _self: True
ipa.IPANovaJoinBase.get_host_and_realm = lambda _self: (
    "nova.example.test",
    "EXAMPLE.TEST",
)
keystone_client.register_keystoneauth_opts(config.CONF)
config.CONF([], default_config_files=[str(FOLDER / "join.conf")])
log.setup(config.CONF, "join")
PASTE = Path(sys.prefix, "etc", "novajoin", "join-api-paste.ini")
if not PASTE.exists():
    import novajoin

    PASTE = Path(novajoin.__file__).parents[1] / "etc/novajoin/join-api-paste.ini"
pipeline = deploy.loadapp(f"config:{PASTE}", name="join")


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    # novajoin remembers a host for 30 s, in each of its processes. Here each request
    # comes later than that, or meets another process.
    ipa.IPAClient.host_cache.clear()
    found: Iterable[bytes] = pipeline(environ, start_response)
    return found
