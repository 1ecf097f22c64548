"""What each thing costs that a server holds, told apart by what the server used while it held so many of each.

Pure: the driver brings the figures, once a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
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

    The guesses take part as readings of their own, so that the answer is defined before there is much to go by. What
    the readings do not tell, while there is none of a kind or the numbers of two do not change, stays as it was found.
    """

    def __init__(self) -> None:
        self._kinds: list[Kind] = []
        self._guesses: Any = np.zeros(0)
        self._found: Any = np.zeros(0)
        self._moments: Any = np.zeros((0, 0))
        self._unexplained: Any = np.zeros(0)
        self.idle_busy = 0.0
        """Share of a core that a server takes that holds nothing."""

    def add(self, guess: float) -> Kind:
        """Add a kind, one of which is taken to take such a share of a core. Before anything is learned only."""
        kind = Kind(guess)
        self._kinds.append(kind)
        size = 2 * len(self._kinds)
        self._guesses = np.append(self._guesses, [guess, GUESSED_SETUP_S])
        self._found = self._guesses.copy()
        self._moments, self._unexplained = np.zeros((size, size)), np.zeros(size)
        return kind

    def learn(self, busy: float, amounts: Mapping[Kind, Amount]) -> None:
        """Take the share of a core that a second took, and how many there were of each kind that there was."""
        counts = [(kind, amounts.get(kind, Amount())) for kind in self._kinds]
        row = np.array([each for kind, amount in counts for each in (kind.grown(amount.held), amount.opened)], float)
        told = row != 0
        if not told.any():
            self.idle_busy += IDLE_SMOOTHING * (busy - self.idle_busy)
        # What keeps a server busy that holds nothing passes, and need not be there while it holds something.
        self.idle_busy = min(self.idle_busy, busy, MOST_IDLE_BUSY)
        # Older readings fade where there is a new one.
        self._moments[told[:, None] | told] *= 1 - SMOOTHING
        self._unexplained[told] *= 1 - SMOOTHING
        self._moments += SMOOTHING * np.outer(row, row)
        self._unexplained += SMOOTHING * row * (max(busy - self.idle_busy, 0.0) - row @ self._found)
        self._explain(told)
        for place, kind in enumerate(self._kinds):
            own = slice(2 * place, 2 * place + 2)
            kind.cost, kind.setup_s = map(float, self._found[own])
            kind.share = float(row[own] @ self._found[own])

    def _explain(self, told: Any) -> None:
        """Change the costs that the last reading tells of, half of the way at most."""
        weight = GUESS_WEIGHT * GUESS_WEIGHT
        damped = self._moments + np.diag(np.diag(self._moments) + weight)  # Never singular: the guesses are in it.
        wanted = self._unexplained + weight * (self._guesses - self._found)
        found = self._found.copy()
        found[told] += np.linalg.solve(damped[np.ix_(told, told)], wanted[told])
        found = np.maximum(found, [LEAST_COST, 0.0] * len(self._kinds))
        self._unexplained -= self._moments @ (found - self._found)
        self._found = found
