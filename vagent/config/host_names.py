"""Host names (RFC 1123 §2.1), and those in agent.conf by which this host may
be called.
"""

from __future__ import annotations

import re

from vagent.config.findings import Findings, shown
from vagent.config.section import Section

LONGEST = 253
"""Characters of a host name without the final dot (RFC 1035: 255 octets encoded)."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?P<last>{_LABEL})\.?")
_ALLOWED = (
    "host names with blanks between them: letters, digits and dashes in labels of at "
    f"most 63 characters, {LONGEST} in all; addresses need not be named"
)


def is_host_name(text: str) -> bool:
    """Is this a host name, with or without a final dot?

    One whose last label is a number is none: URLs take it for an IPv4 address.
    """
    match = _NAME.fullmatch(text)
    if match is None or len(text.removesuffix(".")) > LONGEST:
        return False
    return not match["last"].isdigit()


def canonical(name: str) -> str:
    """The one spelling of a host name: lower case, without the final dot."""
    return name.lower().removesuffix(".")


def read_host_names(
    section: Section, element: str, findings: Findings
) -> tuple[str, ...]:
    """The host names in an element, each once, in canonical spelling.

    A text that is no host name is refused and left out.
    """
    names: dict[str, None] = {}
    for text in section.value(element, str, "").split():
        if is_host_name(text):
            names[canonical(text)] = None
        else:
            what = f"got {shown(text)}; allowed: {_ALLOWED}"
            findings.refuse(section.place_of(element), what)
    return tuple(names)
