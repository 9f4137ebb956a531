"""`python -m vagent.ctl`: vagentctl from a checkout."""

from __future__ import annotations

import sys

from vagent.ctl.command_line import main

if __name__ == "__main__":
    sys.exit(main())
