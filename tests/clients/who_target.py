"""A vendor data target on the lab's host that says who asked, as Keystone knows it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from lab.guests import Lab
from tests.clients.real_keystone import CREDENTIALS
from tests.clients.real_service import Service

PORT = 19191
GUARDED, PLAIN = (f"http://127.0.0.1:{PORT}/{name}" for name in ("who", "plain"))


class WhoTarget(Service):
    """Behind keystonemiddleware, or in front of it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        folder.mkdir()
        super().__init__(lab, folder, "who_wsgi", PORT, FOLDER=str(folder))
        lines = "\n".join(f"{name} = {text}" for name, text in CREDENTIALS.items())
        (folder / "target.conf").write_text(
            textwrap.dedent(f"""\
                [keystone_authtoken]
                auth_type = password
                www_authenticate_uri = {CREDENTIALS["auth_url"]}
                token_cache_time = -1
                """)
            + lines.replace("nova\n", "novajoin\n", 1).replace("novapw", "njpw")
            + "\n"
        )

    def asked(self) -> list[dict[str, Any]]:
        """Requests so far: `path` and `token`."""
        file = self._folder / "asked"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]
