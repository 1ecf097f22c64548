"""``python -m offhook`` is the ``offhook`` command."""

from __future__ import annotations

import sys

from offhook.cli import main

if __name__ == "__main__":
    sys.exit(main())
