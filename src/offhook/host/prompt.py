"""Stored prompts: instructions and settings under an id, in versions, with variables that a session fills in.

A prompt is a folder of files, one a version: ``ID/1.md`` is text for the instructions, ``ID/2.json`` members of a
session (``instructions``, ``tools``, ``audio``, ...). ``{{name}}`` in the instructions is a variable. The highest
number is the newest version. Source: API reference, ``prompt`` of the realtime session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from offhook.errors import ApiProblem, ConfigError
from offhook.wire import limits
from offhook.wire.client_events import ResponseAudio, ResponseAudioOutput, ResponseParams
from offhook.wire.decode import decode_session
from offhook.wire.problem import invalid, missing_parameter, unknown_parameter
from offhook.wire.session import Audio, AudioInput, AudioOutput, Prompt, PromptText, SessionParams, mask_secrets

T = TypeVar("T", SessionParams, ResponseParams)

# A prompt is a folder: its id has to be a file name everywhere, and never a way out of the registry.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")
# All of them are kept in memory. A busy office has some dozens, in some dozens of versions.
MAX_PROMPTS: Final = 1_000
MAX_VERSIONS: Final = 1_000
_DEEP: Final = (Audio, AudioInput, AudioOutput)


@dataclass(frozen=True, slots=True)
class Template:
    """One version of a prompt. ``members`` are those of a session that it sets; its variables are in the text."""

    id: str
    version: str
    members: SessionParams

    @property
    def variables(self) -> frozenset[str]:
        """The names that a session has to fill in."""
        text = self.members.instructions
        return frozenset(_VARIABLE.findall(text)) if isinstance(text, str) else frozenset()

    def shown(self) -> dict[str, Any]:
        """Return it as people and programs see it: what an MCP server wants to be told is hidden."""
        members = msgspec.to_builtins(replace(self.members, tools=mask_secrets(self.members.tools)))
        del members["type"]
        variables = sorted(self.variables)
        return {"object": "offhook.prompt", "id": self.id, "version": self.version, "variables": variables, **members}


def read_template(prompt_id: str, version: str, data: bytes, *, is_text: bool = False) -> Template:
    """Return a version from a file or a request. Raises ApiProblem 400 that names what is wrong with it."""
    if is_text:
        try:
            members: Any = {"instructions": data.decode()}
        except UnicodeError:
            raise ApiProblem(400, "invalid_value", "A prompt's text has to be UTF-8.") from None
    else:
        try:
            members = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as broken:
            message = f"We could not parse the JSON body of your request: {broken}."
            raise ApiProblem(400, "invalid_json", message) from None
    if not isinstance(members, dict):
        raise ApiProblem(400, "invalid_type", "A prompt is an object of a session's members.")
    for name in ("type", "prompt"):
        if name in members:
            raise unknown_parameter(name)
    try:
        params = decode_session(msgspec.json.encode({"type": "realtime", **members}))
    except ApiProblem as problem:
        problem.param = (problem.param or "").removeprefix("session.") or None
        raise
    return Template(prompt_id, version, params)


class Prompts:
    """The prompts of one project: those of a folder, and those that were added. None as a folder: none at all."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._versions: dict[str, dict[str, Template]] = {}
        if folder is not None:
            self._read(folder)

    def _read(self, folder: Path) -> None:
        try:
            files = sorted(path for path in folder.glob("*/*") if path.suffix in {".md", ".txt", ".json"})
            for path in files:
                prompt_id, version = path.parent.name, path.stem
                if not _ID.fullmatch(prompt_id) or not _VERSION.fullmatch(version):
                    raise ConfigError("--prompts", f"{path} is not ID/VERSION, a name and a whole number")
                if version in self._versions.get(prompt_id, {}):
                    raise ConfigError("--prompts", f"{path} is there with another suffix too")
                try:
                    self._keep(read_template(prompt_id, version, path.read_bytes(), is_text=path.suffix != ".json"))
                except ApiProblem as problem:
                    raise ConfigError("--prompts", f"{path}: {problem.message}") from None
        except OSError as failure:
            raise ConfigError("--prompts", f"cannot read {folder}: {failure.strerror}") from None

    def _keep(self, template: Template) -> None:
        self._versions.setdefault(template.id, {})[template.version] = template

    # -- for the routes

    def all(self) -> list[Template]:
        """Return the newest version of every prompt, by id."""
        return [self._versions[prompt_id][self._newest(prompt_id)] for prompt_id in sorted(self._versions)]

    def versions(self, prompt_id: str) -> list[Template]:
        """Return the versions of a prompt, the newest first; none for one that is not there."""
        known = self._versions.get(prompt_id, {})
        return [known[version] for version in sorted(known, key=int, reverse=True)]

    def add(self, prompt_id: str, data: bytes) -> Template:
        """Keep a new version, in the folder too. Raises ApiProblem; nothing has changed then."""
        if self._folder is None:
            message = "This server has no place for prompts: start it with --prompts FOLDER."
            raise ApiProblem(400, "prompts_not_configured", message)
        if not _ID.fullmatch(prompt_id):
            raise invalid("id", f"Invalid 'id': '{prompt_id[:100]}' is not letters, digits, '_', '-' and '.'.")
        known = self._versions.get(prompt_id, {})
        if (not known and len(self._versions) >= MAX_PROMPTS) or len(known) >= MAX_VERSIONS:
            message = f"There are {MAX_PROMPTS} prompts, or {MAX_VERSIONS} versions of this one, which is the limit."
            raise ApiProblem(400, "limit_exceeded", message)
        version = str(int(self._newest(prompt_id)) + 1 if known else 1)
        template = read_template(prompt_id, version, data)
        self._write(self._folder / prompt_id, version, data)
        self._keep(template)
        return template

    def _write(self, folder: Path, version: str, data: bytes) -> None:
        """Put a file in its place as a whole: a server that dies meanwhile leaves no half of it."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            waiting = folder / f".{version}.new"
            waiting.write_bytes(data)
            waiting.replace(folder / f"{version}.json")
        except OSError as failure:
            message = f"The prompt could not be kept: {failure.strerror}."
            raise ApiProblem(500, None, message, kind="server_error") from None

    def _newest(self, prompt_id: str) -> str:
        return max(self._versions[prompt_id], key=int)

    # -- for sessions

    def fill_in(self, params: T, path: str, *, but: Iterable[str] = ()) -> T:
        """Return what is asked for with the prompt that it names put below it: members given directly win.

        Raises ApiProblem 400 for an id or version that is not there, and for variables that are missing or unknown;
        ``path`` begins its ``param``. The prompt's members named in ``but`` are left out.
        """
        prompt = params.prompt
        if prompt is UNSET or prompt is None:
            return params
        where = f"{path}.prompt"
        template = self._find(prompt, where)
        values = _values(prompt, template.variables, f"{where}.variables")
        members = template.members
        if isinstance(text := members.instructions, str):
            members = replace(members, instructions=_substitute(text, values, f"{where}.variables"))
        skipped = {"type", "prompt", *but}
        given = {
            name: _below(getattr(members, name), getattr(params, name, UNSET), params)
            for name in params.__struct_fields__
            if name in members.__struct_fields__ and name not in skipped
        }
        return replace(params, **given)

    def _find(self, prompt: Prompt, where: str) -> Template:
        known = self._versions.get(prompt.id)
        if known is None:
            mend = "" if self._folder is not None else " This server has no prompts: start it with --prompts FOLDER."
            raise invalid(f"{where}.id", f"Prompt with id '{prompt.id}' not found.{mend}", "prompt_not_found")
        version = prompt.version or self._newest(prompt.id)
        template = known.get(version)
        if template is None:
            message = f"Prompt '{prompt.id}' has no version '{version}'."
            raise invalid(f"{where}.version", message, "prompt_not_found")
        return template


def _values(prompt: Prompt, wanted: frozenset[str], where: str) -> dict[str, str]:
    given = prompt.variables if isinstance(prompt.variables, dict) else {}
    for name in sorted(wanted):
        if name not in given:
            raise missing_parameter(f"{where}.{name}")
    values = {}
    for name, value in given.items():
        if name not in wanted:
            raise unknown_parameter(f"{where}.{name}")
        if not isinstance(value, str | PromptText):
            raise invalid(f"{where}.{name}", "Invalid value: a variable of the instructions has to be text.")
        values[name] = value if isinstance(value, str) else value.text
    return values


def _substitute(text: str, values: Mapping[str, str], where: str) -> str:
    # One pass: what a variable holds is never read as a variable.
    filled = _VARIABLE.sub(lambda found: values[found[1]], text)
    if len(filled) > limits.MAX_TEXT_CHARS:
        message = f"Invalid '{where}': the instructions become longer than {limits.MAX_TEXT_CHARS} characters."
        raise invalid(where, message)
    return filled


def _below(stored: Any, given: Any, params: SessionParams | ResponseParams) -> Any:
    """Return a member as it was given, else as the prompt has it; the objects inside ``audio`` are joined."""
    if isinstance(stored, Audio) and isinstance(params, ResponseParams):
        stored = _response_audio(stored)
    if given is UNSET:
        return stored
    if isinstance(given, (*_DEEP, ResponseAudio, ResponseAudioOutput)) and type(stored) is type(given):
        joined = {name: _below(getattr(stored, name), getattr(given, name), params) for name in given.__struct_fields__}
        return replace(given, **joined)
    return given


def _response_audio(audio: Audio) -> Any:
    """Return the part of a session's audio that one response can have."""
    if audio.output is UNSET or audio.output.voice is UNSET:
        return UNSET
    return ResponseAudio(output=ResponseAudioOutput(voice=audio.output.voice))
