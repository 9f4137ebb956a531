"""The table of what is wrong, and the overview that it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from introspect.page import Table, Tiles
from introspect.pages.judgements import MAX_ROWS, judgement_blocks
from introspect.pages.metadata import metadata_info
from introspect.pages.overview import overview
from tests.unit.vagent.judgements.test_judgements_book import PORT
from tests.unit.vagent.judgements.test_judgements_judgement import DOWN
from vagent.judgements.judgement import Severity, Subject, SubjectKind


def test_a_row_says_all_of_a_judgement() -> None:
    """And leads to the page of its subject."""
    (block,) = judgement_blocks((PORT, DOWN))
    assert isinstance(block, Table)
    assert [
        ["wrong", "web", "down: refused", "1970-01-01 00:01:40", "look there"],
        ["warning", "192.0.2.1:8775", "down: refused", "1970-01-01 00:01:40",
         "look there"],
    ] == [[cell.text for cell in row] for row in block.rows]  # fmt: skip
    assert ["/Snh_ItfReq?uuid=p1", "/Snh_MetadataInfo"] == [
        row[1].href for row in block.rows
    ]
    assert "" == block.note


def test_what_is_said_of_taps_leads_to_the_interfaces() -> None:
    """All of them."""
    taps = replace(PORT, subject=Subject(SubjectKind.HOST, "taps"))
    (block,) = judgement_blocks((taps,))
    assert isinstance(block, Table)
    assert "/Snh_ItfReq" == block.rows[0][1].href


def test_nothing_wrong_shows_nothing() -> None:
    """An empty table would look like a warning."""
    assert () == judgement_blocks(())


def test_many_are_cut_and_the_rest_is_counted() -> None:
    """The page stays small; `/status` has all."""
    many = [
        replace(PORT, subject=Subject(SubjectKind.PORT, f"p{number}"))
        for number in range(MAX_ROWS + 2)
    ]
    (block,) = judgement_blocks(many)
    assert isinstance(block, Table)
    assert (MAX_ROWS, "2 more are at /status.") == (len(block.rows), block.note)


def test_the_overview_is_green_only_where_guests_are_served(world: Any) -> None:
    """Wrong stands first and in red; a warning alone leaves it green."""
    for judgements, tone, headline in (
        ((), "good", "Ready"),
        ((replace(DOWN, severity=Severity.WARNING),), "good", "Ready"),
        ((PORT, DOWN), "bad", "1"),
    ):
        world.judgements = judgements
        blocks = overview(world.sources(), ()).shown()
        (tiles,) = [one for one in blocks if isinstance(one, Tiles)]
        assert (tone, headline) == (tiles.rows[0].tone, tiles.rows[0].headline)
        first = blocks[0]
        assert bool(judgements) is (
            isinstance(first, Table) and first.caption == "What is wrong"
        )


def test_the_page_of_the_proxy_has_it_too(world: Any) -> None:
    """Where operators look when guests get errors."""
    world.judgements = (PORT,)
    block = metadata_info(world.sources(), {}).shown()[0]
    assert isinstance(block, Table)
    assert "What is wrong" == block.caption
