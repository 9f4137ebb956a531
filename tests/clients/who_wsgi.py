"""A vendor data target behind Keystone's own middleware: answers who asked.

`/plain` is in front of it and takes anybody. $FOLDER holds target.conf; each request is
a line in $FOLDER/asked. /v3 answers for those who wait for the start.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keystonemiddleware import auth_token
from oslo_config import cfg

FOLDER = Path(os.environ["FOLDER"])
CONF = cfg.ConfigOpts()
CONF([], project="who", default_config_files=[str(FOLDER / "target.conf")])
_lock = threading.Lock()


def answer(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    said = {
        "user": environ.get("HTTP_X_USER_NAME"),
        "project": environ.get("HTTP_X_PROJECT_NAME"),
        "roles": environ.get("HTTP_X_ROLES"),
        "has_token": "HTTP_X_AUTH_TOKEN" in environ,
    }
    content = json.dumps(said).encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


guarded = auth_token.AuthProtocol(answer, {"oslo_config_config": CONF})


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path != "/v3":
        line = {"path": path, "token": environ.get("HTTP_X_AUTH_TOKEN")}
        with _lock, (FOLDER / "asked").open("a") as file:
            file.write(json.dumps(line) + "\n")
    behind = answer if path in ("/plain", "/v3") else guarded
    found: Iterable[bytes] = behind(environ, start_response)
    return found
