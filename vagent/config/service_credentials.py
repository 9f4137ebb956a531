"""`<service-credentials>`: the agent's own account in Keystone.

As `[service_credentials]` of other services: `auth-type` names a plug-in of
keystoneauth1, and which elements `<auth-options>` may have, the plug-in says.
"""

from __future__ import annotations

from collections.abc import Mapping

from vagent.config.auth_plug_ins import (
    METHODS,
    PlugIn,
    PlugInError,
    PlugInOption,
    normal,
)
from vagent.config.files import Content
from vagent.config.findings import Findings, shown_name
from vagent.config.model import AuthOption, ServiceCredentials
from vagent.config.nearest import nearest
from vagent.config.pem_files import read_ca, read_own_files
from vagent.config.section import Section, Value
from vagent.config.shared_secret import secret_of

DEFAULT_TIMEOUT = ServiceCredentials("").timeout


def read_service_credentials(
    section: Section, findings: Findings, conf: Content
) -> ServiceCredentials | None:
    """The settings in the section; None where it names no plug-in."""
    options = section.section("auth-options")
    auth_type = section.value("auth-type", str, "")
    if not auth_type:
        if options.values and section.sound("auth-type"):
            findings.refuse(
                section.place_of("auth-type"),
                "no plug-in is named; needed because auth-options are given",
            )
        return None
    certificate, key = read_own_files(section, findings)
    return ServiceCredentials(
        auth_type=auth_type,
        options=_options(section, auth_type, findings, conf),
        timeout=section.value("timeout", float, DEFAULT_TIMEOUT),
        ca_cert=read_ca(section, findings),
        client_cert=certificate,
        client_key=key,
    )


def _options(
    section: Section, auth_type: str, findings: Findings, conf: Content
) -> tuple[AuthOption, ...]:
    given = section.section("auth-options")
    methods = [one for name, one in given.values.items() if normal(name) == METHODS]
    texts = methods[0].text.replace(",", " ").split() if methods else []
    try:
        plug_in = PlugIn(auth_type)
        known = plug_in.options(texts)
    except PlugInError as error:
        findings.refuse(section.place_of("auth-type"), str(error))
        return ()
    found: dict[str, AuthOption] = {}
    for name, value in given.values.items():
        option = _known(name, known)
        if option is None:
            _refuse_unknown(name, value, auth_type, known, findings)
        elif option.name in found:
            findings.refuse(value.place, f"the option {option.name} is given twice")
        else:
            found[option.name] = _read(option, value, findings, conf)
    _try(section, plug_in, found, findings)
    return tuple(found.values())


def _known(name: str, known: Mapping[str, PlugInOption]) -> PlugInOption | None:
    """The option of that name, or of that older name."""
    wanted = normal(name)
    for option in known.values():
        if wanted == option.name or wanted in option.others:
            return option
    return None


def _read(
    option: PlugInOption, value: Value, findings: Findings, conf: Content
) -> AuthOption:
    if not option.is_secret and "file" not in value.attributes:
        return AuthOption(option.name, value.text, is_secret=False)
    secret = secret_of(value, findings, conf)
    text = secret.value.decode("utf-8", "replace")
    return AuthOption(option.name, text, is_secret=option.is_secret)


def _refuse_unknown(
    name: str,
    value: Value,
    auth_type: str,
    known: Mapping[str, PlugInOption],
    findings: Findings,
) -> None:
    names = sorted(known)
    findings.refuse(
        value.place,
        f"{auth_type} has no option {shown_name(name)}; nearest known name:"
        f" {nearest(normal(name), names)}; allowed: {', '.join(names)}",
    )


def _try(
    section: Section,
    plug_in: PlugIn,
    found: Mapping[str, AuthOption],
    findings: Findings,
) -> None:
    """Whether the plug-in takes them together; what was refused is told already."""
    place = section.place_of("auth-options")
    if findings.has_refused_below(place.path):
        return
    try:
        plug_in.make({name: one.value for name, one in found.items() if one.value})
    except PlugInError as error:
        findings.refuse(place, str(error))
