"""`vagent`: arguments, signals, exit codes. The only importer of the global reactor."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.main import installReactor
from twisted.logger import Logger, globalLogBeginner

from vagent import __version__
from vagent.config.model import AgentConfig
from vagent.config.read import Loaded, read_config
from vagent.console import quiet_when_unread
from vagent.errors import ConfigError, KernelError, StoreError, VagentError
from vagent.observe.journald import journal_behind
from vagent.observe.logs import LineLog
from vagent.observe.observer import Observer, describe

DONE, FAILED, UNAVAILABLE, NO_PERMISSION, CONFIGURATION = 0, 1, 69, 77, 78
"""Exit codes (sysexits.h); argparse itself uses 2 for usage."""

DEFAULT_CONFIG = Path("/etc/vagent/agent.conf")
STOP_DEADLINE = 20.0
"""Seconds for a clean stop once guests have their answers (`drain_limit`), after which
the process ends as it is."""

_log = Logger("vagent")


@quiet_when_unread
def main(argv: Sequence[str] | None = None) -> int:
    """Run `vagent`; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        loaded = read_config(arguments.config)
    except ConfigError as failure:
        print(failure, file=sys.stderr)  # noqa: T201 the operator's terminal
        return CONFIGURATION
    if arguments.check_config:
        return _report_check(arguments.config, loaded)
    if arguments.dump_config:
        from vagent.config.dump import dump_config

        sys.stdout.write(dump_config(loaded.config))
        return DONE
    if os.geteuid() != 0:
        print(  # noqa: T201 the operator's terminal
            "vagent: needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF): it makes"
            " interfaces, rules and programs, and binds an NFQUEUE",
            file=sys.stderr,
        )
        return NO_PERMISSION
    return _run(loaded)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vagent",
        description="Serve link-local services, first of all metadata, to the guests"
        " of this host. Runs in the foreground; stop it with SIGTERM or SIGINT, after"
        " which its kernel rules guard service addresses until the next start"
        " (vagentctl data-path remove takes them away).",
        epilog="exit codes: 0 done, 1 failed, 2 usage, 69 something needed is"
        " unavailable, 77 no permission, 78 configuration",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="agent.conf (XML); default %(default)s",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check-config",
        action="store_true",
        help="say what is wrong in the file, each problem as file:line: path: what,"
        " and exit 0 or 78",
    )
    what.add_argument(
        "--dump-config",
        action="store_true",
        help="print every value in force as XML, secrets masked, and exit",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    return parser


def _report_check(path: Path, loaded: Loaded) -> int:
    for warning in loaded.warnings:
        print(f"{warning} (warning)", file=sys.stderr)  # noqa: T201 the operator's terminal
    print(f"{path}: good")  # noqa: T201 the operator's terminal
    return DONE


def _run(loaded: Loaded) -> int:
    # Late, so that the checks above neither need nor install a reactor, and nothing
    # that is imported with the agent installs another first.
    from vagent.transport.reactor import QuietEpollReactor, freeze_heap

    _raise_file_limit()
    reactor = QuietEpollReactor()
    installReactor(reactor)
    from vagent.agent import Agent
    from vagent.metadata.guest.drain import drain_limit

    config: AgentConfig = loaded.config
    globalLogBeginner.beginLoggingTo(
        [
            LineLog(
                sys.stderr,
                log_level=config.log_level,
                journal=journal_behind(sys.stderr, os.environ),
            )
        ],
        redirectStandardIO=False,
    )
    for warning in loaded.warnings:
        _log.warn("{warning}", warning=warning)
    observer = Observer(now=time.time, log_level=config.log_level)  # noqa: TID251  shown as a date
    agent = Agent(config, observer=observer, reactor=reactor)
    outcome = [DONE]

    async def start() -> None:
        try:
            await agent.start()
        except Exception as failure:  # a half-started agent must not stay
            _log.critical("cannot start: {why}", why=_why(failure))
            outcome[0] = _exit_code(failure)
            if reactor.running:
                reactor.stop()
            return
        freeze_heap()
        where = config.introspect
        _log.info("ready, pages on http://{w.address}:{w.port}/", w=where)

    async def stop() -> None:
        _log.info("stopping")
        if not await agent.stop():
            outcome[0] = outcome[0] or FAILED

    def stop_in_time() -> Deferred[None]:
        _at_another_signal(lambda: reactor.callFromThread(agent.hurry))
        limit = STOP_DEADLINE + drain_limit(config.metadata_proxy)
        return Deferred.fromCoroutine(stop()).addTimeout(limit, reactor)

    def begin() -> None:
        observer.own(Deferred.fromCoroutine(start()), "start")

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", stop_in_time)
    reactor.run()
    return outcome[0]


def _at_another_signal(hurry: Callable[[], object]) -> None:
    """A stop is under way: at the next signal nobody is waited for any more."""
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, lambda *_: hurry())


def _why(failure: Exception) -> str:
    """Our own errors speak for themselves; others are told with their place."""
    return str(failure) if isinstance(failure, VagentError) else describe(failure)


def _raise_file_limit() -> None:
    """Each guest's connection is a descriptor, and the soft default is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _exit_code(failure: Exception) -> int:
    if isinstance(failure, ConfigError):
        return CONFIGURATION
    if isinstance(failure, (KernelError, StoreError)):
        return UNAVAILABLE
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
