"""What a call looks like on paper."""

from __future__ import annotations

import io

import pytest

from offhook.testing.dialler import Paper, entry

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
