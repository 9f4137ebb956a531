"""Promises of the step from bytes to a tree."""

from __future__ import annotations

import traceback

import pytest

from vagent.config.document import MAX_DEPTH, parse
from vagent.config.findings import Findings
from vagent.errors import ConfigError


def refusals(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse(data, Findings("f"))
    return [str(each).removeprefix("f:") for each in caught.value.problems]


DECLARATION = "document type or declaration; allowed: elements and comments"
INSTRUCTION = "processing instruction; allowed: elements and comments"
LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE agent [ <!ENTITY a "ha"> <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"> ]>
<agent>&b;</agent>"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<!DOCTYPE agent><agent/>", 1),
        ('<!DOCTYPE agent SYSTEM "http://127.0.0.1/x.dtd"><agent/>', 1),
        (
            '\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><agent>&x;</agent>',
            2,
        ),
        (LAUGHS, 2),
        ("<!-- <!DOCTYPE a> -->\n<!doctype agent><agent/>", 2),
        ("<agent>\n<!ELEMENT agent ANY></agent>", 2),
        ("<!DOCTYPE", 1),
    ],
)
def test_declarations_are_refused(text: str, line: int) -> None:
    """No document type or entity declaration reaches the parser, wherever it hides."""
    assert [f"{line}: /: {DECLARATION}"] == refusals(text)


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?>\n<?xml-stylesheet href="x"?><agent/>',
        "<agent>\n<?php ?></agent>",
        '<agent/>\n<?xml version="1.0"?>',
    ],
)
def test_processing_instructions_are_refused(text: str) -> None:
    """Only the XML declaration may look like a processing instruction."""
    assert [f"2: /: {INSTRUCTION}"] == refusals(text)


def test_the_words_are_free_in_comments_and_cdata() -> None:
    """Markup that is quoted is text."""
    text = "<a><!-- <!DOCTYPE x> <?y?> </a> --><![CDATA[<!DOCTYPE x></a>]]></a>"
    assert parse(text.encode(), Findings("f")).text == "<!DOCTYPE x></a>"


def test_nesting_is_bounded() -> None:
    """MAX_DEPTH levels are read, one more is refused, without end tags too."""
    fits = "<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH
    assert parse(fits.encode(), Findings("f")).tag == "a"
    expected = [f"1: /: elements are nested too deep; allowed: {MAX_DEPTH} levels"]
    assert expected == refusals(f"<a>{fits}</a>")
    assert expected == refusals("<a>" * 100_000)
    assert expected == refusals("<a>" * MAX_DEPTH + "<a/>")


@pytest.mark.parametrize(
    "before", ["", "\n", " \t\r\n\n", "\ufeff", "\ufeff\n"], ids=repr
)
def test_blanks_before_the_declaration(before: str) -> None:
    """Blanks and a BOM before <?xml are read over; lines count from the top."""
    text = f'{before}<?xml version="1.0"\n encoding="utf-8"?>\n<agent/>'
    expected = before.count("\n") + 3
    assert expected == parse(text.encode(), Findings("f")).sourceline


@pytest.mark.parametrize("encoding", ["UTF-16", "utf-7", "iso-8859-1", "no-such"])
def test_the_declared_encoding_is_not_obeyed(encoding: str) -> None:
    """A declaration cannot make the parser see other markup than the scan saw."""
    text = f'<?xml version="1.0" encoding="{encoding}"?><a>+ADw-é</a>'
    assert parse(text.encode(), Findings("f")).text == "+ADw-é"


@pytest.mark.parametrize("data", [b"<a>\n\xff</a>", b"\xef\xbb\xbf<a>\n\xff</a>"])
def test_only_utf8(data: bytes) -> None:
    """The first byte that is not UTF-8 is named with its line."""
    assert refusals(data) == ["2: /: got byte 0xff at offset 4; allowed: UTF-8 text"]
    assert len(refusals("<a/>".encode("utf-16"))) == 1


def test_stray_end_tag_of_contrail() -> None:
    """The stray </agent> of Contrail's provisioning is named with both lines."""
    text = """
<?xml version="1.0" encoding="utf-8"?>
<config><agent>
<metadata-proxy><shared-secret>x</shared-secret></metadata-proxy></agent>
<discovery-server/>
</agent></config>"""
    expected = "stray </agent> closes nothing: <agent> was already closed in line 4"
    assert [f"6: /: not well-formed: {expected}"] == refusals(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: there is no element"]),
        ("\n", ["2: there is no element"]),
        ("x", ["1: there is no element"]),
        ("</a>", ["1: stray </a> closes nothing"]),
        ("<a>\n<b>", ["1: <a> is never closed", "2: <b> is never closed"]),
        ("<a>\n<b>\n</a>", ["3: <b> of line 2 is not closed before </a>"]),
        ("<a/>\n<a/>", ["2: something follows the end of the root element"]),
        ("<a>\n&x;</a>", ["2: an unknown entity (write & as &amp;)"]),
        ("<a>\nb&c</a>", ["2: a bare & (write it &amp;)"]),
        ("<a\n", ["2: a tag does not end with >"]),
        ("<a><!-- -- --></a>", ["1: -- inside a comment"]),
        ("<a>\n<!-- </a>", ["2: a comment does not end"]),
        ("<a>\x01</a>", ["1: a control character"]),
    ],
)
def test_what_is_not_well_formed(text: str, expected: list[str]) -> None:
    """Each fault is told in plain words with its line; the first ones come first."""
    told = [line.replace(" /: not well-formed:", "") for line in refusals(text)]
    assert expected == told[: len(expected)]


def test_several_faults_are_told_together() -> None:
    """All unbalanced tags of a file are reported in one run."""
    text = "<a>\n</b>\n<c>\n</a>\n</d>"
    assert refusals(text) == [
        "2: /: not well-formed: stray </b> closes nothing",
        "4: /: not well-formed: <c> of line 3 is not closed before </a>",
        "5: /: not well-formed: stray </d> closes nothing",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<a><!-- s3cr3t -- --></a>",
        "<a><!-- s3cr3t",
        "<a>s3cr3t&s3cr3t;</a>",
        '<a b="s3cr3t<"/>',
        b"<a>s3cr3t\xff</a>",
    ],
)
def test_a_broken_file_keeps_its_secret(text: str | bytes) -> None:
    """Neither message nor traceback quotes the file; libxml2's own words would."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse(data, Findings("f"))
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_one_file_does_not_answer_for_another() -> None:
    """Faults of a file read before do not show up again."""
    refusals("<first>\n\n\n&x;</first>")
    assert refusals("") == ["1: /: not well-formed: there is no element"]


def test_nothing_is_fetched(tmp_path_factory: pytest.TempPathFactory) -> None:
    """XInclude stays an element; no file is read for it."""
    target = tmp_path_factory.mktemp("include") / "x.xml"
    target.write_text("<stolen/>")
    text = (
        '<a xmlns:xi="http://www.w3.org/2001/XInclude">'
        f'<xi:include href="file://{target}"/></a>'
    )
    root = parse(text.encode(), Findings("f"))
    assert [each.tag for each in root] == ["{http://www.w3.org/2001/XInclude}include"]
