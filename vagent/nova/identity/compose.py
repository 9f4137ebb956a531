"""Puts the signer together: its keys in a file, and a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vagent.keystone.own_thread import OwnThread
from vagent.nova.identity import events  # noqa: F401  counted from the start
from vagent.nova.identity.signer import IdentitySigner, KeySource
from vagent.observe.event import Emit


def identity_signer(
    state_directory: Path,
    *,
    host_name: str,
    now: Callable[[], float],
    emit: Emit,
    reactor: Any,
) -> IdentitySigner:
    """The signer of this host. Neither keys nor thread exist before they are needed.

    `host_name` names the issuer in tokens, and the certificates; `now` is the date in
    seconds.
    """

    def open_keys() -> KeySource:
        # It loads cryptography: see the signer.
        from vagent.nova.identity.key_file import IdentityKeyFile

        return IdentityKeyFile(
            state_directory / "identity-keys",
            name=host_name,
            now=now,
            emit=lambda event: reactor.callFromThread(emit, event),
        )

    return IdentitySigner(
        open_keys,
        issuer=f"vagent:{host_name}",
        now=now,
        run_in_thread=OwnThread("vagent-identity", reactor=reactor),
    )
