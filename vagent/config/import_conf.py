"""Converts contrail-vrouter-agent.conf (INI) to agent.conf (XML), with a note for every
option that is not carried over as it is. Pure.

It knows the options of R1.06 to R21.4. A value that agent.conf would refuse is left out
and noted; no note repeats a secret. The file is read as Boost's program_options reads
it: `#` starts a comment anywhere in a line, names are case-sensitive, and an option may
stand once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from lxml import etree

from vagent.config.document import MAX_BYTES
from vagent.config.dump import to_xml
from vagent.config.findings import MAX_PROBLEMS, Findings, shown_name
from vagent.config.grammar import load_grammar
from vagent.config.model import LinkLocalFlowsConfig
from vagent.config.pem_files import CLIENT_FILES
from vagent.config.structure import read_structure
from vagent.errors import ConfigError

Option = tuple[str, str]
"""Section and name of an INI option."""

CARRIED: Mapping[Option, str] = {
    ("DEFAULT", "log_level"): "log-level",
    ("METADATA", "metadata_proxy_secret"): "metadata-proxy/shared-secret",
    ("METADATA", "metadata_proxy_port"): "metadata-proxy/port",
    ("METADATA", "metadata_use_ssl"): "metadata-proxy/use-ssl",
    ("METADATA", "metadata_client_cert"): "metadata-proxy/client-cert",
    ("METADATA", "metadata_client_key"): "metadata-proxy/client-key",
    ("METADATA", "metadata_ca_cert"): "metadata-proxy/ca-cert",
    ("FLOWS", "max_system_linklocal_flows"): "linklocal-flows/max-system-flows",
    ("FLOWS", "max_vm_linklocal_flows"): "linklocal-flows/max-vm-flows",
    ("DEFAULT", "http_server_ip"): "introspect/address",
    ("DEFAULT", "http_server_port"): "introspect/port",
}
REASONS: Mapping[Option, str] = {
    ("DEFAULT", "rest_port"): (
        "Contrail's agent ignored it and listened on 9091; port-api/port is the place"
    ),
    ("DEFAULT", "agent_base_directory"): (
        "the state of two agents must not mix; state-directory is the place"
    ),
    ("METADATA", "metadata_client_cert_type"): "certificates and keys are PEM files",
    (
        "FLOWS",
        "max_vm_flows",
    ): "a share of the vRouter's flow table, which is not there",
}
NO_COUNTERPART = "an option of the vRouter agent without counterpart in agent.conf"
LEVELS: Mapping[str, str] = {
    "SYS_DEBUG": "debug",
    "SYS_INFO": "info",
    "SYS_NOTICE": "info",
    "SYS_WARN": "warn",
    "SYS_ERR": "error",
    "SYS_CRIT": "error",
    "SYS_ALERT": "error",
    "SYS_EMERG": "error",
}
SWITCHES: Mapping[str, str] = {
    **dict.fromkeys(("true", "yes", "on", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "0"), "false"),
}
_SECTION = re.compile(r"\[([^\[\]]*)\]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def import_conf(text: str) -> tuple[str, tuple[str, ...]]:
    """agent.conf as XML, and one note for each option left out or changed, with why.

    The XML is within the grammar; files that it names may still be missing on this
    host, which reading it will tell. Raises `ConfigError` if `text` is over 1 MiB.
    """
    if len(text) > MAX_BYTES:
        Findings("contrail-vrouter-agent.conf").refuse_file(
            f"the file is too large; allowed: {MAX_BYTES} characters"
        )
    notes: list[str] = []
    given = _carried(_options(text, notes), notes)
    _drop_refused(given, notes)
    _fit_flows(given, notes)
    _ask_for_tls_files(given, notes)
    _keep_pages_on_loopback(given, notes)
    if len(notes) > MAX_PROBLEMS:
        notes[MAX_PROBLEMS:] = [f"more than {MAX_PROBLEMS} notes; the rest is left out"]
    return to_xml(_nested(given)), tuple(notes)


def _options(text: str, notes: list[str]) -> dict[Option, str]:
    options: dict[Option, str] = {}
    for number, section, line in _lines(text):
        name, equals, value = (part.strip(" \t\r") for part in line.partition("="))
        option = (section, name)
        if not equals or not name:
            notes.append(f"line {number}: not an option; left out")
        elif option in options:
            notes.append(f"{_label(option)}: given again in line {number}; left out")
        else:
            options[option] = value
    return options


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, section and content of each line that may hold an option."""
    section = ""
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.partition("#")[0].strip(" \t\r")
        header = _SECTION.fullmatch(line)
        if header:
            section = header[1].strip(" \t")
        elif line:
            yield number, section, line


def _carried(options: Mapping[Option, str], notes: list[str]) -> dict[Option, str]:
    given = {}
    for option, text in options.items():
        if option not in CARRIED:
            why = REASONS.get(option, NO_COUNTERPART)
            notes.append(f"{_label(option)}: not carried over: {why}")
        elif _NOT_XML.search(text):
            why = "it holds control characters, which XML cannot"
            notes.append(f"{_label(option)}: not carried over: {why}")
        else:
            given[option] = _translated(option, text)
    return given


def _translated(option: Option, text: str) -> str:
    if option == ("DEFAULT", "log_level"):
        return LEVELS.get(text, text)
    if option == ("METADATA", "metadata_use_ssl"):
        return SWITCHES.get(text.lower(), text)
    return text


def _drop_refused(given: dict[Option, str], notes: list[str]) -> None:
    """Remove the values that agent.conf's grammar refuses, and note each with the
    grammar's own words.
    """
    findings = Findings("")
    root = etree.fromstring(to_xml(_nested(given)))
    read_structure(root, load_grammar(), findings)
    options = {f"/config/agent/{CARRIED[option]}": option for option in given}
    try:
        findings.raise_if_refused()
    except ConfigError as error:
        for problem in error.problems:
            option = options[problem.path]
            del given[option]
            notes.append(f"{_label(option)}: not carried over: {problem.what}")


def _fit_flows(given: dict[Option, str], notes: list[str]) -> None:
    """Lower the guest's flow limit to the host's, as Contrail does; agent.conf refuses
    a higher one.
    """
    default = LinkLocalFlowsConfig()
    option = ("FLOWS", "max_vm_linklocal_flows")
    system = given.get(
        ("FLOWS", "max_system_linklocal_flows"), str(default.max_system_flows)
    )
    if option in given and int(given[option]) > int(system):
        why = f"it may not be above max-system-flows ({system})"
        notes.append(f"{_label(option)}: {given[option]} became {system}: {why}")
        given[option] = system


def _ask_for_tls_files(given: Mapping[Option, str], notes: list[str]) -> None:
    if given.get(("METADATA", "metadata_use_ssl")) != "true":
        return
    for element in CLIENT_FILES:
        option = ("METADATA", f"metadata_{element.replace('-', '_')}")
        if not given.get(option):
            why = "vagent always proves itself to nova-api and verifies it"
            notes.append(
                f"{_label(option)}: missing, and metadata_use_ssl is on: {why}"
            )


def _keep_pages_on_loopback(given: dict[Option, str], notes: list[str]) -> None:
    """Drop an address of introspection that agent.conf takes only with a token."""
    option = ("DEFAULT", "http_server_ip")
    text = given.get(option, "")
    if text and not IPv4Address(text).is_loopback:
        del given[option]
        why = "introspection stays on 127.0.0.1; elsewhere introspect/access is token"
        notes.append(f"{_label(option)}: {text} not carried over: {why}")


def _nested(given: Mapping[Option, str]) -> dict[str, str | dict[str, str]]:
    content: dict[str, str | dict[str, str]] = {}
    for option, path in CARRIED.items():
        section, _, leaf = path.partition("/")
        if option not in given:
            continue
        if not leaf:
            content[section] = given[option]
            continue
        inner = content.setdefault(section, {})
        if isinstance(inner, dict):
            inner[leaf] = given[option]
    return content


def _label(option: Option) -> str:
    return f"[{shown_name(option[0])}] {shown_name(option[1])}"
