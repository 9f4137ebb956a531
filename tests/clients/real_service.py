"""A WSGI application behind gunicorn on the lab's host: started, killed, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from lab.agent import SOURCE
from lab.guests import Lab
from lab.namespaces import LabError
from lab.waiting import wait_for
from tests.clients.real_nova import HERE, INSTALLED

START_DEADLINE = 60.0
"""Seconds until it must answer; each takes 2 to 6."""
BIN = INSTALLED / "nova" / "bin"


class Service:
    """Runs `module:application` of this folder on a loopback port."""

    def __init__(
        self, lab: Lab, folder: Path, module: str, port: int, **environment: str
    ) -> None:
        self._lab = lab
        self._folder = folder
        self._module = module
        self._environment = environment
        self._gunicorn: subprocess.Popen[bytes] | None = None
        self.port = port
        self.log = folder / f"{module}.log"

    def environment(self) -> dict[str, str]:
        """Of the service, and of the tools that belong to it."""
        return {
            **os.environ,
            "PYTHONPATH": f"{HERE}:{SOURCE}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._environment,
        }

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait` return when it listens. Raises LabError."""
        with self.log.open("ab") as log:
            self._gunicorn = self._lab.host.start(
                [
                    *(str(BIN / "gunicorn"), "--no-control-socket"),
                    *("--bind", f"127.0.0.1:{self.port}", "--workers", "1"),
                    *("--worker-class", "gthread", "--threads", "8"),
                    f"{self._module}:application",
                ],
                env=self.environment(),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Return when it answers, whatever it says. Raises LabError."""
        try:
            wait_for(self._answers, seconds=START_DEADLINE)
        except LabError as error:
            raise LabError(
                f"{self._module} did not start:\n{self.log.read_text()}"
            ) from error

    def _answers(self) -> bool:
        if self._gunicorn is None or self._gunicorn.poll() is not None:
            raise LabError("it has ended")
        said = self._lab.host.run(
            *("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"),
            f"http://127.0.0.1:{self.port}/v3",
            check=False,
        )
        return said not in ("", "000")

    def kill(self) -> None:
        """As a crash would: nothing listens any more."""
        gunicorn, self._gunicorn = self._gunicorn, None
        if gunicorn is not None:
            with suppress(ProcessLookupError):
                os.killpg(gunicorn.pid, signal.SIGKILL)
            gunicorn.wait()
