"""A real Nova metadata API on the lab's host; it can be killed, frozen and broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from lab.agent import SECRET, SOURCE
from lab.guests import Lab
from lab.namespaces import LabError
from lab.waiting import wait_for
from tests.clients.facts import FACTS, VENDOR_DATA

HERE = Path(__file__).parent
INSTALLED = SOURCE / "var" / "clients"
PORT = 8776
ADDRESSES = ("127.0.0.1", "127.0.0.3")
"""Where Nova listens; nothing listens on 127.0.0.2."""
NEUTRON_PORT = 9696
START_DEADLINE = 60.0
"""Seconds for Nova to listen; it takes 3 to 9."""


class Nova:
    """Nova's metadata API behind gunicorn with mutual TLS; Neutron is a stand-in."""

    def __init__(self, folder: Path, pki: Path) -> None:
        self._folder = folder
        self._pki = pki
        self._faults = folder / "faults.json"
        self._requests = folder / "requests"
        self._gunicorn: subprocess.Popen[bytes] | None = None
        self._neutron: subprocess.Popen[bytes] | None = None

    def seed(self) -> None:
        """Make and fill the databases."""
        folder = self._folder
        folder.mkdir()
        (folder / "vendor.json").write_text(json.dumps(VENDOR_DATA))
        (folder / "facts.json").write_text(json.dumps(list(FACTS.values())))
        paste = INSTALLED / "nova" / "etc" / "nova" / "api-paste.ini"
        (folder / "api-paste.ini").write_text(paste.read_text())
        (folder / "nova.conf").write_text(self._configuration())
        subprocess.run(
            [
                *(INSTALLED / "nova" / "bin" / "python", HERE / "nova_seed.py"),
                *(folder / "nova.conf", folder / "facts.json", folder / "neutron.json"),
            ],
            check=True,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            timeout=START_DEADLINE,
        )

    def start(self, lab: Lab, *, wait: bool = True) -> None:
        """Start it on the lab's host; with `wait` return when it answers."""
        self.heal()
        if self._neutron is None:
            self._neutron = lab.host.start(
                [sys.executable, str(HERE / "neutron_stand_in.py"), str(NEUTRON_PORT),
                 str(self._folder / "neutron.json")]
            )  # fmt: skip
        with (self._folder / "gunicorn.log").open("ab") as log:
            self._gunicorn = lab.host.start(
                self._command(),
                env=self._environment(),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready(lab)

    def kill(self) -> None:
        """As a crash would: nothing listens any more, connections are gone."""
        gunicorn, self._gunicorn = self._gunicorn, None
        if gunicorn is not None:
            with suppress(ProcessLookupError):
                os.killpg(gunicorn.pid, signal.SIGKILL)
            gunicorn.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither runs nor ends, for a while."""
        gunicorn = self._gunicorn
        assert gunicorn is not None
        os.killpg(gunicorn.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(gunicorn.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End everything."""
        self.kill()
        if self._neutron is not None:
            self._neutron.kill()
            self._neutron.wait()

    def breaks(self, path: str, *, times: int = 1, **how: Any) -> None:
        """For requests under `path`: `status=503`, `delay=12` or `drop=True`."""
        self.breaks_each({"path": path, "times": times, **how})

    def breaks_each(self, *faults: dict[str, Any]) -> None:
        """Several at a time; see `nova_wsgi`."""
        self._faults.write_text(json.dumps([{"times": 1, **one} for one in faults]))

    def heal(self) -> None:
        """No more faults; forget what was requested."""
        self._faults.write_text("[]")
        self._requests.write_text("")

    def requests(self) -> list[dict[str, Any]]:
        """What Nova was asked since it was healed last: method, path, headers."""
        return [json.loads(line) for line in self._requests.read_text().splitlines()]

    def wait_ready(self, lab: Lab) -> None:
        """Return when it answers. Raises LabError."""
        pki = self._pki
        ask = partial(
            lab.host.run,
            *("curl", "-s", "-m", "5", "--cacert", str(pki / "ca.crt")),
            *("--cert", str(pki / "agent.crt"), "--key", str(pki / "agent.key")),
            f"https://127.0.0.1:{PORT}/",
            check=False,
        )
        try:
            wait_for(
                ask,
                lambda said: "2009-04-04" in said,
                seconds=START_DEADLINE,
                pause=0.1,
            )
        except LabError as failure:
            log = (self._folder / "gunicorn.log").read_text()
            raise LabError(f"Nova did not start; it said:\n{log}") from failure
        self._requests.write_text("")

    def _command(self) -> list[str]:
        pki = self._pki
        return [
            *(str(INSTALLED / "nova" / "bin" / "gunicorn"), "--no-control-socket"),
            *(word for one in ADDRESSES for word in ("--bind", f"{one}:{PORT}")),
            *("--workers", "1"),
            *("--worker-class", "gthread", "--threads", "8", "--keep-alive", "65"),
            *("--certfile", str(pki / "metadata-server.crt")),
            *("--keyfile", str(pki / "metadata-server.key")),
            *("--ca-certs", str(pki / "ca.crt"), "--cert-reqs", "2"),
            "nova_wsgi:application",
        ]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "OS_NOVA_CONFIG_DIR": str(self._folder),
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAULTS": str(self._faults),
            "REQUESTS": str(self._requests),
        }

    def _configuration(self) -> str:
        folder = self._folder
        neutron = f"http://127.0.0.1:{NEUTRON_PORT}"
        return f"""[DEFAULT]
state_path = {folder}
log_file = {folder}/nova.log
transport_url = fake:/
host = compute-1
[oslo_concurrency]
lock_path = {folder}/lock
[api]
vendordata_jsonfile_path = {folder}/vendor.json
[api_database]
connection = sqlite:///{folder}/nova_api.sqlite
[database]
connection = sqlite:///{folder}/nova.sqlite
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = {SECRET}
auth_type = none
endpoint_override = {neutron}
"""
