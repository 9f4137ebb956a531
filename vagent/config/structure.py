"""Turns the XML tree into sections and values, as far as the grammar allows.

It walks along the elements that the schema declares, reports and cuts out what does not
belong there, trims values, then lets the schema check them (see `grammar`). A text that
may be a misplaced secret is never repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from vagent.config.findings import Findings, Place, shown, shown_name
from vagent.config.grammar import Declared, ElementKind, Grammar
from vagent.config.nearest import unknown_attribute, unknown_element
from vagent.config.section import Section, Value

BLANKS = " \t\r\n"  # what Boost's trim_whitespace took away, and XML calls space
MAX_VALUE = 4_096  # characters; the longest legal value is a secret of 4 KiB


def read_structure(
    root: etree._Element, grammar: Grammar, findings: Findings
) -> Section:
    """The `<agent>` section. What is refused is in `findings` and left out here.

    Raises `ConfigError` if the root element is not `<config>` or `<agent>`.
    """
    declared = grammar.roots.get(root.tag)
    if declared is None:
        got = f"got the root element <{shown_name(str(root.tag))}>"
        findings.refuse_file(
            f"{got}; allowed: <config><agent>…</agent></config> or <agent>…</agent>",
            line=root.sourceline,
        )
    walk = _Walk(grammar.roots["agent"], findings)
    place = Place(root.sourceline, f"/{declared.name}")
    walk.visit(root, declared, place)
    walk.judge(root, grammar.schema)
    section = walk.section(root, declared, place)
    return section if declared.name == "agent" else section.section("agent")


@dataclass(slots=True)
class _Walk:
    """One pass over one document. `seen` are the elements that belong there,
    by path.
    """

    agent: Declared
    findings: Findings
    seen: dict[str, tuple[etree._Element, Declared]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def visit(self, element: etree._Element, declared: Declared, place: Place) -> None:
        self.seen[place.path] = (element, declared)
        self._attributes(element, declared, place)
        if declared.kind is ElementKind.VALUE:
            self._trim(element, place)
        elif _stray_text(element):
            self.findings.refuse(place, "text between elements; allowed: elements only")
        for child in list(element):
            self._child(child, declared, place)

    def _attributes(
        self, element: etree._Element, declared: Declared, place: Place
    ) -> None:
        for name in element.attrib:
            if name not in declared.attributes:
                what = unknown_attribute(name, declared)
                self.findings.refuse(place.child(f"@{shown_name(name)}"), what)
                del element.attrib[name]

    def _trim(self, element: etree._Element, place: Place) -> None:
        texts = [element.text, *(child.tail for child in element)]
        element.text = "".join(text or "" for text in texts).strip(BLANKS)
        if len(element.text) > MAX_VALUE:
            what = f"got {len(element.text)} characters; allowed: {MAX_VALUE}"
            self.findings.refuse(place, what)
            element.text = ""

    def _child(self, child: etree._Element, parent: Declared, above: Place) -> None:
        declared = parent.child(child.tag)
        place = above.child(shown_name(str(child.tag)), child.sourceline)
        if declared is None:
            what = unknown_element(str(child.tag), parent, self.agent)
            self.findings.refuse(place, what)
        elif declared.kind is ElementKind.LEGACY:
            self.findings.warn(
                place, "an element of Contrail's vRouter agent; not used"
            )
        elif place.path in self.seen:
            self._repeated(place)
        else:
            self.visit(child, declared, place)
            return
        child.getparent().remove(child)

    def _repeated(self, place: Place) -> None:
        count = self.counts.get(place.path, 1) + 1
        self.counts[place.path] = count
        first = self.seen[place.path][0].sourceline
        what = f"given again; allowed: once (first given in line {first})"
        self.findings.refuse(Place(place.line, f"{place.path}[{count}]"), what)

    def judge(self, root: etree._Element, schema: etree.XMLSchema) -> None:
        """Let the schema check what is left, with one error for each element."""
        schema.validate(root.getroottree())
        for entry in schema.error_log:
            self._report(entry)

    def _report(self, entry: etree._LogEntry) -> None:
        element, declared = self.seen[entry.path]
        place = Place(element.sourceline, entry.path)
        if self.findings.has_refused(place.path):
            return
        if declared.kind is ElementKind.VALUE:
            what = f"got {shown(element.text or '')}; allowed: {declared.allowed}"
            self.findings.refuse(place, what)
        elif not self.findings.has_refused_below(place.path):
            what = f"got no <agent> in <{declared.name}>; allowed: exactly one"
            self.findings.refuse(place, what)

    def section(
        self, element: etree._Element, declared: Declared, place: Place
    ) -> Section:
        """The elements in `element` that were not refused, as a section."""
        values, sections, refused = {}, {}, set()
        for child in element:
            inner = declared.child(child.tag)
            if inner is None:  # cut by `visit`
                continue
            here = place.child(inner.name, child.sourceline)
            if inner.kind in (ElementKind.SECTION, ElementKind.OPTIONS):
                sections[inner.name] = self.section(child, inner, here)
            elif self.findings.has_refused(here.path):
                refused.add(inner.name)
            else:
                values[inner.name] = Value(here, child.text or "", dict(child.attrib))
        return Section(place, values, sections, frozenset(refused))


def _stray_text(element: etree._Element) -> bool:
    texts = [element.text, *(child.tail for child in element)]
    return any(text and text.strip(BLANKS) for text in texts)
