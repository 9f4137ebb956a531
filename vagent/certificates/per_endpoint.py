"""Which TLS files are for which endpoint: those of its own folder, or everybody's.

Below `<upstream-tls>` a folder named as an endpoint (its address, or the name that its
certificate is for) holds that endpoint's files, so that two of them may trust different
authorities and be shown different certificates. A folder is looked for at each connect,
and nothing else is tried where there is one: a file missing in it is a failure.
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
"""The elements' names; a folder holds all three."""
MAX_FOLDERS = 64
"""More endpoints than a region has; what is beyond is not watched or kept open."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}")
"""A host name or address: names come from the config store, and become a path here."""


def folder_of(files: ClientTls, host: str, name: str) -> Path | None:
    """The folder of an endpoint: by its host first, then by its certificate's name."""
    if files.by_endpoint is None:
        return None
    folders = (files.by_endpoint / one for one in (host, name) if _NAME.fullmatch(one))
    return next((folder for folder in folders if folder.is_dir()), None)


def files_in(folder: Path) -> ClientTls:
    """The three files of a folder, there or not."""
    return ClientTls(*(folder / name for name in FILES))


def files_of(files: ClientTls, host: str, name: str) -> ClientTls:
    """What a connection to this endpoint uses."""
    folder = folder_of(files, host, name)
    return replace(files, by_endpoint=None) if folder is None else files_in(folder)


def all_files(files: ClientTls) -> Iterator[tuple[str, ClientTls]]:
    """Everybody's ("") and each folder's with its name, at most MAX_FOLDERS."""
    yield "", files
    if files.by_endpoint is None:
        return
    try:
        names = sorted(one.name for one in files.by_endpoint.iterdir() if one.is_dir())
    except OSError:
        return  # no folder of folders: everybody's files are for all
    for name in [one for one in names if _NAME.fullmatch(one)][:MAX_FOLDERS]:
        yield name, files_in(files.by_endpoint / name)


class UpstreamTls:
    """Hands out each endpoint's TLS files, with the sessions that belong to them."""

    def __init__(self, files: ClientTls, emit: Emit) -> None:
        self._files = files
        self._emit = emit
        self._everybodys = TlsFiles(files, emit)
        self._own: dict[Path, TlsFiles] = {}

    def of(self, host: str, name: str) -> TlsFiles:
        """The files of this endpoint, as its folder is now."""
        folder = folder_of(self._files, host, name)
        if folder is None:
            return self._everybodys
        own = self._own.get(folder)
        if own is None:
            if len(self._own) >= MAX_FOLDERS:
                del self._own[next(iter(self._own))]
            own = self._own[folder] = TlsFiles(files_in(folder), self._emit)
        return own
