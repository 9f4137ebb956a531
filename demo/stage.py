"""How the demo speaks: steps, facts, checks. Nothing here knows what is shown."""

from __future__ import annotations

import sys
import textwrap

WIDTH = 92
MAX_WHY = 40
"""Lines of an error: the tools that we run say what is wrong in one or two."""


class Stage:
    """Prints to a terminal (with colour) or to a file (without)."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self._step = 0
        self.failures: list[str] = []

    def title(self, text: str) -> None:
        """What this is about."""
        self._print("")
        self._print(self._paint("1", text))
        self._print("─" * min(len(text), WIDTH))

    def step(self, text: str) -> None:
        """The next thing that happens."""
        self._step += 1
        self._print("")
        self._print(self._paint("1;36", f"{self._step}. {text}"))

    def say(self, text: str) -> None:
        """A sentence or two of explanation."""
        for line in textwrap.wrap(text, WIDTH - 3):
            self._print(f"   {line}")

    def command(self, text: str) -> None:
        """A command, as somebody could type it."""
        self._print("   " + self._paint("2", f"$ {text}"))

    def show(self, text: str, *, lines: int = 14) -> None:
        """Output, cut to what fits."""
        shown = text.strip("\n").splitlines()
        for line in shown[:lines]:
            cut = line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
            self._print(f"     {cut}")
        if len(shown) > lines:
            self._print(self._paint("2", f"     … {len(shown) - lines} lines more"))

    def check(self, what: str, expected: object, actual: object) -> None:
        """Say whether an answer is the right one; a wrong one fails the demo."""
        if expected == actual:
            self._print("   " + self._paint("32", "✓ ") + what)
            return
        self.failures.append(what)
        self._print("   " + self._paint("1;31", "✗ ") + what)
        self._print(f"     expected: {expected!r}")
        self._print(f"     got:      {actual!r}")

    def failed(self, what: str, why: str, where: str) -> None:
        """A step could not be done."""
        self.failures.append(what)
        self._print("   " + self._paint("1;31", f"✗ {what}"))
        for line in (why.splitlines() or ["no more is known"])[:MAX_WHY]:
            self._print(f"     {line}")
        self._print(f"   Where to look: {where}")

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        print(text, flush=True)
