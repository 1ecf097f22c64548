"""What each thing costs that a server holds, told apart by what the server used while it held so many of each.

Pure: the driver brings the figures, once a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

# What setting one up is taken to cost before any was measured, in seconds of a core, and how many of anything the
# guesses weigh as much as.
GUESSED_SETUP_S: Final = 0.0015
GUESS_WEIGHT: Final = 4
# No call was ever seen to cost less; a reading below it is one of calls that make no sound.
LEAST_COST: Final = 0.0003
# How fast a new reading counts: what calls cost changes slowly, and what setting them up costs hardly; a burst, in
# which both come together, is told apart by what was seen before it.
SMOOTHING: Final = 0.1
# In its first seconds a call is cheaper than later, when both sides talk: so many readings, and such a share. Were it
# not reckoned with, calls that keep coming in would make all calls look cheap until too many of them are there.
YOUNG_READINGS: Final = 5
YOUNG_SHARE: Final = 0.8
# An idle server takes less than a hundredth of a core; what it does beyond this is not for ever.
MOST_IDLE_BUSY: Final = 0.05
IDLE_SMOOTHING: Final = 0.3


@dataclass(frozen=True, slots=True)
class Amount:
    """How many of a kind there are, and how many of them were opened in the last second."""

    held: int = 0
    opened: int = 0


class Kind:
    """One kind of what is held: calls, or sessions."""

    def __init__(self, guess: float) -> None:
        self.guess = guess
        self.cost = guess
        """Share of a core that one takes."""
        self.setup_s = GUESSED_SETUP_S
        """Seconds of a core that setting one up takes."""
        self.share = 0.0
        """Share of a core that those of the last second took."""
        self._held: deque[int] = deque((0,), maxlen=YOUNG_READINGS)

    def grown(self, held: int) -> float:
        """Return as how many so many count, some of which are young."""
        settled = min(held, *self._held)
        self._held.append(held)
        return settled + YOUNG_SHARE * (held - settled)


class Costs:
    """Least squares over the last seconds, for all kinds together.

    The guesses take part as readings of their own, so that the answer is defined before there is anything. What the
    readings do not tell, as while the numbers of two kinds do not change, stays as it was found before.
    """

    def __init__(self) -> None:
        self._kinds: list[Kind] = []
        self._found: Any = np.zeros(0)
        self._moments: Any = np.zeros((0, 0))
        self._products: Any = np.zeros(0)
        self.idle_busy = 0.0
        """Share of a core that a server takes that holds nothing."""

    def add(self, guess: float) -> Kind:
        """Add a kind, one of which is taken to take such a share of a core. Before anything is learned only."""
        kind = Kind(guess)
        self._kinds.append(kind)
        size = 2 * len(self._kinds)
        self._found = np.array([each for kind in self._kinds for each in (kind.guess, GUESSED_SETUP_S)])
        self._moments, self._products = np.zeros((size, size)), np.zeros(size)
        return kind

    def learn(self, busy: float, amounts: Sequence[Amount]) -> None:
        """Take the share of a core that a second took, and how many of each kind there were, in the order of `add`."""
        if not any(amount.held or amount.opened for amount in amounts):
            self.idle_busy += IDLE_SMOOTHING * (busy - self.idle_busy)
        # What keeps a server busy that holds nothing passes, and need not be there while it holds something.
        self.idle_busy = min(self.idle_busy, busy, MOST_IDLE_BUSY)
        counts = zip(self._kinds, amounts, strict=True)
        row = np.array([each for kind, amount in counts for each in (kind.grown(amount.held), amount.opened)], float)
        self._moments += SMOOTHING * (np.outer(row, row) - self._moments)
        self._products += SMOOTHING * (row * max(busy - self.idle_busy, 0.0) - self._products)
        guesses = np.array([each for kind in self._kinds for each in (kind.guess, GUESSED_SETUP_S)])
        weight, kept = GUESS_WEIGHT * GUESS_WEIGHT, np.diag(self._moments)
        left = self._moments + np.diag(weight + kept)  # Never singular: the guesses are in it.
        self._found = np.linalg.solve(left, self._products + weight * guesses + kept * self._found)
        self._found = np.maximum(self._found, [LEAST_COST, 0.0] * len(self._kinds))
        for place, kind in enumerate(self._kinds):
            kind.cost, kind.setup_s = (float(each) for each in self._found[2 * place : 2 * place + 2])
            kind.share = float(row[2 * place : 2 * place + 2] @ self._found[2 * place : 2 * place + 2])
