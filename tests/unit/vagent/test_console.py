"""Every command ends quietly when the reader of its output does (`| head`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = (
    "<agent><metadata-proxy><shared-secret>x</shared-secret></metadata-proxy></agent>"
)


@pytest.mark.parametrize(
    "command",
    [
        ["vagent.ctl", "--help"],
        ["vagent.ctl", "port", "add", "--help"],
        ["vagent.cli", "--help"],
        ["vagent.cli", "--version"],
        ["vagent.cli", "--dump-config", "--config"],
        ["provision.provision_linklocal", "--help"],
    ],
    ids=" ".join,
)
def test_an_unread_output_is_no_fault(command: list[str], tmp_path: Path) -> None:
    """Exit code 1, and not a word of Python's."""
    if command[-1] == "--config":
        conf = tmp_path / "agent.conf"
        conf.write_text(CONFIG)
        conf.chmod(0o600)
        command = [*command, str(conf)]
    unread, output = os.pipe()
    os.close(unread)
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command], stdout=output, stderr=subprocess.PIPE
        )
    finally:
        os.close(output)
    assert (1, b"") == (done.returncode, done.stderr)
