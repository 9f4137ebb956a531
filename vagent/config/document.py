"""Turns the bytes of agent.conf into an XML tree, or into a list of reasons why not.

A plain scan of the markup comes first. It refuses document types, entity declarations,
processing instructions and deep nesting before libxml2 sees them, and explains
unbalanced tags better than a parser can.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lxml import etree

from vagent.config.findings import Findings, Place, shown_name

MAX_BYTES = 1 << 20  # the complete example is under 10 KiB
MAX_DEPTH = 16  # ours is 4 deep, Contrail's legacy elements no deeper

_DECLARATION = re.compile(r"\s*<\?xml\s[^<>]*?\?>")
_TAG = re.compile(r"""</?([^\s/>"'<=]++)(?:[^<>"']|"[^"]*"|'[^']*')*+>""")
_NAME = re.compile(r"</?([^\s/>]+)")
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_BALANCE_ERRORS = frozenset(
    {
        etree.ErrorTypes.ERR_TAG_NAME_MISMATCH,
        etree.ErrorTypes.ERR_TAG_NOT_FINISHED,
        etree.ErrorTypes.ERR_GT_REQUIRED,
        etree.ErrorTypes.ERR_DOCUMENT_END,
    }
)
_SENTENCES = {
    etree.ErrorTypes.ERR_DOCUMENT_EMPTY: "there is no element",
    etree.ErrorTypes.ERR_DOCUMENT_END: "something follows the end of the root element",
    etree.ErrorTypes.ERR_TAG_NAME_MISMATCH: "an end tag does not match its start tag",
    etree.ErrorTypes.ERR_TAG_NOT_FINISHED: "an element is never closed",
    etree.ErrorTypes.ERR_GT_REQUIRED: "a tag does not end with >",
    etree.ErrorTypes.ERR_NAME_REQUIRED: "no name after < or & (write them &lt; &amp;)",
    etree.ErrorTypes.ERR_ENTITYREF_SEMICOL_MISSING: "a bare & (write it &amp;)",
    etree.ErrorTypes.ERR_UNDECLARED_ENTITY: "an unknown entity (write & as &amp;)",
    etree.ErrorTypes.ERR_HYPHEN_IN_COMMENT: "-- inside a comment",
    etree.ErrorTypes.ERR_COMMENT_NOT_FINISHED: "a comment does not end",
    etree.ErrorTypes.ERR_INVALID_CHAR: "a control character",
}


def parse(data: bytes, findings: Findings) -> etree._Element:
    """The root element. Raises `ConfigError` through `findings`.

    Blanks before the XML declaration are accepted, because Contrail's generator writes
    them. The declared encoding is ignored: the file is UTF-8.
    """
    text = _without_declaration(_decoded(data, findings))
    scan = _scan(text)
    for line, what in scan.forbidden:
        findings.refuse(Place(line, "/"), what)
    findings.raise_if_refused()
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        remove_comments=True,
    )
    root = None
    with suppress(etree.XMLSyntaxError):
        root = etree.fromstring(text.encode(), parser)
    if root is None:
        # Raised outside the `except` block, so that lxml's exception, which quotes the
        # file, is not attached as the cause.
        for line, what in _faults(parser.error_log, scan):
            findings.refuse(Place(line, "/"), f"not well-formed: {what}")
        raise findings.error()
    return root


def _decoded(data: bytes, findings: Findings) -> str:
    if len(data) > MAX_BYTES:
        findings.refuse_file(f"the file is too large; allowed: {MAX_BYTES} bytes")
    text, wrong_at = "", None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        wrong_at = error.start
    if wrong_at is not None:
        # Raised outside the `except` block: a UnicodeDecodeError holds the whole file.
        line = data.count(b"\n", 0, wrong_at) + 1
        got = f"byte 0x{data[wrong_at]:02x} at offset {wrong_at}"
        findings.refuse_file(f"got {got}; allowed: UTF-8 text", line=line)
    return text


def _without_declaration(text: str) -> str:
    """Put newlines where the XML declaration and the blanks before it were."""
    declaration = _DECLARATION.match(text)
    if declaration is None:
        return text
    return "\n" * declaration[0].count("\n") + text[declaration.end() :]


@dataclass(slots=True)
class _Scan:
    """What the plain scan found, as (line, what)."""

    forbidden: list[tuple[int, str]] = field(default_factory=list)
    unbalanced: list[tuple[int, str]] = field(default_factory=list)
    open: list[tuple[str, int]] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)

    def close(self, name: str, line: int) -> None:
        if name not in [opened for opened, _ in self.open]:
            before = self.closed.get(name)
            why = f": <{name}> was already closed in line {before}" if before else ""
            self.unbalanced.append((line, f"stray </{name}> closes nothing{why}"))
            return
        while (top := self.open.pop())[0] != name:
            what = f"<{top[0]}> of line {top[1]} is not closed before </{name}>"
            self.unbalanced.append((line, what))
        self.closed[name] = line


def _scan(text: str) -> _Scan:
    scan = _Scan()
    line, counted = 1, 0
    for at, markup in _markup(text):
        line, counted = line + text.count("\n", counted, at), at
        if markup.startswith(("<!--", "<![CDATA[")):
            continue
        if not markup:
            return scan
        refusal = _refusal(markup, depth=len(scan.open))
        if refusal:
            scan.forbidden.append((line, refusal))
            return scan
        name = shown_name(_NAME.split(markup, maxsplit=1)[1])
        if markup.startswith("</"):
            scan.close(name, line)
        elif not markup.endswith("/>"):
            scan.open.append((name, line))
    for name, opened in scan.open:
        scan.unbalanced.append((opened, f"<{name}> is never closed"))
    return scan


def _refusal(markup: str, *, depth: int) -> str | None:
    if markup.startswith("<?"):
        return "processing instruction; allowed: elements and comments"
    if markup.startswith("<!"):
        return "document type or declaration; allowed: elements and comments"
    if depth >= MAX_DEPTH and not markup.startswith("</"):
        return f"elements are nested too deep; allowed: {MAX_DEPTH} levels"
    return None


def _markup(text: str) -> Iterator[tuple[int, str]]:
    """Each piece of markup with its offset; the last is "" if it does not end."""
    at = text.find("<")
    while at >= 0:
        end = _end_of_markup(text, at)
        if end is None:
            yield at, ""
            return
        yield at, text[at:end]
        at = text.find("<", end)


def _end_of_markup(text: str, at: int) -> int | None:
    for start, closing in _ENDS.items():
        if text.startswith(start, at):
            found = text.find(closing, at + len(start))
            return found + len(closing) if found >= 0 else None
    if text.startswith("<!", at):
        return at + len("<!")
    tag = _TAG.match(text, at)
    return tag.end() if tag else None


def _faults(log: etree._ListErrorLog, scan: _Scan) -> Iterator[tuple[int, str]]:
    """Why the text is not well-formed, each with its line."""
    yield from scan.unbalanced
    for entry in log:
        if not scan.unbalanced or entry.type not in _BALANCE_ERRORS:
            yield max(entry.line, 1), _sentence(entry)


def _sentence(entry: etree._LogEntry) -> str:
    """Our own words for an error of libxml2, because libxml2's may quote a secret."""
    known = _SENTENCES.get(entry.type)
    return known or entry.type_name.removeprefix("ERR_").replace("_", " ").lower()
