"""The API's names for voices, and what is behind them here.

One voice is installed: "heart", American English, female. The names that the API knows are that voice as it is
(``alloy``) or somewhat changed, so that two agents can be told apart and each name always sounds the same: its melody
higher or lower, and its speaker smaller or larger (all resonances moved together, as between people of different size).
They do not imitate the API's own voices. Every other name, custom ids included, is ``alloy``.

The four further voices of the same package (emma, fenrir, fable, kore) are files that a user may provide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from offhook.model.local.voices.assets import INSTALLED, PROVIDED


@dataclass(frozen=True, slots=True)
class Timbre:
    """A voice file, and how it is changed.

    ``melody`` multiplies the pitch. ``grown`` is ``(of, to)``: the speaker grows from one size to the other, so that
    all resonances are multiplied by ``of / to``.
    """

    model: str = INSTALLED
    melody: float = 1.0
    grown: tuple[int, int] = (1, 1)


DEFAULT: Final = Timbre()

TIMBRES: Final[dict[str, Timbre]] = {
    "alloy": DEFAULT,
    "coral": Timbre(melody=1.07),
    "sage": Timbre(melody=0.94),
    "marin": Timbre(melody=0.98, grown=(24, 25)),
    "shimmer": Timbre(melody=1.06, grown=(25, 24)),
    "ballad": Timbre(melody=0.80, grown=(15, 16)),
    "verse": Timbre(melody=0.70, grown=(9, 10)),
    "echo": Timbre(melody=0.66, grown=(9, 10)),
    "ash": Timbre(melody=0.62, grown=(8, 9)),
    "cedar": Timbre(melody=0.58, grown=(7, 8)),
}


def timbre(name: str) -> Timbre:
    """Return what speaks under a name."""
    if name == INSTALLED or name in PROVIDED:
        return Timbre(model=name)
    return TIMBRES.get(name, DEFAULT)
