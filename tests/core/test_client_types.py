"""Every parameter has a type that says what it does, and the types hold together."""

from __future__ import annotations

import ast
import inspect

import msgspec
import pytest

from offhook import types
from offhook.client import params
from offhook.client.sync_calls import Calls
from offhook.wire import calls, session
from offhook.wire.session import Wire


@pytest.mark.parametrize("module", [session, calls, params], ids=lambda module: module.__name__)
def test_every_member_of_a_parameter_is_described(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    seen = 0
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or not issubclass(getattr(module, node.name), Wire):
            continue
        for member, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(member, ast.AnnAssign):
                described = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                assert described, f"{node.name}.{ast.unparse(member.target)}"
                seen += 1
    assert seen


def test_parameters_are_those_of_the_server() -> None:
    assert types.CallAcceptParams is session.SessionParams
    assert types.CallRejectParams is calls.RejectParams
    assert types.CallReferParams is calls.ReferParams


def test_the_parameters_of_a_method_are_the_members_of_its_structure() -> None:
    for name, struct in (
        ("accept", types.CallAcceptParams),
        ("refer", types.CallReferParams),
        ("reject", types.CallRejectParams),
        ("create", types.CallCreateParams),
    ):
        own = set(inspect.signature(getattr(Calls, name)).parameters)
        shared = set(inspect.signature(Calls.hangup).parameters)
        assert own - shared == {member.name for member in msgspec.structs.fields(struct)} - {"offhook"}


def test_absent_and_none_are_different() -> None:
    absent = types.CallAcceptParams(type="realtime")
    none = types.CallAcceptParams(type="realtime", tracing=None)
    assert absent.tracing is types.UNSET
    assert msgspec.json.encode(absent) == b'{"type":"realtime"}'
    assert msgspec.json.encode(none) == b'{"type":"realtime","tracing":null}'
    assert absent != none
