"""Collects what the agent tells of itself or, if it does not answer, what it left on
disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from vagent.config.model import AccessMode, AgentConfig, Listen
from vagent.doctor.facts import AccessFacts, AgentFacts, PortFact, Process
from vagent.doctor.sockets import owners, parse_bound
from vagent.errors import VagentError, WireError
from vagent.judgements.codec import PATH as STATUS
from vagent.judgements.codec import read_status
from vagent.judgements.judgement import Judgement
from vagent.linklocal.codec import KIND, OBJECT_ID, PROPERTY, raw_entries
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import ServiceTable
from vagent.ports.members import read_tenant
from vagent.state_directory import holder as state_directory_holder
from vagent.web.caller import group_id
from vagent.web.unix_socket import CONFIG_API, INTROSPECT, PORT_API

STORE_DEADLINE = 2.0
"""Seconds to wait until another process releases the store."""


class Api(Protocol):
    """One of the agent's HTTP servers."""

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of a 2xx reply. Raises VagentError, with `status` if there was a
        reply.
        """

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """As `call`, and the reply as JSON."""


class Apis(Protocol):
    """The agent's three HTTP servers."""

    @property
    def introspect(self) -> Api:
        """Introspection."""

    @property
    def port_api(self) -> Api:
        """The port API."""

    @property
    def config_api(self) -> Api:
        """The config API."""


def look_at_agent(apis: Apis, config: AgentConfig, conf: str) -> AgentFacts:
    """Everything about the agent. Never raises: what cannot be found out
    stays unknown.
    """
    readiness, silence = _readiness(apis.introspect)
    process = _process(config.introspect)
    table = _asked_table(apis.config_api) if readiness else None
    if table is None:
        table = stored_table(config.state_directory / "vagent.sqlite")
    services, left_out = table or (None, ())
    open_files, max_files = _files(process)
    start, restart = _commands(conf)
    return AgentFacts(
        process=process,
        stopped=_is_stopped(process),
        holder=_holder(config.state_directory),
        readiness=readiness,
        silence=silence,
        start=start,
        restart=restart,
        fast_path=_fast_path(apis.introspect) if readiness else None,
        ports=_ports(apis.port_api) if readiness else None,
        services=services,
        left_out=left_out,
        judgements=_judgements(apis.introspect) if readiness else (),
        open_files=open_files,
        max_files=max_files,
    )


def look_at_access(config: AgentConfig) -> AccessFacts:
    """Who may use the agent's APIs, as far as this host tells."""
    sockets = (
        config.runtime_directory / name for name in (PORT_API, CONFIG_API, INTROSPECT)
    )
    apis = {
        "port-api": config.port_api,
        "config-api": config.config_api,
        "introspect": config.introspect,
    }
    return AccessFacts(
        has_group=group_id() is not None,
        missing=tuple(str(path) for path in sockets if not path.is_socket()),
        open=tuple(n for n, api in apis.items() if api.access.mode is AccessMode.OPEN),
        users=users_in(_read("/etc/passwd")),
    )


def users_in(passwd: str) -> tuple[str, ...]:
    """The users in passwd(5) who can log in, apart from root."""
    rows = [line.split(":") for line in passwd.splitlines()]
    return tuple(
        row[0]
        for row in rows
        if len(row) == 7
        and row[2] != "0"
        and row[6].rpartition("/")[2] not in NO_SHELLS
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


NO_SHELLS = ("nologin", "false", "sync", "shutdown", "halt")
"""Names of programs that let nobody in."""
FAST_PATH = b"vagent_datapath_fast_path "
"""The beginning of the gauge's line in `/metrics`."""
Table = tuple[tuple[LinkLocalService, ...], tuple[str, ...]]


def stored_table(path: Path) -> Table | None:
    """The services in the embedded store, read without changing it."""
    if not path.exists():
        return None
    uri = f"{path.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=STORE_DEADLINE)) as sql:
            row = sql.execute(
                "SELECT value FROM entry WHERE kind = ? AND id = ?", (KIND, OBJECT_ID)
            ).fetchone()
        entries = raw_entries(json.loads(row[0]).get(PROPERTY)) if row else []
    except (sqlite3.Error, ValueError, AttributeError, WireError):
        return None
    return _table(ServiceTable.of(entries, lambda _event: None))


def _table(table: ServiceTable) -> Table:
    return tuple(table), tuple(
        f"{entry.name}: {entry.reason} {entry.detail}".strip()
        for entry in table.left_out
    )


def _asked_table(config_api: Api) -> Table | None:
    try:
        reply = config_api.json("GET", "/vagent/services")
        # The health of endpoints is not part of an entry of the service table.
        entries = [
            {name: value for name, value in entry.items() if name != "endpoints"}
            for entry in reply["services"]
        ]
        services = ServiceTable.of(entries, lambda _event: None)
        left_out = tuple(
            f"{entry['linklocal_service_name']}: {entry['reason']} {entry['detail']}"
            for entry in reply["left_out"]
        )
    except (VagentError, KeyError, TypeError, AttributeError):
        return None
    return _table(services)[0], left_out


def _readiness(introspect: Api) -> tuple[str, str]:
    """ "ready" or the reason why not, and ""; or, if nothing answers, "" and the reason
    for that.
    """
    try:
        return introspect.call("GET", "/readyz").decode("utf-8", "replace").strip(), ""
    except VagentError as error:
        said = str(error)
        if getattr(error, "status", 0):
            return said.rpartition(": ")[2] or "not ready", ""
        return "", said


def _fast_path(introspect: Api) -> bool | None:
    try:
        page = introspect.call("GET", "/metrics")
    except VagentError:
        return None
    for line in page.splitlines():
        if line.startswith(FAST_PATH):
            return line.removeprefix(FAST_PATH).strip() == b"1"
    return None


def _judgements(introspect: Api) -> tuple[Judgement, ...]:
    """What the agent says is wrong; nothing if it does not say."""
    try:
        return read_status(introspect.json("GET", STATUS))[1]
    except VagentError:
        return ()


def _ports(port_api: Api) -> tuple[PortFact, ...] | None:
    try:
        listed = port_api.json("GET", "/ports")
        return tuple(_port(raw) for raw in listed)
    except (VagentError, AttributeError, TypeError):
        return None


def _port(raw: Mapping[str, Any]) -> PortFact:
    def text(name: str) -> str:
        return str(raw.get(name) or "")

    return PortFact(
        id=text("id"),
        name=text("display-name"),
        tap=text("system-name"),
        state=text("state"),
        author=text("author"),
        instance=text("instance-id"),
        tenant=read_tenant(raw, "vm-project-id", exact="project-id"),
        address=text("ip-address"),
    )


def _process(listen: Listen) -> Process | None:
    """The process that listens where introspection should."""
    try:
        text = Path("/proc/self/net/tcp").read_text()
    except OSError:
        return None
    inodes = [
        bound.inode
        for bound in parse_bound(text)
        if bound.port == listen.port
        and (bound.address == listen.address or bound.address.is_unspecified)
    ]
    return next(iter(owners(inodes).values()), None)


def _holder(state_directory: Path) -> Process | None:
    """The process that holds the state directory."""
    pid = state_directory_holder(state_directory)
    if pid is None:
        return None
    try:
        name = Path("/proc", str(pid), "comm").read_text(errors="replace").strip()
    except OSError:
        return None
    return Process(pid, name)


def _is_stopped(process: Process | None) -> bool:
    """Has a signal stopped the process? That is state T in proc_pid_stat(5), where it
    follows the name in parentheses.
    """
    if process is None:
        return False
    try:
        text = Path("/proc", str(process.pid), "stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["T"]


def _files(process: Process | None) -> tuple[int | None, int | None]:
    if process is None:
        return None, None
    folder = Path("/proc", str(process.pid))
    try:
        used = sum(1 for _ in (folder / "fd").iterdir())
        limits = (folder / "limits").read_text()
    except OSError:
        return None, None
    line = next((x for x in limits.splitlines() if x.startswith("Max open files")), "")
    soft = line.split()[3:4]
    return used, int(soft[0]) if soft and soft[0].isdecimal() else None


def _commands(conf: str) -> tuple[str, str]:
    """The commands that start and restart the agent on this host."""
    folders = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
    has_unit = any(Path(folder, "vagent.service").exists() for folder in folders)
    if has_unit and Path("/run/systemd/system").exists():
        return "systemctl start vagent", "systemctl restart vagent"
    run = f"vagent --config {conf}"
    return run, f"kill $(pgrep -xo vagent); {run}"
