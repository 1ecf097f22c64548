"""From the signature of a function to what a model is told of it: a JSON Schema, and a structure that takes arguments.

Nothing here runs the function.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Final, Optional, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

_Parameter = inspect.Parameter
_TRANSPARENT: Final = frozenset({Annotated, Union, UnionType})
_AS_IS: Final = frozenset({"default", "enum", "const"})
_PLAIN: Final = (str, int, float, bool, type(None))
_DOC_SECTION: Final = re.compile(
    r"(args|arguments|parameters|params|returns?|yields?|raises|examples?|notes?)\s*:?\s*", re.IGNORECASE
)
_PARAMETER_SECTIONS: Final = frozenset({"args", "arguments", "parameters", "params"})
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_FIELD: Final = re.compile(r":(\w+)([^:]*):\s*(.*)")


class Signature(Struct, frozen=True):
    """What a function takes: from the model as ``arguments`` (a Struct class), and from us as ``given``."""

    description: str
    schema: dict[str, Any]
    arguments: type[Struct]
    positional: tuple[str, ...]
    given: Mapping[str, type]


def read_signature(function: Callable[..., Any], given_types: Collection[type]) -> Signature:
    """Return what a model has to know of a function.

    Parameters annotated with one of ``given_types`` are not the model's to give. Raises TypeError for a parameter that
    cannot be described in JSON.
    """
    name = getattr(function, "__name__", "function")
    description, described = read_docstring(inspect.getdoc(function) or "")
    hints = _hints(function, name)
    fields: list[Any] = []
    positional: list[str] = []
    given: dict[str, type] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind in {_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD}:
            raise TypeError(f"{name}: a model cannot give *{parameter.name}; name each argument")
        if (found := _given_type(hint, given_types)) is not None:
            given[parameter.name] = found
            continue
        if parameter.kind is _Parameter.POSITIONAL_ONLY:
            positional.append(parameter.name)
        if parameter.default is None:
            hint = Optional[hint]  # noqa: UP045 - it is a value here, of any kind
        about = described.get(parameter.name) or _annotated_text(hint)
        if about:
            hint = Annotated[hint, msgspec.Meta(description=about)]
        fields.append((parameter.name, hint, *_default(parameter)))
    try:
        arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
        schema = _plain_schema(msgspec.json.schema(arguments))
        msgspec.json.Decoder(arguments)
    except TypeError as failure:
        raise TypeError(f"{name}: an argument cannot be described to a model: {failure}") from None
    return Signature(description, schema, arguments, tuple(positional), given)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    if not inspect.isroutine(target):
        target = type(target).__call__
    target = getattr(target, "__func__", target)
    try:
        # What a function returns is nobody's business here, and may be of a type that only type checkers import.
        declared = {key: hint for key, hint in getattr(target, "__annotations__", {}).items() if key != "return"}
        # Names that only the enclosing function knows are found among what the function closes over.
        names = dict(inspect.getclosurevars(target).nonlocals) if inspect.isfunction(target) else None
        holder = SimpleNamespace(__annotations__=declared)
        return get_type_hints(holder, getattr(target, "__globals__", {}), names, include_extras=True)
    except NameError as failure:
        raise TypeError(f"{name}: an annotation is not known where the function stands: {failure}") from None


def _given_type(hint: Any, given_types: Collection[type]) -> type | None:
    candidates = (hint, *(get_args(hint) if get_origin(hint) in _TRANSPARENT else ()))
    return next((each for each in given_types if each in candidates), None)


def _annotated_text(hint: Any) -> str:
    if get_origin(hint) is not Annotated:
        return ""
    return next((each for each in hint.__metadata__ if isinstance(each, str)), "")


def _default(parameter: inspect.Parameter) -> tuple[Any, ...]:
    value = parameter.default
    if value is _Parameter.empty:
        return ()
    if isinstance(value, _PLAIN) or value in ([], {}):
        return (value,)
    # Anything else is the function's own business: the model is told that it may leave the argument out.
    return (msgspec.field(default_factory=lambda: value),)


# -- docstrings


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the description and the texts of the parameters, from an ``Args:`` section or ``:param name:`` fields."""
    description: list[str] = []
    described: dict[str, str] = {}
    section, indent, current = "", -1, ""
    for line in text.splitlines():
        bare = line.strip()
        here = len(line) - len(line.lstrip())
        if bare and here == 0:
            current = ""
            if (field := _FIELD.fullmatch(bare)) is not None:
                section = "fields"
                if field[1] in {"param", "parameter", "arg", "argument"} and field[2].strip():
                    current = field[2].split()[-1]
                    described[current] = field[3]
                continue
            heading = _DOC_SECTION.fullmatch(bare)
            section, indent = (heading[1].lower(), -1) if heading is not None else ("", -1)
            if heading is None:
                description.append(bare)
        elif not section:
            description.append(bare)
        elif section in _PARAMETER_SECTIONS and bare:
            indent = here if indent < 0 else indent
            if here == indent and (entry := _GOOGLE.fullmatch(bare)) is not None:
                current = entry[1]
                described[current] = entry[2]
            elif current:
                described[current] = f"{described[current]} {bare}".strip()
        elif section == "fields" and current and bare:
            described[current] = f"{described[current]} {bare}".strip()
    paragraphs = "\n".join(description).strip().split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs if each.strip()), described


# -- schemas


def _plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without titles and references, as far as it is not recursive: small servers follow none."""
    definitions = schema.get("$defs", {})
    kept: dict[str, Any] = {}
    plain: dict[str, Any] = _inlined(schema, definitions, (), kept)
    if kept:
        plain["$defs"] = kept
    return plain


def _inlined(node: Any, definitions: Mapping[str, Any], within: tuple[str, ...], kept: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(each, definitions, within, kept) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        rest = {key: value for key, value in node.items() if key not in {"$ref", "$defs"}}
        if name in within:
            if name not in kept:
                kept[name] = {}
                kept[name] = _inlined(definitions[name], definitions, (name,), kept)
            return {"$ref": reference, **rest}
        return _inlined({**definitions[name], **rest}, definitions, (*within, name), kept)
    plain = {
        key: value if key in _AS_IS else _inlined(value, definitions, within, kept)
        for key, value in node.items()
        if key != "$defs"
    }
    if isinstance(plain.get("title"), str):
        plain.pop("title")
    values = plain.get("enum")
    if isinstance(values, list) and "type" not in plain and all(isinstance(each, str) for each in values):
        plain["type"] = "string"
    return plain
