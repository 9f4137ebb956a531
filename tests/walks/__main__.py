"""`python -m tests.walks [WALK]`: how often four walks go from file to file.

With the beginning of a walk's name it also prints each stay in turn.
"""

from __future__ import annotations

import sys

from tests.walks.walks import WALKS, record, table


def main() -> None:
    """See the module."""
    recorded = {name: record(walk) for name, walk in WALKS.items()}
    print(table(recorded))
    for wanted in sys.argv[1:]:
        for name, steps in recorded.items():
            if name.startswith(wanted):
                print(f"\n{name}:", *steps.stays, sep="\n  ")


if __name__ == "__main__":
    main()
