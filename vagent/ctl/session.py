"""What every command of vagentctl is given: clients for the agent's servers, and how to
show results.

Servers are called at the addresses of the command line, else by their Unix sockets if
this user may, else at the addresses of agent.conf or the defaults. agent.conf is read
only if a command needs what is not on its command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit
from uuid import UUID

from vagent.config.model import AgentConfig, Listen, OperatorApi
from vagent.ctl.failure import BAD_CONFIG, NO_PERMISSION, USAGE, CommandError
from vagent.ctl.table import as_json, printable, record, table
from vagent.errors import ConfigError, VagentError
from vagent.web.caller import GROUP
from vagent.web.json_client import TIMEOUT, ApiAddress, JsonClient, SocketAddress
from vagent.web.token import bearer, given_token
from vagent.web.unix_socket import CONFIG_API, INTROSPECT, PORT_API, found_at

DEFAULT_CONFIG = Path("/etc/vagent/agent.conf")
MAX_INPUT = 1024 * 1024
"""Bytes of a file or of standard input that a command reads (Nova's user data is
64 KiB, in Base64 86 KiB)."""


@dataclass(slots=True)
class Session:
    """One run of vagentctl. `urls` are the addresses given on the command line."""

    output: str
    config_path: Path | None
    urls: Mapping[str, str | None]
    token_file: str | None
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    _config: AgentConfig | None = field(default=None, repr=False)

    @property
    def port_api(self) -> JsonClient:
        """The port REST API."""
        return self.client("port API", "port_api", socket=PORT_API)

    @property
    def config_api(self) -> JsonClient:
        """The config API."""
        return self.client("config API", "config_api", socket=CONFIG_API)

    @property
    def introspect(self) -> JsonClient:
        """Introspection."""
        return self.client("introspection", "introspect", socket=INTROSPECT)

    def show_table(self, items: Sequence[Mapping[str, Any]], columns: Columns) -> None:
        """Show a list of objects: in JSON as they are, else a table of these
        columns.
        """
        if self.output == "json":
            self.stdout.write(as_json(list(items)))
            return
        rows = [[item.get(member) for member in columns.values()] for item in items]
        self.stdout.write(table(list(columns), rows))

    def show_record(self, item: Mapping[str, Any]) -> None:
        """Show one object."""
        shown = as_json(item) if self.output == "json" else record(item)
        self.stdout.write(shown)

    def show_lines(self, lines: Sequence[str]) -> None:
        """Show lines of text; in JSON as an array of strings."""
        if self.output == "json":
            self.stdout.write(as_json(list(lines)))
            return
        self.stdout.writelines(printable(line) + "\n" for line in lines)

    def say(self, text: str) -> None:
        """Write a remark to standard error, apart from the result."""
        self.stderr.writelines(f"{printable(line)}\n" for line in text.splitlines())

    def read_input(self, name: str, *, most: int = MAX_INPUT) -> str:
        """The text of a file, or of standard input for `-`, of at most `most`
        characters. Raises CommandError.
        """
        try:
            if name == "-":
                text = self.stdin.read(most + 1)
            else:
                with Path(name).open(encoding="utf-8") as file:
                    text = file.read(most + 1)
        except PermissionError as error:
            raise CommandError(
                f"{name}: {error.strerror}", code=NO_PERMISSION
            ) from error
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise CommandError(f"{name}: not UTF-8 at byte {error.start}") from error
        if len(text) > most:
            raise CommandError(f"{name}: longer than {most} characters")
        return text

    def client(
        self, title: str, name: str, *, socket: str = "", timeout: float = TIMEOUT
    ) -> JsonClient:
        """A client for one server: at the address of the command line, else by the Unix
        socket of that name if this user may, else at the address of agent.conf. The
        token is that of the command line or environment, else that of agent.conf.
        Raises CommandError.
        """
        token = self._given_token()
        given = self.urls.get(name)
        if given is not None:
            headers = bearer(token or b"")
            return JsonClient(
                parse_url(given), title=title, headers=headers, timeout=timeout
            )
        if socket:
            path = self._runtime_directory() / socket
            if found_at(path):
                return JsonClient(SocketAddress(path), title=title, timeout=timeout)
        api: OperatorApi = getattr(self.agent_config, name)
        headers = bearer(api.access.token.value if token is None else token)
        return JsonClient(reachable(api), title=title, headers=headers, timeout=timeout)

    def _given_token(self) -> bytes | None:
        try:
            return given_token(self.token_file)
        except VagentError as error:
            raise CommandError(str(error), code=BAD_CONFIG) from error

    def _runtime_directory(self) -> Path:
        """Where the sockets are. Who may use them need not be able to read agent.conf,
        which holds secrets.
        """
        if self.config_path is None and not os.access(DEFAULT_CONFIG, os.R_OK):
            return AgentConfig().runtime_directory
        return self.agent_config.runtime_directory

    @property
    def agent_config(self) -> AgentConfig:
        """agent.conf, or the defaults where there is none. Raises CommandError."""
        if self._config is None:
            self._config = self._read_config()
        return self._config

    def _read_config(self) -> AgentConfig:
        path = self.config_path or DEFAULT_CONFIG
        try:
            path.open("rb").close()
        except FileNotFoundError as error:
            if self.config_path is None:
                return AgentConfig()
            raise CommandError(f"{path}: no such file", code=BAD_CONFIG) from error
        except PermissionError as error:
            raise CommandError(
                f"{path}: permission denied; run as root or as a member of the group "
                f"{GROUP}, or give the addresses (--port-api, --config-api, "
                "--introspect)",
                code=NO_PERMISSION,
            ) from error
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", code=BAD_CONFIG) from error
        # Imported late: lxml and the schema are slow to load.
        from vagent.config.read import read_config

        try:
            return read_config(path).config
        except ConfigError as error:
            raise CommandError(str(error), code=BAD_CONFIG) from error


Columns = Mapping[str, str]
"""The columns of a table: the title of each, and the member of the object that it
shows."""


def reachable(listen: Listen) -> ApiAddress:
    """The address at which a server can be called: one that listens on all addresses is
    called on loopback.
    """
    host = "127.0.0.1" if listen.address.is_unspecified else str(listen.address)
    return ApiAddress(host, listen.port)


def parse_url(text: str) -> ApiAddress:
    """The address in `http://host:port`, after which nothing may follow. Raises
    CommandError (usage).
    """
    wrong = CommandError(f"{text!r} is not http://HOST:PORT", code=USAGE)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    plain = (
        parts.scheme == "http"
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username)
        and text.isascii()
        and text.isprintable()
    )
    if host is None or port is None or not plain:
        raise wrong
    return ApiAddress(host, port)


def uuid_argument(text: str) -> str:
    """A UUID from the command line, lower case with dashes. Raises CommandError."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise CommandError(f"{text!r} is not a UUID", code=USAGE) from error


def objects_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """A list of objects in a reply. Raises CommandError if it is something else."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise CommandError("the config API answered with something else than a list")
