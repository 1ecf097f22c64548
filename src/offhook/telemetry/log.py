"""Facts on standard error: one line each, ``key=value``, escaped, without secrets.

What people said or typed goes only into fields named ``pii_...``, and those are left out unless asked for.
"""

from __future__ import annotations

import logging
import sys

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# A header may have kilobytes; a log line is for reading.
MAX_VALUE_CHARS = 500

_show_pii = False


def set_up_logging(level: str, *, show_pii: bool = False) -> None:
    """Send the facts of this process to standard error."""
    global _show_pii  # noqa: PLW0603 - one process, one log
    _show_pii = show_pii
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger("offhook")
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    root.propagate = False


def quote(value: object) -> str:
    """Return a value as it may stand in a log line: printable, bounded, and quoted where it has blanks."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_VALUE_CHARS:
        text = text[:MAX_VALUE_CHARS] + "..."
    if text and text.isprintable() and not any(char in text for char in ' "='):
        return text
    escaped = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text.replace("\\", "\\\\")
    return '"' + escaped.replace('"', '\\"') + '"'


class FactLog:
    """Writes facts of one part of the server, with what they all share (a ``call_id``) bound to it."""

    def __init__(self, name: str, **bound: object) -> None:
        self._logger = logging.getLogger(f"offhook.{name}")
        self._bound = bound

    def bind(self, **more: object) -> FactLog:
        """Return a log whose facts carry these fields too."""
        log = FactLog.__new__(FactLog)
        log._logger = self._logger
        log._bound = self._bound | more
        return log

    def debug(self, fact: str, **fields: object) -> None:
        """For finding faults."""
        self._write(logging.DEBUG, fact, fields)

    def info(self, fact: str, **fields: object) -> None:
        """What happened, as it should."""
        self._write(logging.INFO, fact, fields)

    def warning(self, fact: str, **fields: object) -> None:
        """What somebody should look at."""
        self._write(logging.WARNING, fact, fields)

    def error(self, fact: str, *, failure: BaseException | None = None, **fields: object) -> None:
        """What failed; the stack of a bug is shown."""
        self._write(logging.ERROR, fact, fields, failure)

    def _write(self, level: int, fact: str, fields: dict[str, object], failure: BaseException | None = None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        shown = {
            name: value
            for name, value in (self._bound | fields).items()
            if value is not None and (_show_pii or not name.startswith("pii_"))
        }
        line = " ".join([fact, *(f"{name}={quote(value)}" for name, value in shown.items())])
        self._logger.log(level, "%s", line, exc_info=failure)
