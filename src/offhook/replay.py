"""``offhook replay``: run a call's journal again and show where it goes another way now."""

from __future__ import annotations

import sys
from pathlib import Path

from offhook.call.journal import Step, read_journal, replay
from offhook.errors import ConfigError

_NAME_WIDTH = 26


def show_replay(path: Path) -> int:
    """Print the call step by step; the exit status is 0 when everything followed as it did when it was recorded."""
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise ConfigError("journal", f"cannot read {path}: {failure.strerror}") from None
    head, lines = read_journal(data)
    write = sys.stdout.write
    write(f"call {head.call_id}, {len(lines)} inputs\n\n")
    different = 0
    for step in replay(head, lines):
        write(_shown(step, head.began) + "\n")
        different += not step.same
    if different:
        write(f"\n{different} of {len(lines)} inputs have other consequences now.\n")
        return 1
    write("\nEverything followed as recorded.\n")
    return 0


def _shown(step: Step, began: float) -> str:
    name = type(step.line.event).__name__
    start = f"{step.line.now - began:9.3f} s  {name:<{_NAME_WIDTH}}"
    if step.same:
        return start + ", ".join(step.outputs)
    margin = " " * len(start)
    return f"{start}now: {', '.join(step.outputs) or '-'}\n{margin}was: {', '.join(step.line.outputs) or '-'}"
