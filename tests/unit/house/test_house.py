"""How the product's tree is kept: sizes of folders, names, and a test for each module.

What may differ stands in two lists beside this file, with the reason for each line.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
HERE = Path(__file__).parent
ROOMS = ("vagent", "introspect", "provision")
MAX_MODULES = 20
"""In a folder: more than that is not taken in at a glance."""
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> list[Path]:
    """Every Python file of the product, relative to the checkout."""
    found = chain.from_iterable((CHECKOUT / room).rglob("*.py") for room in ROOMS)
    return sorted(path.relative_to(CHECKOUT) for path in found)


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))


def is_package(path: Path) -> bool:
    """Does the file only describe its folder?"""
    return path.name == "__init__.py"


def table(name: str) -> dict[str, list[str]]:
    """A list beside this file: the first column of each line, and the other columns."""
    text = (HERE / name).read_text(encoding="utf-8")
    lines = [one for one in text.splitlines() if one and not one.startswith("#")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows}), name
    return {key: rest for key, *rest in rows}


def does_something(tree: ast.Module) -> bool:
    """Is there a statement to test? Constants, dataclasses and Protocols have none."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for node in ast.walk(tree):
        if isinstance(node, functions):
            body = node.body if isinstance(node.body, list) else [node.body]
            if not all(_is_text(statement) for statement in body):
                return True
    return False


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def own_tests(module: Path) -> list[Path]:
    """Where a module's own tests stand: `test_MODULE.py` or `test_ROOM_MODULE.py`, in
    the folder of `tests/unit` that mirrors its own.
    """
    names = (f"test_{module.stem}.py", f"test_{module.parent.name}_{module.stem}.py")
    return [Path("tests/unit") / module.parent / name for name in names]


def with_own_tests(module: Path) -> bool:
    """Has the module a test file of its own?"""
    return any((CHECKOUT / path).exists() for path in own_tests(module))


def test_no_folder_is_too_large() -> None:
    """A folder of the product has at most 20 modules."""
    modules: dict[str, int] = defaultdict(int)
    for path in sources():
        modules[str(path.parent)] += not is_package(path)
    assert {} == {name: n for name, n in modules.items() if n > MAX_MODULES}


@pytest.mark.parametrize("path", [one for one in sources() if is_package(one)], ids=str)
def test_each_folder_says_what_it_is_for(path: Path) -> None:
    """In one line, at the head of its `__init__.py`."""
    text = ast.get_docstring(tree_of(path)) or ""
    assert 1 == len(text.splitlines())


@cache
def without_own_tests() -> list[str]:
    """The modules that something else has to show."""
    return [
        str(path)
        for path in sources()
        if not is_package(path)
        and not with_own_tests(path)
        and does_something(tree_of(path))
    ]


def test_each_module_has_tests_or_a_line_that_says_which() -> None:
    """Either a test file of its own, or a line in shown_elsewhere.txt."""
    listed = table("shown_elsewhere.txt")
    untold = [
        module
        for module in without_own_tests()
        if not any(fnmatch(module, pattern) for pattern in listed)
    ]
    assert [] == untold


def wrong_in(pattern: str, suites: str, why: str) -> Iterator[str]:
    """What is wrong with a line of shown_elsewhere.txt."""
    if not any(fnmatch(module, pattern) for module in without_own_tests()):
        yield f"{pattern}: gone, or has tests of its own, or does nothing to test"
    for suite in suites.split(","):
        if not (CHECKOUT / "tests" / suite.strip()).exists():
            yield f"{pattern}: there is no tests/{suite.strip()}"
    if not why:
        yield f"{pattern}: no reason given"


def test_no_line_outlives_its_reason() -> None:
    """Of shown_elsewhere.txt: modules and test files that are there, reasons given."""
    listed = table("shown_elsewhere.txt")
    found = [
        one for pattern, rest in listed.items() for one in wrong_in(pattern, *rest)
    ]
    assert [] == found


def classes() -> Iterator[tuple[str, str]]:
    """Each public class of the product with its folder."""
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, str(path.parent)


def test_a_class_name_means_one_thing() -> None:
    """No public class has the name of another room's, but for the lines of
    shared_names.txt, which may only become fewer.
    """
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, room in classes():
        rooms[name].add(room)
    several = {name: sorted(where) for name, where in rooms.items() if len(where) > 1}
    listed = table("shared_names.txt")
    allowed = {name: set(where.split()) for name, (where, _) in listed.items()}
    assert {} == {
        name: where
        for name, where in several.items()
        if not allowed.get(name, set()) >= set(where)
    }
    assert [] == [name for name, (_, why) in listed.items() if not why]


def says_nothing(path: Path) -> int:
    """How many docstrings of a file only say that something is said elsewhere."""
    texts = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree_of(path))
        if isinstance(node, Definition)
    ]
    return sum(text.startswith("See ") and len(text) < 40 for text in texts)


def test_a_docstring_says_something() -> None:
    """Not "See X.": an overriding method needs no docstring. The files of
    only_references.txt have some left, which may only become fewer.
    """
    listed = {name: int(most) for name, (most,) in table("only_references.txt").items()}
    found = {str(path): says_nothing(path) for path in sources()}
    assert {} == {name: n for name, n in found.items() if n > listed.get(name, 0)}


def test_nothing_sleeps_where_it_can_wait() -> None:
    """What tests and tools wait for they look at (lab/waiting.py). The files of
    pauses.txt make pauses that are a rate, or a time that is the subject itself.
    """
    rooms = ("tests", "lab", "demo", "bench")
    files = chain.from_iterable((CHECKOUT / room).rglob("*.py") for room in rooms)
    texts = {str(path.relative_to(CHECKOUT)): path.read_text() for path in files}
    found = {name: text.count("time.sleep(") for name, text in texts.items()}
    del found[str(Path(__file__).relative_to(CHECKOUT))]
    listed = table("pauses.txt")
    allowed = {name: int(count) for name, (count, _) in listed.items()}
    assert allowed == {name: count for name, count in found.items() if count}
    assert [] == [name for name, (_, why) in listed.items() if not why]
