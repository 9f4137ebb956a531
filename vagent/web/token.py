"""The token that a tool sends to an operator's API, from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vagent.config.files import read_bounded, reason
from vagent.config.listening import ALLOWED, MAX_TOKEN, token_in
from vagent.errors import VagentError

VARIABLE = "VAGENT_TOKEN_FILE"
"""Environment variable that names the file, where no option does."""


def bearer(token: bytes) -> dict[str, str]:
    """The header that carries a token (RFC 6750 §2.1); nothing for the empty one."""
    return {"Authorization": f"Bearer {token.decode()}"} if token else {}


def given_token(
    name: str | None, environment: Mapping[str, str] = os.environ
) -> bytes | None:
    """The token in the file of that name, or else in the one that the environment
    names; None where neither names one. Raises VagentError, which never repeats what is
    in the file.
    """
    chosen = name or environment.get(VARIABLE)
    if not chosen:
        return None
    try:
        content = read_bounded(Path(chosen), MAX_TOKEN + len("\r\n"))
    except (OSError, ValueError) as error:
        raise VagentError(f"{chosen}: cannot read it: {reason(error)}") from error
    token = token_in(content.data)
    if token is None:
        raise VagentError(f"{chosen} does not hold a token: {ALLOWED}")
    return token
