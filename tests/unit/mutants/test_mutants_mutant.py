"""How a mutant is named: by what it changes, whatever else is edited."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, change_of, numbered

PRODUCT = """def f(a):
    if a > 1:
        return a
    return 2
"""


def test_a_change_is_the_lines_that_differ() -> None:
    """Without indentation, and without what stands around them."""
    assert ("- if a > 1:", "+ if a >= 1:") == change_of(
        PRODUCT, PRODUCT.replace(">", ">=")
    )
    shorter = PRODUCT.replace("    return 2\n", "")
    assert ("- return 2",) == change_of(PRODUCT, shorter)
    assert () == change_of(PRODUCT, PRODUCT)


def test_a_line_that_begins_with_dashes_is_a_line() -> None:
    """Only the head of the difference is left out."""
    assert ("- --a", "+ ++a") == change_of("--a\n", "++a\n")


def test_equal_changes_of_one_function_are_told_apart() -> None:
    """In the order in which they stand; those of another function count for it."""
    change = ("- a", "+ b")
    found = numbered([("m.f", change), ("m.g", change), ("m.f", change)])
    assert [
        Mutant("m.f", change),
        Mutant("m.g", change),
        Mutant("m.f", change, 2),
    ] == found
    assert ["m.f\n- a\n+ b", "m.g\n- a\n+ b", "m.f #2\n- a\n+ b"] == [*map(str, found)]


def test_a_sample_is_always_the_same_and_grows() -> None:
    """What is in a small one is in a larger one; none, and all."""
    mutants = [Mutant("m.f", (f"- {n}", f"+ {n + 1}")) for n in range(1000)]
    tenth = {one for one in mutants if one.is_in_sample(10)}
    fifth = {one for one in mutants if one.is_in_sample(20)}
    assert tenth < fifth
    assert 50 < len(tenth) < 150
    assert not any(one.is_in_sample(0) for one in mutants)
    assert all(one.is_in_sample(100) for one in mutants)
