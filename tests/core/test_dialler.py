"""What a call looks like on paper."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from offhook.errors import LocalError
from offhook.model.local.voices import assets
from offhook.testing import dialler
from offhook.testing.dialler import RATE_HZ, Paper, entry, load_line, table
from offhook.testing.ladder import sip_summary
from offhook.testing.phone import has_sound

WHEN = "   1.562 s  "


def test_what_is_too_long_for_the_terminal_goes_on_below_where_it_began() -> None:
    lines = entry(WHEN, "application", "the agent says: On Monday we are open from nine to five.", Paper(columns=60))
    assert lines == (
        "   1.562 s  application  the agent says: On Monday we are\n"
        "                         open from nine to five.\n"
    )  # fmt: skip


@pytest.mark.parametrize("columns", [0, 30])
def test_a_file_and_a_very_narrow_terminal_get_each_entry_in_one_line(columns: int) -> None:
    said = "the agent says: " + "and so on " * 30
    assert entry(WHEN, "application", said, Paper(columns)) == f"{WHEN}application  {said}\n"


def test_who_speaks_is_coloured_and_what_is_said_is_not() -> None:
    line = entry(WHEN, "agent", "answers", Paper(100, coloured=True))
    assert line == f"\x1b[2m{WHEN}\x1b[0m\x1b[32magent       \x1b[0m answers\n"


def test_nothing_to_say_is_still_an_entry() -> None:
    assert entry(WHEN, "agent", "", Paper(100)) == f"{WHEN}agent        \n"


@pytest.mark.parametrize("columns", [0, 100])
def test_what_others_send_cannot_write_on_the_terminal_itself(columns: int) -> None:
    """SIP's reason phrase, which may be any bytes."""
    answer = (
        b"SIP/2.0 486 F\xc3\xbcr sp\xe4ter \x1b]0;owned\x07\x1b[2J\xc2\x9b1m\r\n"
        b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\n"
        b"Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    shown = r"486 Für sp\udce4ter \x1b]0;owned\x07\x1b[2J\x9b1m"
    assert entry(WHEN, "caller", sip_summary(answer), Paper(columns)) == f"{WHEN}caller       {shown}\n"


def test_what_goes_over_several_lines_is_one_entry() -> None:
    assert entry(WHEN, "agent", "one\r\ntwo\n", Paper()) == f"{WHEN}agent        one two\n"


def test_the_reason_of_an_end_cannot_write_on_the_terminal_itself() -> None:
    figures: dict[str, Any] = {"end": {"by": "them", "status": 486, "reason": "busy \x1b[2J"}}
    figures |= dict.fromkeys(["time_to_answer_ms", "first_audio_ms", "jitter_ms", "packets_received", "packets_lost"])
    figures |= {"turn_ms": [], "barge_in_ms": [], "heard_s": 0.0, "said_s": 0.0, "longest_gap_ms": 0, "keys_heard": ""}
    shown = table(figures)
    assert "\x1b" not in shown
    assert r"them (busy \x1b[2J)" in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_left_out_where_they_are_not_wanted(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Paper.of(Terminal()).coloured
    monkeypatch.setenv(variable, value)
    assert not Paper.of(Terminal()).coloured
    assert Paper.of(io.StringIO()) == Paper()


@pytest.mark.parametrize("before", [0, 40, 79, 80, 1500])
def test_sound_that_has_only_just_begun_is_sound_however_long_one_looks_back(before: int) -> None:
    """The caller of the demonstration took the first sound of the agent for silence, and spoke into its greeting."""
    sound = np.full(80, 400, np.int16)
    sound[::2] = -400  # a soft beginning
    assert has_sound(np.concatenate([np.zeros(before, np.int16), sound]))
    assert not has_sound(np.zeros(before, np.int16))


def test_a_machine_without_a_voice_is_told_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "which", lambda _: None)
    monkeypatch.setattr(assets, "is_installed", lambda: False)
    with pytest.raises(LocalError, match=r"offhook\[local\]'.*espeak-ng.*WAV file"):
        load_line("Good morning.")


@pytest.mark.skipif(not assets.is_installed(), reason=assets.INSTALL)
def test_words_are_said_with_the_installed_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "which", lambda _: None)
    line = load_line("Good morning, how can I help?")
    assert line.name == '"Good morning, how can I help?"'
    assert 8 * 800 < len(line.samples) < 8 * 5000
    assert has_sound(line.samples[: RATE_HZ // 2])
