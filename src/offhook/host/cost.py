"""What a call has cost: how much each backend was used, times the prices of the settings.

What has no price has no figure, and a sum that lacks a part is none: a zero is only said where a price says so.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeAlias

import msgspec

from offhook.errors import ConfigError
from offhook.model.metering import Used
from offhook.model.settings import Role
from offhook.telemetry.metrics import Metrics

# A millionth of a unit of money: one token of a cheap model is about a tenth of that, a call never is.
_DIGITS: Final = 6
_MAX_CURRENCY_CHARS: Final = 8
_QUANTITIES: Final = tuple(each.name for each in fields(Used) if each.name not in {"role", "backend", "estimated"})

Amount: TypeAlias = float | None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backend takes. Cached tokens cost what others do unless they have a price of their own."""

    per_million_input_tokens: Amount = None
    per_million_cached_tokens: Amount = None
    per_million_output_tokens: Amount = None
    per_million_audio_input_tokens: Amount = None
    per_million_audio_output_tokens: Amount = None
    per_audio_minute: Amount = None
    per_million_characters: Amount = None

    def of(self, used: Used) -> Amount:
        """Return what this work costs; None when something of it has no price.

        A recogniser that counts tokens is paid by the minute all the same where it has such a price.
        """
        by_tokens, by_speech = self._by_tokens(used), self._by_speech(used)
        if used.role == "stt":
            counts_tokens = used.input_tokens or used.audio_input_tokens or used.output_tokens
            return by_tokens if by_speech is None and counts_tokens else by_speech
        return None if by_tokens is None or by_speech is None else by_tokens + by_speech

    def lacks(self, used: Used) -> list[str]:
        """Return the prices that this work would need; of several that would do, the simplest."""
        if self.of(used) is not None:
            return []
        if used.role == "stt":
            return ["per_audio_minute"]
        tokens = [name for count, price, name in self._tokens(used) if count and price is None]
        speech = "per_million_characters" if used.characters else "per_audio_minute"
        return tokens if self._by_speech(used) is not None else [*tokens, speech]

    def _tokens(self, used: Used) -> Iterator[tuple[int, Amount, str]]:
        cached = self.per_million_cached_tokens
        yield used.input_tokens, self.per_million_input_tokens, "per_million_input_tokens"
        price = self.per_million_input_tokens if cached is None else cached
        yield used.cached_tokens, price, "per_million_cached_tokens"
        yield used.output_tokens, self.per_million_output_tokens, "per_million_output_tokens"
        yield used.audio_input_tokens, self.per_million_audio_input_tokens, "per_million_audio_input_tokens"
        yield used.audio_output_tokens, self.per_million_audio_output_tokens, "per_million_audio_output_tokens"

    def _by_tokens(self, used: Used) -> Amount:
        tokens = list(self._tokens(used))
        if any(count and price is None for count, price, _ in tokens):
            return None
        return sum(count * (price or 0.0) for count, price, _ in tokens) / 1e6

    def _by_speech(self, used: Used) -> Amount:
        # A voice is paid by what it was given or by what it said; one price is enough.
        speech = ((used.audio_s / 60, self.per_audio_minute), (used.characters / 1e6, self.per_million_characters))
        priced = [quantity * price for quantity, price in speech if quantity and price is not None]
        return None if not priced and any(quantity for quantity, _ in speech) else sum(priced)


_NONE: Final = Price()  # a backend without prices lacks all that its work needs


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of backends, by their names. ``whole``: the one that does everything by itself, if there is one.

    ``is_told``: what its responses took is told of them (``note_use``), and not seen from outside.
    """

    currency: str = ""
    of: Mapping[str, Price] = field(default_factory=lambda: types.MappingProxyType({}))
    whole: str = ""
    is_told: bool = False

    def __bool__(self) -> bool:
        return bool(self.of)


@dataclass(slots=True)
class _Part:
    """One backend in one role: what it did, and what that cost as far as it is known."""

    quantities: dict[str, float]
    amount: Amount = 0.0
    is_estimated: bool = False


class Cost:
    """What one session has cost so far. The number of its parts is that of the backends in the settings."""

    def __init__(self, prices: Prices, metrics: Metrics) -> None:
        self.prices: Final = prices
        self._metrics = metrics
        self._parts: dict[tuple[Role, str], _Part] = {}
        self._subtotal = 0.0
        self._missing: dict[str, None] = {}

    def add(self, used: Used) -> None:
        """Take down some work."""
        if not self.prices:
            return
        part = self._parts.setdefault((used.role, used.backend), _Part(dict.fromkeys(_QUANTITIES, 0)))
        for name in _QUANTITIES:
            part.quantities[name] += getattr(used, name)
        part.is_estimated = part.is_estimated or used.estimated
        price = self.prices.of.get(used.backend)
        amount = None if price is None else price.of(used)
        if amount is not None:
            self._subtotal += amount
            labels = {"part": used.role, "backend": used.backend, "currency": self.prices.currency}
            self._metrics.count("offhook_cost_total", amount, **labels)
        self._missing |= dict.fromkeys(f"prices.{used.backend}.{name}" for name in (price or _NONE).lacks(used))
        part.amount = None if part.amount is None or amount is None else part.amount + amount

    @property
    def total(self) -> Amount:
        """The sum; None while nothing was used, and when something of it has no price."""
        amounts = [part.amount for part in self._parts.values()]
        known = [amount for amount in amounts if amount is not None]
        return round(sum(known), _DIGITS) if amounts and len(known) == len(amounts) else None

    def shown(self) -> dict[str, Any] | None:
        """Return it as a record shows it; None where the settings have no prices.

        ``subtotal`` is what is known of the sum, ``missing`` the settings that would make it whole.
        """
        if not self.prices:
            return None
        parts = [self._shown_part(role, backend, part) for (role, backend), part in self._parts.items()]
        sums = {"total": self.total, "subtotal": round(self._subtotal, _DIGITS), "missing": list(self._missing)}
        return {"currency": self.prices.currency, **sums, "parts": parts}

    def _shown_part(self, role: Role, backend: str, part: _Part) -> dict[str, Any]:
        amount = None if part.amount is None else round(part.amount, _DIGITS)
        shown = {"part": role, "backend": backend, "amount": amount, "estimated": part.is_estimated}
        return shown | {name: round(value, 3) for name, value in part.quantities.items() if value}


def read_prices(where: str, table: Any, currency: str, known: Collection[str]) -> Prices:
    """Return the prices of ``[prices.NAME]``. Raises ConfigError, also for a backend that there is not."""
    if not isinstance(table, dict):
        raise ConfigError(where, "is not a table", "write [prices.NAME]")
    if not (currency.isascii() and currency.isalpha() and len(currency) <= _MAX_CURRENCY_CHARS):
        raise ConfigError("--currency", f"'{currency}' is no currency", "give its code, for example EUR")
    prices = {}
    for name, members in table.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}", "is no backend", f"there are {', '.join(sorted(known))}")
        try:
            price = msgspec.convert(members, Price)
        except msgspec.ValidationError as wrong:
            mend = f"a price has {', '.join(Price.__struct_fields__)}"
            raise ConfigError(f"{where}.{name}", str(wrong).lower(), mend) from None
        for member in Price.__struct_fields__:
            amount = getattr(price, member)
            if amount is not None and not 0 <= amount < float("inf"):
                raise ConfigError(f"{where}.{name}.{member}", f"'{amount}' is no price")
        prices[name] = price
    return Prices(currency, types.MappingProxyType(prices)) if prices else Prices()
