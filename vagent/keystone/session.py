"""One session of keystoneauth1 with one plug-in: made once, used again. Blocks.

keystoneauth1 is imported late: it costs 24 MiB that an agent without
`<service-credentials>` can do without.
"""

from __future__ import annotations

from typing import Any

from vagent.config.auth_plug_ins import PlugIn
from vagent.config.model import ServiceCredentials
from vagent.keystone.credentials import CredentialsError, Headers

MAX_TEXT = 300
"""Characters of a reason; Keystone's error pages may be long."""


class KeystoneSession:
    """Gives the headers that authenticate a call, fetching a token when need be.

    A token that ends within two minutes is replaced (keystoneauth1's own margin). For
    one thread.
    """

    def __init__(self, credentials: ServiceCredentials) -> None:
        self._credentials = credentials
        self._session: Any = None
        self._given: Headers = ()

    def headers(self) -> Headers:
        """Raises CredentialsError."""
        try:
            found = self._made().get_auth_headers()
        except Exception as error:  # plug-ins raise what they like
            raise CredentialsError(_reason(error)) from error
        if found is None:
            raise CredentialsError("the plug-in gives no credentials")
        self._given = tuple(sorted(found.items()))
        return self._given

    def refused(self, headers: Headers) -> None:
        """A service does not take these: forget the token that they hold, unless there
        is another one already. Raises nothing.
        """
        if self._session is not None and headers == self._given:
            self._session.invalidate()

    def _made(self) -> Any:
        """The session. Raises PlugInError."""
        if self._session is None:
            from keystoneauth1 import loading

            credentials = self._credentials
            options = {one.name: one.value for one in credentials.options if one.value}
            self._session = loading.session.Session().load_from_options(
                auth=PlugIn(credentials.auth_type).make(options),
                cacert=_text(credentials.ca_cert),
                cert=_text(credentials.client_cert),
                key=_text(credentials.client_key),
                timeout=credentials.timeout,
            )
        return self._session


def _text(path: object) -> str | None:
    return None if path is None else str(path)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
