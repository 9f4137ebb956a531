"""The list of survivors: how it is read, and what it is compared with."""

from __future__ import annotations

import pytest

from tests.mutants import survivors
from tests.mutants.mutant import Mutant
from tests.mutants.survivors import Comparison, SurvivorsError, compare, read, without
from tests.mutants.workspace import left_out, modules

ONE = Mutant("vagent.ports.tap.f", ("- a", "+ b"))
TWO = Mutant("vagent.ports.tap.f", ("- a", "+ b"), 2)
THREE = Mutant("vagent.kernel.icmp.g", ("- c",))
TEXT = f"""# A comment
# of two lines.

== Equivalent: a
is never two.

{ONE}

{TWO}

== Only a text.

{THREE}
"""


def test_each_has_the_reason_above_it() -> None:
    """On one line or several, for one mutant or several."""
    reason = "Equivalent: a is never two."
    assert {ONE: reason, TWO: reason, THREE: "Only a text."} == read(TEXT)


def test_the_list_of_this_tree_can_be_read() -> None:
    """Every reason says something, and stands above a mutant."""
    listed = read(survivors.FILE.read_text())
    assert all(len(reason) > 10 for reason in listed.values())


def test_the_list_of_modules_is_of_modules_that_there_are() -> None:
    """Each pattern matches a file, and each function left out is of one of them."""
    assert modules()
    named = {name.rpartition(".")[0].replace(".", "/") for name in left_out()}
    assert [] == [name for name in named if f"{name}.py" not in modules()]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (str(ONE), "no reason above"),
        (TEXT + f"\n{ONE}\n", "twice"),
        ("== Because.\n\nvagent.f\n", "not what a mutant changes"),
        ("== Because.\n\nvagent.f\n- a\nb\n", "not what a mutant changes"),
    ],
)
def test_a_list_that_is_wrong_is_refused(text: str, why: str) -> None:
    """Nothing is listed without a reason, or by mistake."""
    with pytest.raises(SurvivorsError, match=why):
        read(text)


def test_what_is_struck_off_takes_an_empty_reason_along() -> None:
    """All else stays as it is written."""
    assert TEXT == without(TEXT, [])
    assert {ONE: "Equivalent: a is never two."} == read(without(TEXT, [TWO, THREE]))
    left = without(TEXT, [ONE, TWO])
    assert "Equivalent" not in left
    assert left.startswith("# A comment\n# of two lines.\n\n== Only a text.\n")
    assert "# A comment\n# of two lines.\n" == without(TEXT, [ONE, TWO, THREE])


def test_a_survivor_that_is_not_listed_is_new() -> None:
    """And one that was killed is not."""
    tried = {ONE: True, TWO: True, THREE: False}
    assert Comparison((TWO,), ()) == compare([ONE], tried, [ONE, TWO, THREE])


def test_one_that_was_killed_or_is_gone_is_stale() -> None:
    """One that was not tried this time may still be alive."""
    listed = [ONE, TWO, THREE]
    assert Comparison((), (TWO, THREE)) == compare(listed, {TWO: False}, [ONE, TWO])


def test_only_what_was_looked_at_is_judged() -> None:
    """Where only some modules are tried, nothing is said of the others."""
    listed = [ONE, THREE]
    assert Comparison((), (THREE,)) == compare(listed, {}, [], ["vagent.kernel"])
