"""Which TLS files are used for which endpoint: those of its own folder, or the common.

Below the folder of agent.conf a folder named like an endpoint (its address, or the name
in its certificate) holds the files for that endpoint. So endpoints can have different
authorities and be shown different client certificates. The folder is looked for at each
connect; where there is one, a file that is missing in it is an error, and the common
file is not used instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vagent.certificates.client_files import TlsFiles
from vagent.config.model import ClientTls
from vagent.observe.event import Emit

FILES = ("client-cert.pem", "client-key.pem", "ca-cert.pem")
"""The names in agent.conf, which are those of the files in a folder as well."""
MAX_FOLDERS = 64
"""More endpoints than a region has. Further folders are not watched for expiry."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}")
"""A host name or address. It comes from the configuration store and becomes part of a
path, so nothing else may be in it."""


def folder_of(files: ClientTls, host: str, name: str) -> Path | None:
    """The folder of an endpoint: named like its host, or else like its certificate."""
    if files.by_endpoint is None:
        return None
    folders = (files.by_endpoint / one for one in (host, name) if _NAME.fullmatch(one))
    return next((folder for folder in folders if folder.is_dir()), None)


def files_in(folder: Path) -> ClientTls:
    """The three files of a folder, there or not."""
    return ClientTls(*(folder / name for name in FILES))


def files_of(files: ClientTls, host: str, name: str) -> ClientTls:
    """The files for a connection to this endpoint."""
    folder = folder_of(files, host, name)
    return replace(files, by_endpoint=None) if folder is None else files_in(folder)


def all_files(files: ClientTls) -> Iterator[tuple[str, ClientTls]]:
    """The common files (""), and those of up to MAX_FOLDERS folders, by name."""
    yield "", files
    if files.by_endpoint is None:
        return
    try:
        names = sorted(one.name for one in files.by_endpoint.iterdir() if one.is_dir())
    except OSError:
        return  # there is none: all endpoints use the common files
    for name in [one for one in names if _NAME.fullmatch(one)][:MAX_FOLDERS]:
        yield name, files_in(files.by_endpoint / name)


class UpstreamTls:
    """The TLS files of each endpoint, with the sessions made with them."""

    def __init__(self, files: ClientTls, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._common = TlsFiles(files, emit)
        self._own: dict[Path, TlsFiles] = {}

    def of(self, host: str, name: str) -> TlsFiles:
        """The files of this endpoint, as its folder is now."""
        folder = folder_of(self._files, host, name)
        if folder is None:
            return self._common
        own = self._own.get(folder)
        if own is None:
            if len(self._own) >= MAX_FOLDERS:
                del self._own[next(iter(self._own))]
            own = self._own[folder] = TlsFiles(files_in(folder), self._emit)
        return own
