"""Backends by name: what a package brings under an entry point of the group ``offhook.models``.

Ours are found in the same way, and before those of others. Which one plays a part is said by its name; what it is made
of stands in the table of that name (``[backends.NAME]``).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

import msgspec

from offhook.errors import ConfigError
from offhook.model.interface import Backend, LanguageModel, SpeechToText, TextToSpeech
from offhook.model.settings import ROLES, BackendTable, Role

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "offhook.models"
OURS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "chat": "offhook.model.builtin:CHAT",
        "transcriptions": "offhook.model.builtin:TRANSCRIPTIONS",
        "speech": "offhook.model.builtin:SPEECH",
        "wyoming": "offhook.model.builtin:WYOMING",
        "local": "offhook.model.builtin:LOCAL",
        "gguf": "offhook.model.builtin:GGUF",
        "demo": "offhook.model.builtin:DEMO",
        "relay": "offhook.model.builtin:RELAY",
        "scripted": "offhook.model.builtin:SCRIPTED",
    }
)
"""Also declared in the package's metadata; here so that a source tree that is not installed has them too."""


@dataclass(frozen=True, slots=True)
class ModelPlugin:
    """What an entry point names: who makes a backend, for each role that it can play.

    A maker is a class or a function. The members of the backend's table are its keyword arguments, of the types that
    its annotations say (``Path`` among them). It raises ConfigError for what cannot work, and loads nothing heavy yet:
    a part may have ``async def start(self)`` and ``async def stop(self)`` for that.
    """

    stt: Callable[..., SpeechToText] | None = None
    llm: Callable[..., LanguageModel] | None = None
    tts: Callable[..., TextToSpeech] | None = None
    backend: Callable[..., Backend] | None = None

    def roles(self) -> tuple[Role, ...]:
        """Return what it can play."""
        return tuple(role for role in ROLES if getattr(self, role) is not None)


def known_plugins() -> str:
    """Return the names of all plugins, for people."""
    return ", ".join(sorted({*OURS, *(entry.name for entry in _installed())}))


def _installed() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # half of what our own would cost to find

    return list(entry_points(group=GROUP))


def make(role: Role, table: BackendTable, defaults: Mapping[str, Any] | None = None) -> Any:
    """Return what plays a role, not started yet. ``defaults`` stand in for members that the table lacks.

    Raises ConfigError with the line that mends it: nothing of that name, a plugin that cannot be loaded, another role,
    a member that is unknown, missing or of another type.
    """
    plugin = find_plugin(table.plugin, table.where or f"--{role}")
    where = table.where or f"backends.{table.name}"
    maker = getattr(plugin, role)
    if maker is None:
        roles = " and ".join(ROLES[each] for each in plugin.roles()) or "nothing"
        raise ConfigError(f"--{role}", f"'{table.name}' is no {ROLES[role]}: {table.plugin} is {roles}")
    options = _arguments(maker, {**(defaults or {}), **table.options}, table, where)
    try:
        return maker(**options)
    except ConfigError as problem:
        key = problem.key if problem.key.startswith("--") else f"{where}.{problem.key}"
        raise ConfigError(key, problem.message, problem.mend) from None
    except Exception as failure:  # the plugin is not ours; whatever it raises is told at the start
        raise ConfigError(where, f"'{table.plugin}' cannot be made: {_shown(failure)}") from failure


def find_plugin(name: str, where: str) -> ModelPlugin:
    """Return the plugin of a name. Raises ConfigError when there is none, or it cannot be loaded."""
    if name in OURS:
        module, _, member = OURS[name].partition(":")
        ours: ModelPlugin = getattr(import_module(module), member)
        return ours
    entry = next((each for each in _installed() if each.name == name), None)
    if entry is None:
        mend = f"there are {known_plugins()}; a package may bring others (docs/backends.md)"
        raise ConfigError(where, f"there is no backend '{name}'", mend)
    try:
        plugin = entry.load()
    except Exception as failure:  # as above
        raise ConfigError(where, f"'{name}' cannot be loaded: {_shown(failure)}", _reinstall(entry)) from failure
    if not isinstance(plugin, ModelPlugin):
        raise ConfigError(where, f"'{name}' is no ModelPlugin but {type(plugin).__name__}", _reinstall(entry))
    return plugin


def _reinstall(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
    return f"pip install --upgrade {package}"


def _arguments(
    maker: Callable[..., Any], options: Mapping[str, Any], table: BackendTable, where: str
) -> dict[str, Any]:
    """Return the members of a table as what the maker wants."""
    try:
        hints = get_type_hints(maker.__init__ if inspect.isclass(maker) else maker, include_extras=True)
        parameters = inspect.signature(maker).parameters
    except (NameError, TypeError, ValueError) as failure:
        raise ConfigError(where, f"'{table.plugin}' does not say what it takes: {_shown(failure)}") from failure
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    named = {
        name: each
        for name, each in parameters.items()
        if each.kind in {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    }
    for name in options:
        if name not in named and not takes_any:
            mend = f"it has {', '.join(named) or 'none'}"
            raise ConfigError(f"{where}.{name}", f"is no setting of {table.plugin}", mend)
    for name, parameter in named.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise ConfigError(
                f"{where}.{name}", f"is missing: {table.plugin} needs it", f"give it in [backends.{table.name}]"
            )
    return {
        name: _argument(f"{where}.{name}", value, hints[name] if name in named and name in hints else Any)
        for name, value in options.items()
    }


def _argument(key: str, value: Any, wanted: Any) -> Any:
    try:
        return msgspec.convert(value, wanted, dec_hook=_decode)
    except msgspec.ValidationError as wrong:
        raise ConfigError(key, str(wrong).replace(" - at `$`", "").lower()) from None
    except TypeError as unreadable:
        problem = ConfigError(key, f"is of a type that no table has: {_shown(unreadable)}")
    # A union that is not told apart by how its members are written: the first that takes the value.
    for member in get_args(wanted):
        try:
            return _argument(key, value, member)
        except ConfigError as refused:
            problem = refused
    raise problem


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected `{wanted.__name__}`, got `{type(value).__name__}`")


def _shown(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
