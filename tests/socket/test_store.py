"""What the store keeps on a disk stays within its limits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from offhook.store import folder
from offhook.store.folder import FolderStore
from offhook.telemetry.log import FactLog


def test_a_journal_ends_where_it_would_be_too_large_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folder, "MAX_JOURNAL_BYTES", 20)
    store = FolderStore(tmp_path, FactLog("test"))
    try:
        journal = store.open_journal("rtc_1", b"head\n")
        other = store.open_journal("rtc_2", b"head\n")
        with caplog.at_level(logging.WARNING):
            journal.write(b"first\n")
            journal.write(b"too long for it\n")
            journal.write(b"late\n")
        other.write(b"more\n")
        journal.close()
        other.close()
    finally:
        store.close()
    assert (tmp_path / "journals" / "rtc_1.jsonl").read_bytes() == b"head\nfirst\n"
    assert (tmp_path / "journals" / "rtc_2.jsonl").read_bytes() == b"head\nmore\n"
    assert store.dropped == 2
    assert [record.getMessage() for record in caplog.records].count(
        "journal full: the rest of its call is left out journal=rtc_1.jsonl"
    ) == 1
