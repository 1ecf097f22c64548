"""Log lines: one fact each, escaped, without what people said."""

from __future__ import annotations

import logging

import pytest

from offhook.telemetry import log as facts
from offhook.telemetry.log import FactLog, quote


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\r\nlevel=error forged", '"a\\r\\nlevel=error forged"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("", '""'),
        (7, "7"),
        ("x" * 600, "x" * 500 + "..."),
    ],
)
def test_a_value_stays_on_its_line(value: object, shown: str) -> None:
    assert quote(value) == shown


def test_numbers_and_speech_are_left_out_unless_asked_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FactLog("test").bind(call_id="rtc_1")
    with caplog.at_level(logging.INFO, logger="offhook.test"):
        log.info("transfer", status=202, pii_target="tel:+15550123", nothing=None)
        monkeypatch.setattr(facts, "_show_pii", True)
        log.info("transfer", pii_target="tel:+15550123")
    assert caplog.messages == [
        "transfer call_id=rtc_1 status=202",
        "transfer call_id=rtc_1 pii_target=tel:+15550123",
    ]
