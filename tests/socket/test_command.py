"""The offhook command as a person runs it: what it prints, where, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.socket.wyoming_host import reference

from offhook import doctor
from offhook.audio.wav import read_wav, write_wav
from offhook.config import Config
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.fallback import Seat
from offhook.model.interface import Sound, Speech, Words
from offhook.model.local.voices import assets
from offhook.model.local.whisper.folder import is_installed
from offhook.model.relay import RelayBackend, UpstreamOptions
from offhook.model.scripted import ScriptedEar, ScriptedVoice
from offhook.model.settings import Role
from offhook.testing.phone import CallFailedError, Phone
from offhook.testing.voice import voice
from offhook.wire.session import TranscriptionEcho, Voice

PATIENCE_S = 30
LOCAL = is_installed("tiny.en") and assets.is_installed()
NO_FOLDER = "--whisper: /nowhere holds no" if is_installed("/nowhere") else "--models: local speech models are not"
NOBODY = "http://127.0.0.1:1/v1"
ANY = ("--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--models", "scripted")


async def offhook(*arguments: str, **environment: str) -> Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFHOOK_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "offhook", *arguments, stdout=PIPE, stderr=PIPE, env=clean | environment
    )


async def ends(process: Process) -> tuple[int, str, str]:
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    async def whole() -> tuple[int, str, str]:
        return await ends(await offhook(*arguments, **environment))

    return asyncio.run(whole())


@contextlib.asynccontextmanager
async def serving(*arguments: str, **environment: str) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    process = await offhook("serve", *ANY, "--ready-json", *arguments, **environment)
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        yield process, ready
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def refusal(phone: Phone, target: str) -> int | None:
    """Call until a call is refused; return the status."""
    while True:
        call = await phone.dial(target)
        try:
            await call.answered()
        except CallFailedError as refused:
            return refused.status
        await call.hang_up()


def session_file(tmp_path: Path) -> str:
    path = tmp_path / "session.json"
    path.write_text('{"type": "realtime"}', encoding="utf-8")
    return f"always:{path}"


def test_ready_json_is_exactly_one_line_on_standard_output() -> None:
    async def test() -> None:
        async with serving() as (process, ready):
            assert set(ready) == {"http", "sip", "pid", "api_key", "webhook_secret"}
            assert ready["http"].startswith("http://127.0.0.1:")
            assert ready["sip"].startswith("sip:127.0.0.1:")
            assert int(ready["pid"]) == process.pid
            assert ready["webhook_secret"].startswith("whsec_")
            process.send_signal(signal.SIGTERM)
            status, out, _ = await ends(process)
            assert (status, out) == (0, "")

    asyncio.run(test())


def test_without_ready_json_people_are_told_how_to_call_it() -> None:
    async def test() -> None:
        process = await offhook("serve", *ANY)
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        status, _, err = await ends(process)
        assert status == 0
        assert "takes calls" in lines[0]
        assert "sip:127.0.0.1:" in lines[1]
        assert "scripted: callers hear tones, and nobody understands them" in lines[3]
        assert "sk-" in lines[4]
        assert "nobody understands them" not in err, "scripted was asked for"

    asyncio.run(test())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--http", "0.0.0.0:0"), "--api-key: is needed"),
        (("--models", "local", "--tts-url", NOBODY, "--whisper", "/nowhere"), NO_FOLDER),
        (("--webhook-url", "file:///etc/passwd"), "--webhook-url"),
        (
            ("--llm-url", "http://127.0.0.1:1", "--tts-url", "http://127.0.0.1:1", "--tts-rate", "22001"),
            "--tts-rate: sound of 22001 Hz cannot be played",
        ),
        (("--stt-url", "http://127.0.0.1:1/v1"), "--llm-url: is missing"),
        (("--answer", "always:nowhere.json"), "--answer: cannot read"),
        (("--config", "nowhere.toml"), "--config: cannot read"),
        (("--rtp-ports", "20001-20001"), "--rtp-ports"),
    ],
)
def test_what_cannot_work_refuses_to_start_with_the_line_that_mends_it(arguments: tuple[str, ...], says: str) -> None:
    status, out, err = run("serve", *ANY, *arguments)
    assert status == 2
    assert out == ""
    assert says in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_named() -> None:
    async def test() -> None:
        async with serving() as (_, ready):
            address = ready["http"].removeprefix("http://")
            status, _, err = await ends(await offhook("serve", *ANY, "--http", address))
            assert status == 2
            assert f"cannot listen on {address}" in err
            sip = ready["sip"].removeprefix("sip:")
            status, _, err = await ends(await offhook("serve", *ANY, "--sip", sip))
            assert status == 2
            assert "cannot bind 127.0.0.1" in err

    asyncio.run(test())


def test_a_setting_from_the_environment_counts() -> None:
    status, _, err = run("serve", OFFHOOK_RING_STATUS="99")
    assert status == 2
    assert "OFFHOOK_RING_STATUS" in err


def test_sigterm_lets_calls_go_on_and_a_second_one_ends_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving("--answer", session_file(tmp_path)) as (process, ready), Phone() as phone:
            call = await phone.dial(ready["sip"])
            await call.answered()
            process.send_signal(signal.SIGTERM)
            # New calls are refused, the old one goes on.
            assert await refusal(phone, ready["sip"]) == 503
            assert call.end is None
            process.send_signal(signal.SIGTERM)
            end = await call.ended()
            assert "server_stopped" in end.reason
            status, _, _ = await ends(process)
            assert status == 0

    asyncio.run(test())


def test_draining_ends_by_itself_with_the_last_call(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving("--answer", session_file(tmp_path)) as (process, ready), Phone() as phone:
            call = await phone.dial(ready["sip"])
            await call.answered()
            process.send_signal(signal.SIGTERM)
            await call.hang_up()
            assert (await ends(process))[0] == 0

    asyncio.run(test())


@pytest.mark.real_time(reruns=3)
def test_offhook_call_speaks_listens_records_and_measures(tmp_path: Path) -> None:
    async def test() -> None:
        said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
        said.write_bytes(write_wav(voice(1000), 8000))
        async with serving("--answer", session_file(tmp_path)) as (_, ready):
            arguments = ("--say", str(said), "--hear", str(heard), "--dtmf", "1", "--json")
            status, out, err = await ends(await offhook("call", ready["sip"], *arguments))
        assert status == 0, err
        figures = json.loads(out)
        assert len(figures["turn_ms"]) == 1
        assert figures["turn_ms"][0] >= 400
        assert figures["longest_gap_ms"] <= 40
        assert figures["packets_lost"] == 0
        recording = read_wav(heard.read_bytes())
        assert recording.samples.shape[1] == 2
        assert recording.rate_hz == 8000

    asyncio.run(test())


def test_offhook_call_with_nothing_but_keys_presses_them_all(tmp_path: Path) -> None:
    async def test() -> None:
        store = tmp_path / "store"
        async with serving("--answer", session_file(tmp_path), "--store", str(store)) as (process, ready):
            status, out, err = await ends(await offhook("call", ready["sip"], "--dtmf", "123456#"))
            assert status == 0, out + err
            process.send_signal(signal.SIGTERM)
            await ends(process)
        (journal,) = (store / "journals").iterdir()
        lines = map(json.loads, journal.read_text(encoding="utf-8").splitlines()[1:])
        pressed = [line["data"]["digit"] for line in lines if line["in"] == "session.DigitPressed"]
        assert "".join(pressed) == "123456#"

    asyncio.run(test())


def test_offhook_call_to_a_name_that_nobody_knows_says_so() -> None:
    status, _, err = run("call", "sip:x@nosuch.invalid")
    assert status == 1
    assert "nosuch.invalid" in err
    assert "Traceback" not in err


def test_offhook_call_shows_sip_and_speech_on_one_line_of_time() -> None:
    async def test() -> None:
        async with serving("--answer", "echo") as (_, ready):
            _, out, _ = await ends(await offhook("call", ready["sip"], "--hangup-after", "0.1"))
        told = [" ".join(line.partition(" s  ")[2].split()) for line in out.splitlines()]
        order = ["caller ---> INVITE", "caller <--- 200 OK", "caller ---> ACK", "caller ---> BYE"]
        places = [told.index(line) for line in order]
        assert places == sorted(places)
        assert any("hears that somebody picks up" in line for line in told[places[1] : places[3]])

    asyncio.run(test())


def test_offhook_call_says_why_a_call_failed() -> None:
    async def test() -> None:
        async with serving("--answer", "reject:486") as (_, ready):
            status, out, _ = await ends(await offhook("call", ready["sip"]))
        assert status == 1
        assert "486 Busy Here" in out

    asyncio.run(test())


def test_a_call_is_kept_and_its_journal_replays(tmp_path: Path) -> None:
    async def test() -> str:
        store = tmp_path / "store"
        said = tmp_path / "said.wav"
        said.write_bytes(write_wav(voice(800), 8000))
        arguments = ("--answer", session_file(tmp_path), "--store", str(store))
        async with serving(*arguments) as (process, ready):
            await ends(await offhook("call", ready["sip"], "--say", str(said)))
            process.send_signal(signal.SIGTERM)
            await ends(process)
        (journal,) = (store / "journals").iterdir()
        status, out, _ = await ends(await offhook("replay", str(journal)))
        assert status == 0
        assert "Everything followed as recorded." in out
        assert "input_audio_buffer.speech_started" in out
        spoiled = journal.with_suffix(".spoiled")
        spoiled.write_text(
            journal.read_text(encoding="utf-8").replace("speech_started", "speech_begun"), encoding="utf-8"
        )
        status, out, _ = await ends(await offhook("replay", str(spoiled)))
        assert status == 1
        assert "1 of" in out
        return str(store)

    asyncio.run(test())
    import sqlite3

    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "calls.sqlite3")) as database:
        (record,) = [json.loads(row[0]) for row in database.execute("SELECT record FROM calls")]
    assert record["end"]["result"] == "completed"


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("hello", encoding="utf-8")
    status, _, err = run("replay", str(path))
    assert status == 1
    assert "no journal" in err
    assert run("replay", str(tmp_path / "none"))[0] == 2


def test_doctor_finds_what_is_wrong_and_says_what_to_mend() -> None:
    status, out, err = run(
        "doctor", *ANY, "--webhook-url", "http://127.0.0.1:1/hook", "--max-calls", "20", "--rtp-ports", "10000-10011"
    )
    assert status == 1, err
    assert re.search(r"^  ok  HTTP port ", out, re.MULTILINE)
    assert re.search(r"^ BAD  webhook .*no connection", out, re.MULTILINE)
    assert "widen --rtp-ports" in out


@pytest.mark.parametrize(
    ("projects", "says"),
    [
        ('[projects.p1]\napi_keys = ["a"]\nwebhook_url = "http://127.0.0.1:1/"', "are missing for http://127.0.0.1:1/"),
        ('[projects.p1]\napi_keys = ["a"]\n[projects.p2]\napi_keys = ["b", "a"]', "holds a key of project p1 too"),
    ],
)
def test_doctor_finds_the_projects_that_serve_refuses(tmp_path: Path, projects: str, says: str) -> None:
    path = tmp_path / "offhook.toml"
    path.write_text(projects, encoding="utf-8")
    status, _, err = run("serve", *ANY, "--config", str(path))
    assert status == 2
    assert says in err
    status, out, err = run("doctor", *ANY, "--config", str(path))
    assert status == 1, err
    assert re.search(rf"^ BAD  projects?\S* .*{re.escape(says)}", out, re.MULTILINE), out


def test_doctor_finds_a_store_that_serve_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    store = ("--store", str(tmp_path / "file" / "store"))
    assert run("serve", *ANY, *store)[0] == 2
    status, out, err = run("doctor", *ANY, *store)
    assert status == 1, err
    assert re.search(r"^ BAD  --store .*cannot keep calls", out, re.MULTILINE), out


def test_commands_end_in_good_order_right_after_a_failed_request() -> None:
    """In a tenth to a third of runs: Fatal Python error: PyGILState_Release, and status 134."""

    async def test() -> None:
        for host in ("127.0.0.1:1", "h_h"):
            arguments = ("doctor", *ANY, "--webhook-url", f"http://{host}/", "--webhook-seconds", "1")
            for _ in range(2):
                several = [await offhook(*arguments) for _ in range(2)]
                for process in several:
                    status, out, err = await ends(process)
                    assert (status, err) == (1, "")
                    assert " BAD  webhook " in out

    asyncio.run(test())


def test_doctor_tries_every_backend_that_stands_in_for_another(tmp_path: Path) -> None:
    path = tmp_path / "offhook.toml"
    path.write_text(f"llm = ['away', 'demo']\n[backends.away]\nplugin = 'chat'\nurl = '{NOBODY}'\n", encoding="utf-8")
    status, out, err = run("doctor", *ANY, "--config", str(path))
    assert (status, err) == (1, "")
    assert re.search(r"BAD +llm away +The language model cannot be reached", out)
    assert re.search(r"ok +llm demo", out)
    assert re.search(r"ok +speaking", out), "one of them works"


def test_doctor_tries_what_stands_in_for_a_relay() -> None:
    relay = ("--relay-url", NOBODY.replace("http", "ws"), "--backend", "parts", "--llm", "demo")
    status, out, err = run("doctor", *ANY, *relay)
    assert (status, err) == (1, "")
    assert re.search(r"BAD +relay +openai at ", out)
    assert re.search(r"ok +speaking", out), out


def test_doctor_finds_a_speech_server_that_is_away() -> None:
    status, out, err = run("doctor", *ANY, "--llm", "demo", "--tts-url", "wyoming://127.0.0.1:1")
    assert (status, err) == (1, "")
    assert re.search(r"BAD +models +The voice cannot be reached", out)


def test_serve_and_doctor_refuse_a_speech_server_of_the_other_kind() -> None:
    async def test() -> None:
        async with reference(services=("asr",)) as host:
            settings = (*ANY, "--models", "scripted", "--llm-url", NOBODY, "--tts-url", host.url)
            status, _, err = await ends(await offhook("serve", *settings))
            assert status == 2
            assert f"\noffhook: --tts-url: {host.url} has speech to text, no text to speech\n" in err, err
            status, out, err = await ends(await offhook("doctor", *settings))
            assert (status, err) == (1, "")
            assert re.search(
                rf"BAD +--tts-url +{host.url} has speech to text, no text to speech\n +-> name a server that", out
            )

    asyncio.run(test())


class EndlessEar(ScriptedEar):
    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        await asyncio.Event().wait()
        yield Words("never")


class EndlessVoice(ScriptedVoice):
    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        await asyncio.Event().wait()
        yield Sound(b"", 8000)


@pytest.mark.parametrize(
    ("ear", "tongue", "what"),
    [(EndlessEar(), ScriptedVoice(), "hearing"), (ScriptedEar(), EndlessVoice(), "models")],
    ids=["an ear", "a voice"],
)
def test_doctor_waits_for_no_model_for_ever(
    monkeypatch: pytest.MonkeyPatch, ear: ScriptedEar, tongue: ScriptedVoice, what: str
) -> None:
    monkeypatch.setattr(doctor, "TRIAL_S", 1.0)

    async def test() -> None:
        backend = Cascade("c", ear, DemoBrain(), tongue)
        async with asyncio.timeout(PATIENCE_S):
            found = (await doctor._conversation(backend, Config()))[-1]
        assert (found.what, "within 1 s" in found.detail) == (what, True)

    asyncio.run(test())


@pytest.mark.parametrize(("role", "part"), [("stt", EndlessEar()), ("tts", EndlessVoice())])
def test_doctor_waits_for_none_of_several_backends_for_ever(
    monkeypatch: pytest.MonkeyPatch, role: Role, part: EndlessEar | EndlessVoice
) -> None:
    monkeypatch.setattr(doctor, "TRIAL_S", 1.0)

    async def test() -> None:
        async with asyncio.timeout(PATIENCE_S):
            found = await doctor._try_backend(role, Seat("slow", part, 1.0), Config())
        assert (found.state, found.what) == ("BAD", f"{role} slow")
        assert "no answer within 1 s" in found.detail

    asyncio.run(test())


def test_doctor_waits_for_no_upstream_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIAL_S", 1.0)

    over = asyncio.Event()

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async def test() -> None:
        async with asyncio.timeout(PATIENCE_S), await asyncio.start_server(mute, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            backend = RelayBackend(UpstreamOptions(url, "openai", "", None, PATIENCE_S))
            try:
                found = await doctor._try_upstream(backend, Config())
            finally:
                over.set()
            assert (found.state, found.what) == ("BAD", "relay")
            assert "no answer within 1 s" in found.detail

    asyncio.run(test())


def test_doctor_is_content_with_a_good_set_up() -> None:
    status, out, err = run("doctor", *ANY, "--answer", "reject:486", "--api-key", "k")
    assert status == 0, err
    assert "BAD" not in out


@pytest.mark.skipif(not LOCAL, reason="local speech is not installed: offhook[local]")
def test_doctor_lets_the_local_models_speak_and_hear() -> None:
    status, out, err = run("doctor", *ANY, "--models", "local", "--answer", "reject:486", "--api-key", "k")
    assert status == 0, out + err
    assert re.search(r"^  ok  ear +whisper tiny.en, \d worker", out, re.MULTILINE), out
    assert re.search(r"^note  brain +demo", out, re.MULTILINE), out
    assert re.search(r"^  ok  hearing .*[Gg]ood morning", out, re.MULTILINE), out


@pytest.mark.skipif(LOCAL, reason="local speech is installed")
def test_doctor_says_how_to_install_local_models() -> None:
    status, out, _ = run("doctor", *ANY, "--models", "local", "--answer", "reject:486", "--api-key", "k")
    assert status == 1
    assert "-> pip install 'offhook[local]'" in out


def test_help_fits_a_terminal_and_names_every_command() -> None:
    status, out, _ = run("--help")
    assert status == 0
    for command in ("serve", "call", "doctor", "replay"):
        assert command in out
    status, out, _ = run("serve", "--help")
    assert status == 0
    assert "--ring-seconds" in out
