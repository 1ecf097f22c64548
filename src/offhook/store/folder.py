"""A folder that keeps calls: ``calls.sqlite3`` with a record each, ``journals/`` with a file each.

Writing is done by one thread, so that a slow disk never holds up a call; when it falls behind, journals end early, and
what is lost is counted. What is made here can be read by its owner alone: it holds numbers and what was said.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from offhook.errors import ConfigError
from offhook.store.backlog import Backlog
from offhook.telemetry.log import FactLog
from offhook.telemetry.trace import Span

# An hour of talk is some megabytes; only a client that says megabytes at once comes here.
MAX_JOURNAL_BYTES: Final = 64 * 1024 * 1024
# The oldest traces go for the newest; this is some hundred megabytes.
MAX_SPANS: Final = 1_000_000
# What a span takes in memory, for what waits: ids, a name, a few facts.
SPAN_BYTES: Final = 1024
_SPANS = """CREATE TABLE IF NOT EXISTS spans (number INTEGER PRIMARY KEY, call_id TEXT, trace_id TEXT, span_id TEXT,
parent_id TEXT, name TEXT, start_s REAL, end_s REAL, failed INTEGER, attributes TEXT)"""
_SPANS_BY_CALL = "CREATE INDEX IF NOT EXISTS spans_by_call ON spans (call_id)"
_SCHEMA = "CREATE TABLE IF NOT EXISTS calls (id TEXT PRIMARY KEY, project TEXT, came_in_at REAL, record TEXT)"


def _open_private(path: Path, flags: int) -> int:
    return os.open(path, flags, 0o600)


class FolderJournal:
    """The journal of one call. It ends before the line that it or the disk has no room for, and the log says so.

    Nothing comes after what is missing: a replay would go another way.
    """

    def __init__(self, store: FolderStore, path: Path, first: bytes) -> None:
        self._store = store
        self._path = path
        self._size_bytes = 0
        self._has_ended = False
        self.write(first)

    def write(self, line: bytes) -> None:
        """Add a line; what comes after the end of the journal is counted as dropped."""
        if self._has_ended:
            self._store.lose()
        elif self._size_bytes + len(line) > MAX_JOURNAL_BYTES:
            self._store.lose()
            self._end("journal full: the rest of its call is left out")
        elif not self._store.put((self._path, line), len(line)):
            self._end("the disk is behind: the rest of a call's journal is left out")
        else:
            self._size_bytes += len(line)

    def _end(self, why: str) -> None:
        self._has_ended = True
        self._store.tell(why, journal=self._path.name)

    def close(self) -> None:
        """The call is over: nothing more comes."""
        self._store.put_end((self._path, None))


class FolderStore:
    """Keeps calls in a folder. Raises ConfigError when it cannot be written."""

    def __init__(self, folder: Path, log: FactLog) -> None:
        self._log = log
        self._path = folder / "calls.sqlite3"
        self._journals = folder / "journals"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._journals.mkdir(mode=0o700, exist_ok=True)
            # Made first, since SQLite would let everybody read it; its other files take over this one's mode.
            os.close(_open_private(folder / "calls.sqlite3", os.O_WRONLY | os.O_CREAT))
            self._database = sqlite3.connect(self._path, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            for statement in (_SCHEMA, _SPANS, _SPANS_BY_CALL):
                self._database.execute(statement)
        except (OSError, sqlite3.Error) as failure:
            raise ConfigError("--store", f"cannot keep calls in {folder}: {failure}") from None
        # What had no room, and what the writer failed at: each counted by one thread.
        self._refused = 0
        self._failed = 0
        self._waiting: Backlog[Any] = Backlog()
        self._thread = threading.Thread(target=self._run, name="offhook-store", daemon=True)
        self._thread.start()

    def open_journal(self, call_id: str, first: bytes) -> FolderJournal:
        """Begin the journal of a call with its first line."""
        return FolderJournal(self, self._journals / f"{call_id}.jsonl", first)

    def save(self, record: Mapping[str, Any]) -> None:
        """Keep what a call has come to; a later record of the same call replaces it."""
        row = (record["id"], record["project"], record["came_in_at"], msgspec.json.encode(record).decode())
        self.put(row, len(row[-1]))

    def save_spans(self, call_id: str, spans: Sequence[Span]) -> None:
        """Keep the trace of a call."""
        self.put(("spans", call_id, spans), len(spans) * SPAN_BYTES)

    def read_spans(self, call_id: str) -> list[Span]:
        """Return the trace of a call, as far as it was written. It waits for the disk: not for the event loop."""
        with closing(sqlite3.connect(self._path)) as database:
            rows = database.execute(
                "SELECT trace_id, span_id, parent_id, name, start_s, end_s, failed, attributes FROM spans"
                " WHERE call_id = ? ORDER BY number",
                (call_id,),
            )
            return [
                Span(trace_id, span_id, parent_id, name, start_s, end_s, bool(failed), msgspec.json.decode(attributes))
                for trace_id, span_id, parent_id, name, start_s, end_s, failed, attributes in rows
            ]

    def put(self, work: Any, size_bytes: int) -> bool:
        """Leave something to the writer; dropped, counted and False when it is too far behind."""
        has_room = self._waiting.put(work, size_bytes)
        if not has_room:
            self.lose()
        return has_room

    def lose(self) -> None:
        """Count what is not kept, since there is no room for it."""
        self._refused += 1

    @property
    def dropped(self) -> int:
        """What was not kept so far: records, traces, and lines of journals."""
        return self._refused + self._failed

    def put_end(self, work: Any) -> None:
        """Leave the end of something to the writer."""
        self._waiting.put_end(work)

    def tell(self, what: str, **facts: Any) -> None:
        """Say in the log what is not kept."""
        self._log.warning(what, **facts)

    def report(self) -> dict[str, Any]:
        """Say what waits for the disk, and how much was not kept."""
        return {"waiting": len(self._waiting), "waiting_bytes": self._waiting.size_bytes, "dropped": self.dropped}

    def close(self) -> None:
        """Write what is waiting, and stop."""
        self._waiting.put_end(None)
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        files: dict[Path, Any] = {}
        while (work := self._waiting.take()) is not None:
            self._do(work, files)
        for path in list(files):
            self._do((path, None), files)

    def _do(self, work: Any, files: dict[Path, Any]) -> None:
        try:
            self._write(work, files)
        except (OSError, sqlite3.Error) as failure:
            self._failed += 1
            self._log.error("store failed", why=str(failure))

    def _write(self, work: Any, files: dict[Path, Any]) -> None:
        match work:
            case (Path() as path, None):
                if (file := files.pop(path, None)) is not None:
                    file.close()
            case (Path() as path, bytes() as line):
                self._append(path, line, files)
            case ("spans", call_id, spans):
                self._write_spans(call_id, spans)
            case row:
                with self._database:
                    self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", row)

    def _append(self, path: Path, line: bytes, files: dict[Path, Any]) -> None:
        """Add a line to a journal, unless one before it could not be written."""
        if path not in files:
            files[path] = None
            files[path] = os.fdopen(_open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")
        file = files[path]
        if file is None:
            self._failed += 1
            return
        try:
            file.write(line)
        except OSError:
            files[path] = None
            with suppress(OSError):
                file.close()
            raise

    def _write_spans(self, call_id: str, spans: Sequence[Span]) -> None:
        rows = [
            (
                call_id,
                span.trace_id,
                span.span_id,
                span.parent_id,
                span.name,
                span.start_s,
                span.end_s,
                span.failed,
                msgspec.json.encode(span.attributes).decode(),
            )
            for span in spans
        ]
        with self._database:
            self._database.executemany("INSERT INTO spans VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.execute(
                "DELETE FROM spans WHERE number <= (SELECT max(number) FROM spans) - ?", (MAX_SPANS,)
            )
