"""`vagent-libvirt`: arguments, exit codes, and what the watcher uses of this host."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vagent import __version__
from vagent.config.model import LibvirtMode
from vagent.config.read import read_config
from vagent.errors import ConfigError
from vagent.guests.elsewhere import served_elsewhere
from vagent.guests.hypervisor import HypervisorError, LibvirtConnection, load_libvirt
from vagent.guests.watcher import Surroundings, Watcher
from vagent.web.json_client import JsonClient, SocketAddress
from vagent.web.unix_socket import PORT_API

DONE, UNAVAILABLE, CONFIGURATION = 0, 69, 78
"""Exit codes (sysexits.h); argparse itself uses 2 for usage."""
DEFAULT_CONFIG = Path("/etc/vagent/agent.conf")
FIB_TRIE, NAMESPACES = Path("/proc/net/fib_trie"), Path("/run/netns")


def main(argv: Sequence[str] | None = None) -> int:
    """Watch until a signal ends the process: it keeps nothing that a restart would not
    find out again.
    """
    arguments = _parser().parse_args(argv)
    # libvirt's event loop does not return for Python's own signal handlers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        config = read_config(arguments.config).config
        load_libvirt()
    except ConfigError as error:
        say(str(error))
        return CONFIGURATION
    except HypervisorError as error:
        say(str(error))
        return UNAVAILABLE
    if config.libvirt.enabled is LibvirtMode.OFF:
        say("libvirt/enabled is false in agent.conf: there is nothing to do")
        return DONE
    socket = SocketAddress(config.runtime_directory / PORT_API)
    watcher = Watcher(
        config.libvirt,
        JsonClient(socket, title="port API"),
        Surroundings(
            connect=lambda: LibvirtConnection(config.libvirt.uri),
            pause=time.sleep,
            served_elsewhere=look_elsewhere,
            say=say,
        ),
    )
    while True:
        watcher.turn()


def say(text: str) -> None:
    """A line for the journal, of printable characters alone."""
    for line in text.splitlines():
        shown = "".join(c if c.isprintable() else "?" for c in line)
        sys.stderr.write(f"vagent-libvirt: {shown}\n")
    sys.stderr.flush()


def look_elsewhere() -> str:
    """Who else on this host serves the metadata address; "" where nobody was found."""
    trie, names = "", []
    with suppress(OSError):
        trie = FIB_TRIE.read_text()
    with suppress(OSError):
        names = os.listdir(NAMESPACES)  # noqa: PTH208 - names, not paths
    return served_elsewhere(trie, names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vagent-libvirt",
        description="Register the ports of this host's libvirt domains with vagent, as"
        " long as the domains run. Stop it with SIGTERM: ports stay registered.",
        epilog="exit codes: 0 nothing to do, 2 usage, 69 Python's libvirt module is"
        " missing, 78 configuration",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE",
                        help="agent.conf (XML); default %(default)s")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"vagent {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
