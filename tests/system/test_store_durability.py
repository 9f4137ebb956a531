"""The store on a real disk, with a real thread, and a process that dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

_WRITER = """
import os, signal, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker

worker = Worker("store", reactor=reactor)

async def write():
    store = SqliteStore(Path(sys.argv[1]), run_in_thread=worker)
    await store.open()
    last = max((entry.value["n"] for entry in await store.entries("kind")), default=-1)
    print("found", last, flush=True)
    for n in range(last + 1, last + 21):
        await store.put("kind", f"{n:04}", {"n": n}, expected=0)
        print("wrote", n, flush=True)
    await store.put("kind", "0000", {"n": 0, "last": n}, expected=None)
    os.kill(os.getpid(), signal.SIGKILL)

def failed(failure):
    failure.printTraceback()
    os._exit(3)

worker.start()
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(write()).addErrback(failed))
reactor.run()
"""
_ROOT = Path(__file__).resolve().parents[2]


def test_kill_9(tmp_path: Path) -> None:
    """What put said was written is there after kill -9, three times in a row."""
    for round_ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _WRITER, str(tmp_path / "store.sqlite")],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=_ROOT,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        lines = done.stdout.splitlines()
        assert f"found {round_ * 20 - 1}" == lines[0]
        assert f"wrote {round_ * 20 + 19}" == lines[-1]


def test_worker_is_one_other_thread() -> None:
    """Jobs run in one thread that is not the reactor's, in order; stop waits."""
    from vagent.store.worker import Worker

    class Inbox:
        """The part of a reactor that a worker uses."""

        def callFromThread(self, call: object, *args: object, **kw: object) -> None:
            call(*args, **kw)  # type: ignore[operator]

    worker = Worker("store", reactor=Inbox())  # type: ignore[arg-type]
    worker.start()
    order: list[int] = []
    threads: set[int] = set()

    def job(number: int) -> None:
        order.append(number)
        threads.add(threading.get_ident())

    all_given = threading.Event()
    worker(all_given.wait)
    for number in range(20):
        worker(partial(job, number))
    all_given.set()
    worker.stop()
    assert list(range(20)) == order
    assert len(threads) == 1
    assert threading.get_ident() not in threads
