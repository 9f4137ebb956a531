"""`python -m tests.fuzz.taps SECONDS [SEED]`: look for frames of which the programs at
the taps make something else than the reference (root). A seed makes the same frames at
any time; without one, others in each run.
"""

from __future__ import annotations

import secrets
import sys

from tests.fuzz.taps.compare import FRAMES, look_for


def main() -> None:
    """See the module."""
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(1 << 32)
    found, looked = look_for(seconds, seed)
    print(f"seeds {seed} to {seed + looked - 1}, {FRAMES} frames each")
    for each in found:
        print(each)
    sys.exit(int(bool(found)))


if __name__ == "__main__":
    main()
