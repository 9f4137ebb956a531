"""A real novajoin on the lab's host, which gives each guest a one-time password."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from lab.guests import Lab
from tests.clients.real_keystone import CREDENTIALS
from tests.clients.real_nova import INSTALLED
from tests.clients.real_service import Service

PORT = 19090
URL = f"http://127.0.0.1:{PORT}/v1/"


class Novajoin(Service):
    """novajoin 1.3.0; FreeIPA is a stand-in."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        folder.mkdir()
        super().__init__(lab, folder, "novajoin_wsgi", PORT, FOLDER=str(folder))
        account = CREDENTIALS | {"username": "novajoin", "password": "njpw"}
        lines = "\n".join(f"{name} = {text}" for name, text in account.items())
        (folder / "join.conf").write_text(
            textwrap.dedent(f"""\
                [DEFAULT]
                log_file = {folder}/join.log
                domain = example.test
                connect_retries = 1
                retry_delay = 1
                transport_url = fake:/
                [keystone_authtoken]
                auth_type = password
                www_authenticate_uri = {CREDENTIALS["auth_url"]}
                # Each token is looked at, so that a revoked one is noticed at once.
                token_cache_time = -1
                """)
            + f"{lines}\n[service_credentials]\nauth_type = password\n{lines}\n"
        )

    def ipa(self) -> dict[str, Any]:
        """What IPA knows: `hosts` by name, and `calls` that changed one."""
        known: dict[str, Any] = json.loads((self._folder / "ipa.json").read_text())
        return known

    def script(self) -> str:
        """The script that novajoin gives guests to enrol themselves with."""
        (found,) = INSTALLED.glob("nova/**/novajoin/cloud-config-novajoin.json")
        text: str = json.loads(found.read_text())["cloud-init"]
        return text
