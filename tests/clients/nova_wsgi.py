"""Nova's unmodified metadata application, with a recorder and a breaker in front.

Every request is recorded in $REQUESTS as a line of JSON: address that took it, method,
path, X- headers as the application sees them. $FAULTS holds a list of faults, each for
the next request whose path begins with `path` (and that is of `instance`, if that is
given), `times` times: `status` answers, `delay` waits, `drop` closes the connection
without a byte.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.argv = ["nova-api-metadata"]  # Nova reads its own options from it
from nova.wsgi.metadata import (  # noqa: E402 - after argv was set
    application as nova_application,
)

FAULTS, REQUESTS = Path(os.environ["FAULTS"]), Path(os.environ["REQUESTS"])
_lock = threading.Lock()


def record(environ: dict[str, Any]) -> None:
    line = {
        "address": environ["gunicorn.socket"].getsockname()[0],
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "headers": {
            name: value for name, value in environ.items() if name.startswith("HTTP_X")
        },
    }
    with _lock, REQUESTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def next_fault(path: str, instance: str) -> dict[str, Any]:
    """The fault for this request, taken off the list; {} for none."""
    with _lock:
        faults = json.loads(FAULTS.read_text())
        for fault in faults:
            is_meant = instance == fault.get("instance", instance)
            if fault["times"] > 0 and is_meant and path.startswith(fault["path"]):
                fault["times"] -= 1
                FAULTS.write_text(json.dumps(faults))
                return dict(fault)
    return {}


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    record(environ)
    fault = next_fault(environ["PATH_INFO"], environ.get("HTTP_X_INSTANCE_ID", ""))
    time.sleep(fault.get("delay", 0))
    if "status" in fault:
        start_response(f"{fault['status']} Broken", [("Content-Length", "0")])
        return []
    if "drop" in fault:
        environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    found: Iterable[bytes] = nova_application(environ, start_response)
    return found
