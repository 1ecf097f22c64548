"""``offhook doctor``: check what a server needs before calls come in, and say what to mend."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from offhook.call.tokens import SEED_BYTES, TokenStream
from offhook.config import Config
from offhook.errors import ConfigError, OffhookError
from offhook.host.answer import AnswerByWebhook
from offhook.host.clips import load_clips
from offhook.media import noise
from offhook.media.vad import load_silero
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DEMO
from offhook.model.fallback import Seat, closing_outputs
from offhook.model.interface import Backend, ModelError, Speech
from offhook.model.local.voices import assets
from offhook.model.registry import choose_backend
from offhook.model.relay import RelayBackend, UpstreamLostError
from offhook.model.scripted import SCRIPTED
from offhook.model.settings import Role
from offhook.model_settings import model_options
from offhook.net.address import bind_pair
from offhook.net.rtp import PortRange, raise_descriptor_limit
from offhook.server import agent_options, own_defaults, projects_of
from offhook.session.inputs import AudioProduced
from offhook.session.outputs import Generate
from offhook.sip.agent import UserAgent
from offhook.store.folder import FolderStore
from offhook.telemetry.log import FactLog, set_up_logging
from offhook.webhook.delivery import Attempt, Endpoint, Message, WebhookOptions, WebhookSender
from offhook.wire.items import InputText
from offhook.wire.items import Message as Item
from offhook.wire.signature import webhook_key

DESCRIPTORS_A_CALL: Final = 2
# A model on this machine reads its instructions for a while; more than this no caller waits.
TRIAL_S: Final = 30.0
_SENTENCE: Final = "Good morning, how can I help you?"
_SHOWN_CHARS: Final = 60
_GOOD, _BAD, _NOTE = "ok", "BAD", "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``mend`` says what to do about it."""

    state: str
    what: str
    detail: str
    mend: str = ""


def examine(config: Config) -> int:
    """Print what was found; the exit status is 1 when a call could not be taken."""
    set_up_logging("error")  # the findings say it all
    findings = asyncio.run(_examine(config))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        sys.stdout.write(f"{finding.state:>4}  {finding.what:<{width}}  {finding.detail}\n")
        if finding.mend:
            sys.stdout.write(f"{'':>{width + 8}}-> {finding.mend}\n")
    return 1 if any(finding.state == _BAD for finding in findings) else 0


async def _examine(config: Config) -> list[Finding]:
    checks: list[Callable[[Config], Awaitable[list[Finding]]]] = [
        _http_port,
        _sip_port,
        _rtp_ports,
        _descriptors,
        _detector,
        _noise_reduction,
        _models,
        _fillers,
        _projects,
        _store,
        _webhook,
        _network,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += await check(config)
        except ConfigError as problem:
            findings.append(Finding(_BAD, problem.key, problem.message, problem.mend))
        except OffhookError as problem:
            findings.append(Finding(_BAD, check.__name__.strip("_"), str(problem)))
    return findings


async def _http_port(config: Config) -> list[Finding]:
    family = socket.AF_INET6 if ":" in config.http.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.http.host, config.http.port))
        except OSError as failure:
            return [Finding(_BAD, "HTTP port", f"{config.http}: {failure.strerror}", "choose another with --http")]
    return [Finding(_GOOD, "HTTP port", str(config.http))]


async def _sip_port(config: Config) -> list[Finding]:
    UserAgent(agent_options(config), TokenStream(bytes(SEED_BYTES)))
    for taken in bind_pair(config.sip.host, config.sip.port, 65536):
        taken.close()
    return [Finding(_GOOD, "SIP port", f"{config.sip} on UDP and TCP")]


async def _rtp_ports(config: Config) -> list[Finding]:
    ports = PortRange(config.sip.host, *config.rtp_ports)
    ports.open(0.0).close(0.0)
    found = [Finding(_GOOD, "RTP ports", f"{ports.pairs} calls fit into {config.rtp_ports[0]}-{config.rtp_ports[1]}")]
    if config.max_calls > ports.pairs:
        mend = f"widen --rtp-ports to {2 * config.max_calls} ports"
        found.append(Finding(_BAD, "RTP ports", f"too few for --max-calls {config.max_calls}", mend))
    return found


async def _descriptors(config: Config) -> list[Finding]:
    limit = raise_descriptor_limit()
    wanted = DESCRIPTORS_A_CALL * (config.max_calls or 500) + 100
    if limit < wanted:
        detail = f"{limit} may be open, {wanted} are wanted"
        return [Finding(_NOTE, "open files", detail, "raise the hard limit: ulimit -Hn")]
    return [Finding(_GOOD, "open files", f"{limit} may be open")]


async def _detector(_: Config) -> list[Finding]:
    began = time.perf_counter()
    load_silero()
    return [Finding(_GOOD, "voice detector", f"loaded in {(time.perf_counter() - began) * 1000:.0f} ms")]


async def _noise_reduction(_: Config) -> list[Finding]:
    if noise.load_processors() is None:
        return [
            Finding(_NOTE, "noise reduction", "not installed: sessions that ask for it go on without", noise.INSTALL)
        ]
    return [Finding(_GOOD, "noise reduction", "WebRTC's")]


async def _models(config: Config) -> list[Finding]:
    return await _try_model(choose_backend(model_options(config)), config)


async def _try_model(backend: Backend, config: Config) -> list[Finding]:
    if backend.name == SCRIPTED:
        mend = "" if config.models == "scripted" else f"{assets.INSTALL}, or give --llm-url, --stt-url and --tts-url"
        return [Finding(_NOTE, "models", "scripted: callers hear tones, and nobody understands them", mend)]
    if isinstance(backend, RelayBackend):
        stand_in = backend.reserve.stand_in
        return [await _try_upstream(backend, config), *(await _try_model(stand_in, config) if stand_in else [])]
    began = time.perf_counter()
    await backend.start()
    try:
        found = _parts(backend, (time.perf_counter() - began) * 1000)
        for order in backend.orders if isinstance(backend, Cascade) else []:
            # A conversation tries only the first that works.
            found += [await _try_backend(order.role, seat, config) for seat in order.seats if len(order.seats) > 1]
        return found + await _conversation(backend, config)
    finally:
        await backend.stop()


async def _try_upstream(backend: RelayBackend, config: Config) -> Finding:
    report = backend.report()
    where = f"{report['dialect']} at {report['upstream']}"
    began = time.perf_counter()
    try:
        async with asyncio.timeout(TRIAL_S):
            await backend.greeting(config.default_model)
    except (UpstreamLostError, TimeoutError) as failure:
        why = str(failure) or f"no answer within {TRIAL_S:g} s"
        return Finding(_BAD, "relay", f"{where}: {why}", "check --relay-url, -key, -model and -dialect")
    return Finding(_GOOD, "relay", f"{where}, a session in {(time.perf_counter() - began) * 1000:.0f} ms")


def _parts(backend: Backend, took_ms: float) -> list[Finding]:
    found = []
    for role, part in backend.report().items():
        if not isinstance(part, dict) or "name" not in part:
            continue  # of a backend that has no parts
        if part["name"] == DEMO:
            found.append(
                Finding(
                    _NOTE, role, "demo: it repeats what callers say", "give --llm-url or --llm-gguf for a conversation"
                )
            )
        else:
            workers = f", {part['workers']} worker(s), ready in {took_ms:.0f} ms" if "workers" in part else ""
            found.append(Finding(_GOOD, role, part["name"] + workers))
    return found


async def _try_backend(role: Role, seat: Seat[Any], config: Config) -> Finding:
    """Let one of several that stand in for each other do a little."""
    what = f"{role} {seat.name}"
    if not seat.is_ready:
        return Finding(_NOTE, what, "cannot stand in: it did not start")
    try:
        async with asyncio.timeout(TRIAL_S):
            match role:
                case "stt":
                    outputs = seat.part.transcribe(Speech(bytes(2 * 8000), 8000), None)
                case "llm":
                    outputs = seat.part.generate(_request(config))
                case _:
                    outputs = seat.part.speak(_SENTENCE, config.voice, 1.0)
            async with closing_outputs(outputs) as outputs:
                async for _ in outputs:
                    pass
    except TimeoutError:
        return Finding(_BAD, what, f"{seat.model} gave no answer within {TRIAL_S:g} s", "check that it runs")
    except ModelError as failure:
        return Finding(_BAD, what, failure.message, "check its URL, its key and that it runs, or do not name it")
    except Exception as bug:  # a plugin is not ours
        return Finding(_BAD, what, f"failed: {type(bug).__name__}: {bug}", "mend it, or do not name it")
    return Finding(_GOOD, what, seat.model)


def _request(config: Config) -> Generate:
    return Generate(
        run=1,
        response_id="resp_1",
        instructions=f'Say: "{_SENTENCE}"',
        directed=True,
        items=(Item(id="item_1", role="user", content=(InputText(text="Hello?"),)),),
        tools=(),
        tool_choice="auto",
        max_output_tokens=64,
        modality="audio",
        voice=config.voice,
        speed=1.0,
        model=config.default_model,
    )


async def _conversation(backend: Backend, config: Config) -> list[Finding]:
    """Let the models say something, and let them hear it."""
    began = time.perf_counter()
    sounds: list[AudioProduced] = []
    took_ms = 0.0
    try:
        async with asyncio.timeout(TRIAL_S), closing_outputs(backend.respond(_request(config))) as outputs:
            async for output in outputs:
                if isinstance(output, AudioProduced):
                    took_ms = took_ms or (time.perf_counter() - began) * 1000
                    sounds.append(output)
    except TimeoutError:
        return [Finding(_BAD, "models", f"{backend.name} was not done within {TRIAL_S:g} s", "check that it runs")]
    except ModelError as failure:
        return [Finding(_BAD, "models", failure.message, "check its URL, its key and that it runs")]
    if not sounds:
        return [Finding(_BAD, "models", f"{backend.name} said nothing")]
    said = Finding(_GOOD, "speaking", f"first sound after {took_ms:.0f} ms")
    speech = Speech(b"".join(sound.pcm for sound in sounds), sounds[0].rate_hz)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(TRIAL_S), closing_outputs(backend.transcribe(speech, None)) as pieces:
            heard = "".join([words.text async for words in pieces])
    except TimeoutError:
        return [said, Finding(_BAD, "hearing", f"no end of the words within {TRIAL_S:g} s", "check that it runs")]
    except ModelError as failure:
        return [said, Finding(_BAD, "hearing", failure.message, "check its URL, its key and that it runs")]
    if not heard:
        return [said, Finding(_NOTE, "hearing", "no words were understood in what was said", "try it with a call")]
    took_ms = (time.perf_counter() - began) * 1000
    heard = "".join(char for char in heard if char.isprintable())[:_SHOWN_CHARS]
    return [said, Finding(_GOOD, "hearing", f"{speech.seconds:.1f} s understood in {took_ms:.0f} ms: {heard}")]


async def _fillers(config: Config) -> list[Finding]:
    clips = load_clips(config.clips)
    own_defaults(config, clips)
    return [Finding(_GOOD, "clips", ", ".join(clips) or "none")] if config.clips is not None else []


async def _projects(config: Config) -> list[Finding]:
    projects_of(config, "key", "secret")
    count = sum(len(project.api_keys) for project in config.projects) or len(config.api_key)
    if count:
        return [Finding(_GOOD, "API keys", f"{count} of {len(config.projects) or 1} project(s)")]
    return [Finding(_NOTE, "API keys", "none is set: one is made at every start", "give --api-key to keep one")]


async def _store(config: Config) -> list[Finding]:
    if config.store is None:
        return []
    FolderStore(config.store, FactLog("doctor")).close()
    return [Finding(_GOOD, "store", f"calls are kept in {config.store}")]


async def _webhook(config: Config) -> list[Finding]:
    if not isinstance(config.answer, AnswerByWebhook):
        return [Finding(_NOTE, "webhook", "not used: the server decides by itself")]
    endpoints = [(project.webhook_url, project.webhook_secrets) for project in config.projects]
    endpoints = endpoints or [(config.webhook_url, config.webhook_secret)]
    return [await _try_endpoint(config, url, secrets) for url, secrets in endpoints]


async def _try_endpoint(config: Config, url: str | None, secrets: tuple[str, ...]) -> Finding:
    if url is None:
        return Finding(
            _NOTE, "webhook", "none is set: calls ring until somebody accepts them by id", "give --webhook-url"
        )
    attempts: list[Attempt] = []
    sender = WebhookSender(
        WebhookOptions(config.webhook_seconds), user_agent="offhook-doctor", clock=time.time, jitter=lambda: 0.0
    )
    sender.start()
    try:
        endpoint = Endpoint(url, tuple(map(webhook_key, secrets or ("doctor",))))
        # Signed, but of a type that no application acts on.
        body = b'{"object":"event","id":"evt_doctor","type":"offhook.doctor","created_at":0,"data":{}}'
        done = asyncio.Event()

        def tell(attempt: Attempt) -> None:
            attempts.append(attempt)
            done.set()

        sender.submit(endpoint, Message("wh_doctor", body), FactLog("doctor"), wanted=lambda: not attempts, tell=tell)
        await done.wait()
    finally:
        await sender.stop()
    attempt = attempts[0]
    if attempt.delivered:
        return Finding(_GOOD, "webhook", f"{url} answered {attempt.status}")
    if attempt.status == 400:
        return Finding(
            _NOTE, "webhook", f"{url} answered 400 to a test event", "is --webhook-secret the application's?"
        )
    detail = f"{url}: {attempt.why}" + (f" ({attempt.status})" if attempt.status else "")
    return Finding(_BAD, "webhook", detail, "start the application, or correct --webhook-url")


async def _network(config: Config) -> list[Finding]:
    if config.sip.is_loopback:
        return [Finding(_NOTE, "reach", "only this machine can call", "listen on an address of the network with --sip")]
    found = []
    if not config.allow:
        found.append(
            Finding(_NOTE, "reach", "anybody may call, scanners will", "give the networks of your trunks with --allow")
        )
    if config.public_address is None:
        found.append(
            Finding(_NOTE, "reach", f"callers are told {config.sip.host}", "behind a NAT give --public-address")
        )
    return found
