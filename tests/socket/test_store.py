"""What the store keeps on a disk stays within its limits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.socket.live import Live, run_jumping

from offhook.store import backlog, folder
from offhook.store.backlog import Backlog
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


def test_a_journal_ends_where_the_disk_fell_behind_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal with a hole would replay to something else than what was."""
    monkeypatch.setattr(backlog, "MAX_WAITING_BYTES", 20)
    store = FolderStore(tmp_path, FactLog("test"))
    try:
        journal = store.open_journal("rtc_1", b"head\n")
        with caplog.at_level(logging.WARNING):
            journal.write(b"a line of more bytes than may wait\n")
            journal.write(b"late\n")
        journal.close()
    finally:
        store.close()
    assert (tmp_path / "journals" / "rtc_1.jsonl").read_bytes() == b"head\n"
    assert store.dropped == 2
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is behind: the rest of a call's journal is left out journal=rtc_1.jsonl"
    ]


def test_what_waits_for_the_disk_is_bounded_in_bytes_and_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_WAITING_BYTES", 100)
    monkeypatch.setattr(backlog, "MAX_WAITING", 3)
    waiting = Backlog()
    assert waiting.put("large", 60)
    assert not waiting.put("too large beside it", 41)
    assert waiting.put("small", 40)
    assert waiting.take() == "large"
    assert (len(waiting), waiting.size_bytes) == (1, 40)
    assert waiting.put("second", 1)
    assert waiting.put("third", 1)
    assert not waiting.put("fourth", 1)
    waiting.put_end("the end")
    assert [waiting.take() for _ in range(4)] == ["small", "second", "third", "the end"]
    assert (len(waiting), waiting.size_bytes) == (0, 0)


def test_a_journal_that_could_not_be_written_ends_there_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(tmp_path, FactLog("test"))
    (tmp_path / "journals" / "rtc_1.jsonl").symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING):
        try:
            journal = store.open_journal("rtc_1", b"head" * 100_000 + b"\n")
            journal.write(b"second\n")
            journal.write(b"third\n")
            journal.close()
        finally:
            store.close()
    assert store.dropped == 3
    assert [record.getMessage().split(" why=")[0] for record in caplog.records] == ["store failed"]


def test_health_and_metrics_tell_what_the_store_has_lost(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        assert one.server.store is not None
        one.server.store.lose()
        assert one.server.health()["store"]["dropped"] == 1
        lines = (await one.http("GET", "/metrics")).text.splitlines()
        assert "offhook_store_dropped 1" in lines
        assert "offhook_sockets_waiting_bytes 0" in lines

    run_jumping(test, store=str(tmp_path))
