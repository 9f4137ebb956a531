"""How vagentctl's commands are declared: groups of commands, each with the options
that all commands take, before or after its name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from vagent.ctl.session import Session
from vagent.web.token import VARIABLE

OUTPUT_HELP = "for people or for programs (default: table)"
CONFIG_HELP = (
    "agent.conf that says where the agent listens "
    "(default: /etc/vagent/agent.conf, if it is there)"
)
URL_HELP = "default: its Unix socket, if you may use it, else {}"
TOKEN_HELP = (
    "holds the token of an API that wants one "
    f"(default: ${VARIABLE}, else as agent.conf says)"
)
Run = Callable[[Session, argparse.Namespace], None]


def shared_options() -> argparse.ArgumentParser:
    """Options of every command. An option that is not given leaves no trace, so that
    its place on the command line does not matter.
    """
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    add = parser.add_argument_group("options of every command").add_argument
    add("-o", "--output", choices=("table", "json"), help=OUTPUT_HELP)
    add("--config", metavar="FILE", help=CONFIG_HELP)
    add("--port-api", metavar="URL", help=URL_HELP.format("http://127.0.0.1:9091"))
    add("--config-api", metavar="URL", help=URL_HELP.format("http://127.0.0.1:8082"))
    add("--introspect", metavar="URL", help=URL_HELP.format("http://127.0.0.1:8085"))
    add("--token-file", metavar="FILE", help=TOKEN_HELP)
    return parser


def add_command(
    commands: Any, name: str, run: Run, text: str, *, aliases: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """A command that calls `run`; `text` is its line in the help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        parents=[shared_options()],
        allow_abbrev=False,
        aliases=list(aliases),
    )
    parser.set_defaults(run=run)
    return parser


class Group:
    """A word before commands: `port` in `vagentctl port list`."""

    def __init__(self, groups: Any, name: str, text: str) -> None:
        parser = groups.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + "."
        )
        self._commands = parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True
        )

    def command(
        self, name: str, run: Run, text: str, *, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        """A command of this group."""
        return add_command(self._commands, name, run, text, aliases=aliases)
