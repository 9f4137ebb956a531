"""A real Keystone on the lab's host: its users, its clock, its absence."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

from lab.guests import Lab
from lab.waiting import wait_for
from tests.clients.real_nova import HERE
from tests.clients.real_service import BIN, START_DEADLINE, Service

PORT = 15000
URL = f"http://127.0.0.1:{PORT}/v3"
CREDENTIALS = {
    "auth_url": URL,
    "username": "nova",
    "password": "novapw",
    "project_name": "service",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
}
"""Of the account that Nova has, and the agent here."""
TOKEN_SECONDS = 3600


class Keystone(Service):
    """Keystone on SQLite, with Fernet tokens."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        folder.mkdir()
        self._clock = folder / "clock"
        super().__init__(
            lab,
            folder,
            "keystone_wsgi",
            PORT,
            OS_KEYSTONE_CONFIG_DIR=str(folder),
            OS_KEYSTONE_CONFIG_FILES=str(folder / "keystone.conf"),
            CLOCK=str(self._clock),
        )

    def set_up(self) -> None:
        """Make database, keys and users, and start it."""
        self.set_clock(0)
        for name in ("fernet", "credential"):
            (self._folder / name).mkdir(mode=0o700)
        (self._folder / "keystone.conf").write_text(
            textwrap.dedent(f"""\
                [DEFAULT]
                log_file = {self._folder}/keystone.log
                [database]
                connection = sqlite:///{self._folder}/keystone.sqlite
                [token]
                provider = fernet
                expiration = {TOKEN_SECONDS}
                [fernet_tokens]
                key_repository = {self._folder}/fernet
                [fernet_receipts]
                key_repository = {self._folder}/fernet
                [credential]
                key_repository = {self._folder}/credential
                """)
        )
        owner = ("--keystone-user", "root", "--keystone-group", "root")
        self._manage("db_sync")
        self._manage("fernet_setup", *owner)
        self._manage("credential_setup", *owner)
        self._manage(
            "bootstrap",
            *("--bootstrap-password", "adminpw", "--bootstrap-region-id", "here"),
            *("--bootstrap-public-url", URL, "--bootstrap-internal-url", URL),
        )
        self.start()
        self._seed("seed")

    def set_clock(self, ahead: float) -> None:
        """From now on its clock is so many seconds ahead of everybody else's."""
        self._clock.write_text(str(ahead))

    def set_password(self, name: str, password: str) -> None:
        """A user's new password. Tokens that the user has are revoked; those issued
        from now on are good, which they are not within the second of the revocation.
        """
        self._seed("password", name, password)
        wait_for(
            lambda: self._seed("accepted", name, password),
            "True\n".__eq__,
            seconds=START_DEADLINE,
        )

    def _manage(self, *argv: str) -> None:
        conf = self._folder / "keystone.conf"
        subprocess.run(
            [str(BIN / "keystone-manage"), "--config-file", str(conf), *argv],
            check=True,
            env=self.environment(),
            capture_output=True,
            timeout=START_DEADLINE,
        )

    def _seed(self, *argv: str) -> str:
        return self._lab.host.run(
            str(BIN / "python"), str(HERE / "keystone_seed.py"), URL, *argv
        )
