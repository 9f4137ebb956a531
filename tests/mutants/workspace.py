"""A copy of the checkout to put faults into, with mutmut's configuration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "var" / "mutants"
MODULES = Path(__file__).with_name("modules.txt")

TESTS = "tests/unit/vagent"
UNMUTATED = r'raise \w+Error\((f?"|$)'
"""Texts of errors are for people to read: that they are raised is tested."""
CONFIGURATION = """
[tool.mutmut]
source_paths = ["vagent"]
only_mutate = {modules}
also_copy = {others}
do_not_mutate_patterns = ['{unmutated}']
pytest_add_cli_args_test_selection = ["{tests}"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-profile=ci"]
timeout_multiplier = 10.0
use_git_change_detection = false
"""


def modules() -> list[str]:
    """The patterns of the files that are mutated. Each must match one."""
    found = [line for line in _lines() if not line.startswith("not ")]
    for pattern in found:
        if not any(ROOT.glob(pattern)):
            raise SystemExit(f"{MODULES}: nothing is called {pattern}")
    return found


def left_out() -> set[str]:
    """The dotted names of their functions that are not mutated."""
    return {line[4:] for line in _lines() if line.startswith("not ")}


def _lines() -> list[str]:
    lines = (line.strip() for line in MODULES.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def prepare() -> None:
    """A copy of what git knows of, with mutmut's configuration, becomes the working
    directory.
    """
    shutil.rmtree(WORK, ignore_errors=True)
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (WORK / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, WORK / name)
    others = {name.partition("/")[0] for name in names} - {"vagent", "tests"}
    with (WORK / "pyproject.toml").open("a") as file:
        file.write(
            CONFIGURATION.format(
                modules=json.dumps(modules()),
                others=json.dumps(sorted(others)),
                unmutated=UNMUTATED,
                tests=TESTS,
            )
        )
    os.chdir(WORK)
