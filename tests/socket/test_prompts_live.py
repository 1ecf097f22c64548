"""A stored prompt on a call: from the folder to what the session says, over the server's own routes and the SDK's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openai import BadRequestError
from tests.socket.live import Live, Socket, run_jumping

from offhook.testing.phone import CallFailedError


def test_a_call_speaks_from_a_stored_prompt(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        place = "/offhook/v1/prompts/pmpt_1/versions"
        for words in ("Old {{name}}.", "New {{name}}."):
            answer = await one.http("POST", place, json={"instructions": words})
            assert answer.status_code == 201
        listed = (await one.http("GET", place)).json()["data"]
        assert [(each["version"], each["variables"]) for each in listed] == [("2", ["name"]), ("1", ["name"])]
        assert (await one.http("GET", place + "/1")).json()["instructions"] == "Old {{name}}."
        assert (await one.http("GET", place + "/3")).status_code == 404
        assert (await one.http("GET", "/offhook/v1/prompts", key=None)).status_code == 401

        call, call_id = await one.ring()
        with pytest.raises(BadRequestError) as caught:
            await one.calls.accept(call_id, type="realtime", prompt={"id": "pmpt_1"})
        assert caught.value.param == "session.prompt.variables.name"
        await one.calls.accept(call_id, type="realtime", prompt={"id": "pmpt_1", "variables": {"name": "Ada"}})
        await call.answered()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.session.update(session={"type": "realtime", "max_output_tokens": 100})
            session = (await socket.receive())["session"]
            assert session["instructions"] == "New Ada."
            assert session["prompt"] == {"id": "pmpt_1", "variables": {"name": "Ada"}}
            await connection.session.update(session={"type": "realtime", "prompt": {"id": "gone"}}, event_id="e1")
            error = (await socket.receive())["error"]
            assert (error["code"], error["param"], error["event_id"]) == ("prompt_not_found", "session.prompt.id", "e1")
        await call.hang_up()

    run_jumping(test, prompts=str(tmp_path))


def test_a_prompt_that_has_changed_under_a_server_that_answers_by_itself_costs_only_the_calls(tmp_path: Path) -> None:
    """Such a call is refused, and leaves no room taken behind."""
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet" / "1.md").write_text("Be kind.")
    session = tmp_path / "session.json"
    session.write_text(json.dumps({"type": "realtime", "prompt": {"id": "greet"}}))

    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()
        await call.hang_up()
        place = "/offhook/v1/prompts/greet/versions"
        assert (await one.http("POST", place, json={"instructions": "Be kind to {{name}}."})).status_code == 201
        with pytest.raises(CallFailedError) as caught:
            await (await one.dial()).answered()
        assert caught.value.status == 500
        assert one.server.directory.calls == 0
        assert (await one.http("POST", place, json={"instructions": "Be kind again."})).status_code == 201
        call = await one.dial()
        await call.answered()
        await call.hang_up()

    run_jumping(test, prompts=str(tmp_path), answer=f"always:{session}")
