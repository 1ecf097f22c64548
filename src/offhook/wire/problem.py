"""Find the first thing wrong with a JSON value, and say it in the API's words.

msgspec decodes good input in one fast pass; only what it refuses comes here, to be walked again for an answer naming
the member (``param``), the kind of fault (``code``) and what would be right. Source: API reference, "Errors".
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from typing import Any

from msgspec import inspect

from offhook.errors import ApiProblem

_SHOWN_CHARS = 100


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiProblem:
    """Return a 400 about one member."""
    return ApiProblem(400, code, message, param=param)


def unknown_parameter(param: str) -> ApiProblem:
    """Return the 400 for a member that does not exist."""
    return invalid(param, f"Unknown parameter: '{param}'.", "unknown_parameter")


def missing_parameter(param: str) -> ApiProblem:
    """Return the 400 for a member that has to be there."""
    return invalid(param, f"Missing required parameter: '{param}'.", "missing_required_parameter")


def unsupported_value(param: str, value: object, supported: Iterable[object]) -> ApiProblem:
    """Return the 400 for a value outside its set."""
    return invalid(param, f"Invalid value: {_show(value)}. Supported values are: {_join(map(_show, supported))}.")


def find_problem(value: object, wanted: object, path: str) -> ApiProblem | None:
    """Return the first problem of ``value`` (parsed JSON) against the type ``wanted``, or None.

    ``path`` is how the API calls the value (``session``); it begins every ``param``.
    """
    return _find(value, _type_info(wanted), path)


@functools.cache
def _type_info(wanted: object) -> inspect.Type:
    return inspect.type_info(wanted)


def _show(value: object) -> str:
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "..."
        return f"'{text}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)[:_SHOWN_CHARS]


def _join(words: Iterable[str]) -> str:
    words = list(words)
    if len(words) < 3:
        return " and ".join(words)
    return ", ".join(words[:-1]) + ", and " + words[-1]


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _find(value: object, info: inspect.Type, path: str) -> ApiProblem | None:
    match info:
        case inspect.Metadata():
            return _find(value, info.type, path)
        case inspect.AnyType():
            return None
        case inspect.UnionType():
            return _find_in_union(value, info, path)
        case inspect.StructType() if isinstance(value, dict):
            return _find_in_struct(value, info, path)
        case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list):
            return _find_in_list(value, info, path)
        case inspect.DictType() if isinstance(value, dict):
            return _find_in_dict(value, info, path)
        case inspect.LiteralType() if value not in info.values or isinstance(value, bool | float):
            if isinstance(value, str | int) and not isinstance(value, bool):
                return unsupported_value(path, value, info.values)
        case inspect.StrType() if isinstance(value, str):
            return _find_in_text(value, info, path)
        case inspect.IntType() | inspect.FloatType() if _fits_number(value, info):
            return _find_in_number(value, info, path)
        case _ if _fits(value, info):
            return None
    return _wrong_type(value, info, path)


def _fits_number(value: object, info: inspect.IntType | inspect.FloatType) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(info, inspect.FloatType) or isinstance(value, int)


def _fits(value: object, info: inspect.Type) -> bool:
    """Say whether the JSON kind of the value is one that the type takes, whatever its bounds."""
    match info:
        case inspect.Metadata():
            return _fits(value, info.type)
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType() | inspect.FloatType():
            return _fits_number(value, info)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.LiteralType():
            return type(value) in {type(each) for each in info.values}
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.ListType() | inspect.VarTupleType():
            return isinstance(value, list)
        case _:
            return False


_KINDS = (
    (inspect.NoneType, "null"),
    (inspect.BoolType, "a boolean"),
    (inspect.IntType, "an integer"),
    (inspect.FloatType, "a number"),
    (inspect.StrType, "a string"),
    (inspect.StructType, "an object"),
    (inspect.DictType, "an object"),
    (inspect.ListType, "an array"),
    (inspect.VarTupleType, "an array"),
)


def _kind(info: inspect.Type) -> str:
    if isinstance(info, inspect.Metadata):
        return _kind(info.type)
    if isinstance(info, inspect.LiteralType):
        return "one of " + _join(map(_show, info.values))
    return next((name for kind, name in _KINDS if isinstance(info, kind)), "another type")


def _kind_of_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {int: "an integer", float: "a decimal number", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")


def _wrong_type(value: object, info: inspect.Type, path: str) -> ApiProblem:
    kinds = [_kind(each) for each in info.types] if isinstance(info, inspect.UnionType) else [_kind(info)]
    wanted = list(dict.fromkeys(kinds))
    expected = " or ".join([", ".join(wanted[:-1]), wanted[-1]] if len(wanted) > 1 else wanted)
    message = f"Invalid type for '{path}': expected {expected}, but got {_kind_of_value(value)} instead."
    return invalid(path, message, "invalid_type")


def _find_in_union(value: object, info: inspect.UnionType, path: str) -> ApiProblem | None:
    members = [each.type if isinstance(each, inspect.Metadata) else each for each in info.types]
    fitting = [each for each in members if _fits(value, each)]
    if not fitting:
        return _wrong_type(value, info, path)
    structs = [each for each in fitting if isinstance(each, inspect.StructType)]
    if isinstance(value, dict) and structs:
        return _find_in_structs(value, structs, path)
    problems = [_find(value, each, path) for each in fitting]
    if None in problems:
        return None
    literals = [choice for each in fitting if isinstance(each, inspect.LiteralType) for choice in each.values]
    return unsupported_value(path, value, literals) if len(problems) > 1 and literals else problems[0]


def _find_in_structs(value: dict[str, object], structs: list[inspect.StructType], path: str) -> ApiProblem | None:
    tag_field = structs[0].tag_field
    if len(structs) == 1 and tag_field is None:
        return _find_in_struct(value, structs[0], path)
    assert tag_field is not None  # msgspec builds no union of structs without tags
    if tag_field not in value:
        return missing_parameter(_child(path, tag_field))
    tag = value[tag_field]
    for each in structs:
        if each.tag == tag:
            return _find_in_struct(value, each, path)
    return unsupported_value(_child(path, tag_field), tag, [each.tag for each in structs])


def _find_in_struct(value: dict[str, object], info: inspect.StructType, path: str) -> ApiProblem | None:
    fields = {field.encode_name: field for field in info.fields}
    if info.tag_field is not None:
        tag = value.get(info.tag_field)
        if tag is None:
            return missing_parameter(_child(path, info.tag_field))
        if tag != info.tag:
            return unsupported_value(_child(path, info.tag_field), tag, [info.tag])
    for name, field in fields.items():
        if field.required and name not in value:
            return missing_parameter(_child(path, name))
    for name, member in value.items():
        if name == info.tag_field:
            continue
        if name not in fields:
            if info.forbid_unknown_fields:
                return unknown_parameter(_child(path, name))
            continue
        problem = _find(member, fields[name].type, _child(path, name))
        if problem is not None:
            return problem
    return None


def _find_in_list(value: list[object], info: inspect.ListType | inspect.VarTupleType, path: str) -> ApiProblem | None:
    for index, member in enumerate(value):
        problem = _find(member, info.item_type, f"{path}[{index}]")
        if problem is not None:
            return problem
    return _length_problem(len(value), info.min_length, info.max_length, path, "array", "items")


def _find_in_dict(value: dict[str, object], info: inspect.DictType, path: str) -> ApiProblem | None:
    for name, member in value.items():
        problem = _find(name, info.key_type, _child(path, name)) or _find(member, info.value_type, _child(path, name))
        if problem is not None:
            return problem
    return _length_problem(len(value), info.min_length, info.max_length, path, "object", "members")


def _find_in_text(value: str, info: inspect.StrType, path: str) -> ApiProblem | None:
    if info.pattern is not None and not re.search(info.pattern, value):
        return invalid(path, f"Invalid '{path}': {_show(value)} does not match the pattern '{info.pattern}'.")
    return _length_problem(len(value), info.min_length, info.max_length, path, "string", "characters")


def _length_problem(
    count: int, least: int | None, most: int | None, path: str, what: str, unit: str
) -> ApiProblem | None:
    if least is not None and count < least:
        return invalid(path, f"Invalid '{path}': {what} too short. Expected at least {least} {unit}, but got {count}.")
    if most is not None and count > most:
        return invalid(path, f"Invalid '{path}': {what} too long. Expected at most {most} {unit}, but got {count}.")
    return None


def _find_in_number(value: Any, info: inspect.IntType | inspect.FloatType, path: str) -> ApiProblem | None:
    kind = "integer" if isinstance(info, inspect.IntType) else "number"
    if isinstance(info, inspect.FloatType) and abs(value) > sys.float_info.max:
        return invalid(path, f"Invalid '{path}': {kind} above maximum value. Expected a value that fits into 64 bits.")
    if info.ge is not None and not value >= info.ge:
        return invalid(path, f"Invalid '{path}': {kind} below minimum value. Expected a value >= {info.ge}.")
    if info.le is not None and not value <= info.le:
        return invalid(path, f"Invalid '{path}': {kind} above maximum value. Expected a value <= {info.le}.")
    return None
