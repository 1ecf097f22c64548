"""The wiring: every object of the server is built, started, drained and stopped here. Read this first.

A call's way through it: ``net.sip`` (a datagram) -> ``sip.agent`` -> ``host.telephone`` -> ``host.directory`` ->
``host.owner``, which asks ``call.machine`` and ``session.engine`` what to do, and has it done by ``webhook``, by
``model``, by ``host.line`` (the audio plane) and by the sockets of ``api``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from offhook._version import __version__
from offhook.api.app import build_app
from offhook.call.machine import CallOptions
from offhook.call.tokens import SEED_BYTES, TokenStream
from offhook.config import Config
from offhook.errors import ApiProblem, ConfigError
from offhook.host.admission import Admission
from offhook.host.answer import AnswerAlways, AnswerByWebhook
from offhook.host.client_secrets import ClientSecrets
from offhook.host.clips import load_clips
from offhook.host.cost import Prices
from offhook.host.directory import Directory
from offhook.host.line import PAUSE_MS, LineOptions, Lines
from offhook.host.preparing import Preparing
from offhook.host.project import Project, Projects, digest_key
from offhook.host.prompt import Prompts
from offhook.host.sampler import LoadSampler
from offhook.host.services import HostOptions, Services
from offhook.host.sessions import Sessions
from offhook.host.surroundings import THIS_MACHINE, Surroundings
from offhook.host.telephone import Telephone
from offhook.mcp.policy import McpOptions
from offhook.media.edge import Edge, LegOpened
from offhook.media.noise import load_processors
from offhook.media.plane import MediaPlane
from offhook.media.vad import load_silero
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DEMO
from offhook.model.fallback import call_report, stop_part
from offhook.model.interface import Capabilities
from offhook.model.relay import RelayBackend
from offhook.model.scripted import SCRIPTED
from offhook.model.turn_end import TurnEnds, load_turn_end
from offhook.model_settings import context_tokens, model_options
from offhook.net.address import parse_public_address
from offhook.net.http import HttpServer
from offhook.net.rtp import raise_descriptor_limit
from offhook.net.sip import SipTransportOptions
from offhook.net.tls import certificate_folder, local_certificate, tls_context
from offhook.session.listening import Listening
from offhook.session.options import EngineOptions
from offhook.session.settings import DEFAULT_INSTRUCTIONS, SessionDefaults
from offhook.sip.agent import UserAgent
from offhook.sip.options import AgentOptions, GuardOptions
from offhook.store.folder import FolderStore
from offhook.telemetry.log import FactLog, set_up_logging
from offhook.telemetry.otlp import OtlpExporter
from offhook.webhook.delivery import Endpoint, WebhookOptions
from offhook.wire.ids import Ids
from offhook.wire.own import Own, PlayClip
from offhook.wire.signature import webhook_key

# After the last BYE: its repetitions, and the answers to what still comes in.
FAREWELL_S: Final = 1.0
RETRY_AFTER_S: Final = 5


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody has to know to use the server; made keys and secrets are told only here.

    As JSON, ``https`` and ``certificate`` are left out where there is no TLS.
    """

    http: str
    sip: str
    pid: int
    api_key: str | None
    webhook_secret: str | None
    https: str | None = None
    certificate: str | None = None


class Server:
    """All of offhook in one object: ``start``, then ``drain`` and ``stop``."""

    def __init__(self, config: Config, around: Surroundings = THIS_MACHINE) -> None:
        self._config = config
        self._clock = around.clock
        self._log = FactLog("server")
        self._made_key = "sk-" + secrets.token_urlsafe(24)
        self._made_secret = "whsec_" + secrets.token_urlsafe(24).replace("-", "+").replace("_", "/")
        self._began_at = around.clock()
        self._background: set[asyncio.Task[None]] = set()
        self._wait_unknown = False
        self._draining = False

        self.backend = around.backend(model_options(config))
        self.turn_ends = TurnEnds(load_turn_end(config.turn_detector), self._log) if config.turn_detector else None
        self.plane = MediaPlane(
            self._deliver_edges, detector=load_silero(), pollers=around.pollers, randbits=around.randbits
        )
        self.media = around.drive(self.plane)
        self.webhooks = around.webhooks(
            WebhookOptions(config.webhook_seconds),
            user_agent=f"offhook/{__version__}",
            clock=around.wall_s,
            jitter=around.share,
        )
        self.store = FolderStore(config.store, self._log) if config.store is not None else None
        self.otlp = OtlpExporter(config.otlp_url, __version__, self._log) if config.otlp_url is not None else None
        clips = load_clips(config.clips)
        mcp = McpOptions(frozenset(config.mcp_allow), config.mcp_connectors, config.mcp_seconds)
        services = Services(
            clock=around.clock,
            wall_s=around.wall_s,
            seed=lambda: around.chance(SEED_BYTES),
            backend=self.backend,
            webhooks=self.webhooks,
            options=_host_options(config, self.backend.capabilities, clips),
            log=self._log,
            clips=clips,
            store=self.store,
            turn_ends=self.turn_ends,
            preparing=Preparing(
                prompts_of(config),
                most_post_instructions=config.context_tokens - config.output_tokens,
                mcp=mcp,
            ),
            mcp=mcp,
            prices=self._prices(),
            span_sinks=tuple(filter(None, (self.store, self.otlp))),
        )
        self.admission = Admission(config.max_calls)
        self.telephone = Telephone(retry_after_s=RETRY_AFTER_S, clock=around.clock, wall_s=around.wall_s, log=self._log)
        self.lines = Lines(
            media=self.plane,
            ports=around.ports(config.sip.host, *config.rtp_ports),
            answer=config.answer,
            options=LineOptions(
                onset_ms=config.vad_onset_ms,
                pause_ms=PAUSE_MS if self.backend.capabilities.hears_early or self.turn_ends else 0,
                jitter_ms=config.jitter_ms,
                media_timeout_s=config.media_seconds or None,
            ),
            clock=around.clock,
            wall_s=around.wall_s,
            log=self._log,
            noise=load_processors(),
        )
        projects = projects_of(config, self._made_key, self._made_secret)
        self.directory = Directory(projects, self.admission, services, self.telephone, self.lines)
        _check_answer(config, self.directory)
        self.agent = UserAgent(
            agent_options(config), TokenStream(around.chance(SEED_BYTES)), self.telephone.would_refuse
        )
        self.sip = around.sip(
            self.agent,
            SipTransportOptions(config.sip.host, config.sip.port, config.public_address or ""),
            self.telephone.take,
            clock=around.clock,
        )
        request_ids = Ids(TokenStream(around.chance(SEED_BYTES)))
        self.secrets = ClientSecrets(around.clock, services.seed)
        self.sessions = Sessions(self.directory, Listening(load_silero))
        app = build_app(self.directory, self.secrets, self.sessions, self.health, request_ids.request, self._log)
        self.http = HttpServer(around.surround(app))
        self.sampler = LoadSampler(
            self.admission,
            media=self.plane.load,
            sessions=self.sessions,
            opened=lambda: self.lines.opened,
            stayed=self.directory.stayed,
            model_wait_ms=self._model_wait_ms,
            clock=around.clock,
            cpu_clock=around.cpu_clock,
        )

    # -- life

    async def start(self) -> Ready:
        """Start everything, calls last. Raises ConfigError or LocalError with what is in the way."""
        config = self._config
        self._loop = asyncio.get_running_loop()
        raise_descriptor_limit()
        await self.backend.start()
        self.webhooks.start()
        if self.otlp is not None:
            self.otlp.start()
        self.media.start()
        certificate = _certificate(config)
        context = None if certificate is None else tls_context(*certificate)
        http_host, http_port = await self.http.start(config.http.host, config.http.port, context)
        self.telephone.connect(self.sip, self.directory)
        await self.sip.start()
        self._spawn(self.sampler.run())
        sip_host, sip_port = self.sip.address
        told_host, told_port = parse_public_address(config.public_address or "") or (sip_host, sip_port)
        made = not config.projects
        ready = Ready(
            http=f"http://{_host(http_host)}:{http_port}",
            https=None if context is None else f"https://{_host(http_host)}:{http_port}",
            certificate=str(certificate[0]) if certificate and config.tls_self_signed else None,
            sip=f"sip:{_host(told_host)}:{told_port or sip_port}",
            pid=os.getpid(),
            api_key=(config.api_key or (self._made_key,))[0] if made else None,
            webhook_secret=(config.webhook_secret or (self._made_secret,))[0] if made else None,
        )
        self._log.info("ready", http=ready.http, sip=ready.sip, models=self.backend.name, version=__version__)
        self._warn()
        return ready

    def _prices(self) -> Prices:
        """Return the prices; a model that is no cascade does everything by itself, and is paid for all of it."""
        names = self._config.orders["backend"] or (self.backend.name,)
        whole = "" if isinstance(self.backend, Cascade) else names[0]
        return replace(self._config.prices, whole=whole, is_told=isinstance(self.backend, RelayBackend))

    def _part(self, role: str) -> str:
        """Return the name of what plays a part in the conversations."""
        report = self._report()
        return str(report[role]["name"] if role in report else report["name"])

    def _report(self) -> dict[str, Any]:
        return {"name": self.backend.name} | call_report(self.backend)

    def models(self) -> str:
        """Say in a line what callers talk to. A brain that is none never passes for one."""
        if isinstance(self.backend, RelayBackend):
            report = self.backend.report()
            other = f"; else {report['stand_in']['name']}" if "stand_in" in report else ""
            return f"relays every session to {report['upstream']}, in the ways of {report['dialect']}{other}"
        ear, brain, voice = map(self._part, ("ear", "brain", "voice"))
        if brain == SCRIPTED:
            return "scripted: callers hear tones, and nobody understands them"
        if brain == DEMO:
            brain = "the demo brain, which repeats what it hears (give --llm-url or --llm-gguf)"
        ear, brain, voice = (
            name + self._others(role) for role, name in (("ear", ear), ("brain", brain), ("voice", voice))
        )
        return f"hears with {ear}, thinks with {brain}, speaks with {voice}"

    def _others(self, role: str) -> str:
        """Return the names of those that stand in for who plays a part."""
        part = self._report().get(role)
        order = part.get("order", [])[1:] if isinstance(part, dict) else []
        return f" (else {', '.join(each['name'] for each in order)})" if order else ""

    def _warn(self) -> None:
        config = self._config
        if config.models == "auto" and self.backend.name == SCRIPTED:
            self._log.warning("no models are configured: callers hear tones, and nobody understands them")
        if self.backend.name == DEMO:
            self._log.warning(
                "no language model is configured: a demo brain answers; give one with --llm-url or --llm-gguf"
            )
        if isinstance(config.answer, AnswerByWebhook) and not any(p.endpoint for p in self.directory.projects):
            self._log.warning("no webhook is configured: accept calls by their id, from /offhook/v1/calls")
        if not config.allow and not config.sip.is_loopback:
            self._log.warning("anybody may call: give the networks of your trunks with --allow")

    def drain(self) -> None:
        """Take no more calls; those in progress may go on for a while."""
        if self._draining:
            return
        self._draining = True
        self._log.info("draining", calls=self.directory.calls, seconds=self._config.drain_seconds)
        self.sip.perform(self.agent.drain(self._clock()))
        self.directory.drain(self._clock() + self._config.drain_seconds)
        self.sessions.drain(self._config.drain_seconds)

    async def drained(self) -> None:
        """Wait until the last call and session is over; ``drain`` has seen to it that this comes."""
        await self.telephone.quiet.wait()
        await self.sessions.drained()

    async def stop(self) -> None:
        """End the calls that are left, and close everything."""
        self.directory.drain(self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.telephone.quiet.wait()
        await self.sessions.stop()
        await self.directory.stop()
        for task in list(self._background):
            task.cancel()
        await self.sip.close()
        await self.http.stop(FAREWELL_S)
        self.media.stop()
        await self.webhooks.stop()
        if self.otlp is not None:
            await self.otlp.stop()
        await stop_part(self.backend, self._log)
        if self.turn_ends is not None:
            self.turn_ends.close()
        if self.store is not None:
            self.store.close()
        self._log.info("stopped", calls=self.directory.total)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._log.error("a task of the server failed", failure=bug)

    def _model_wait_ms(self) -> float:
        try:
            return self.backend.queue_wait_ms
        except Exception as bug:  # a plugin's: it must not end the measuring of all else
            if not self._wait_unknown:
                self._log.error("the model's queue cannot be told", failure=bug)
            self._wait_unknown = True
            return 0.0

    def _deliver_edges(self, edges: list[Edge]) -> None:
        """Called by the media thread: hand its edges to the loop."""
        told = [edge for edge in edges if type(edge) is not LegOpened]
        if not told:
            return  # Whoever opened a leg knows of it: nobody is woken for that.
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self.lines.take, told)

    def health(self) -> dict[str, Any]:
        """Say what runs, for people and load balancers."""
        load = self.plane.load()
        counters = self.agent.counters
        return {
            "status": "draining" if self._draining else "ok",
            "version": __version__,
            "uptime_s": round(self._clock() - self._began_at, 1),
            "models": self._report(),
            "calls": {
                "active": self.directory.calls,
                "limit": self.admission.limit,
                "new_per_s_limit": self.admission.setups_limit,
                "limited_by": self.admission.reason or None,
                "refused": self.admission.refused,
                "total": self.directory.total,
            },
            "sessions": {
                "active": len(self.sessions),
                "limit": self.sessions.admission.limit,
                "limited_by": self.sessions.admission.reason or None,
                "refused": self.sessions.admission.refused,
                "total": self.sessions.total,
            },
            "sockets": self.directory.report_sockets(),
            "media": {
                "busy": round(load.busy, 4),
                "late_p99_ms": round(load.late_p99_ms, 2),
                "legs": load.legs,
                "failures": load.failures,
                "noise_reduction": "webrtc" if self.lines.noise is not None else None,
            },
            "loop_late_ms": round(self.sampler.loop_late_ms, 2),
            "rtp_ports": {"pairs": self.lines.ports.pairs, "in_use": self.lines.ports.in_use},
            "sip": msgspec.to_builtins(counters),
            "webhooks": {"attempts": self.webhooks.attempts, "failures": self.webhooks.failures},
            "store": None if self.store is None else self.store.report(),
        }


# -- from the settings to the options of each part


def own_defaults(config: Config, clips: Collection[str]) -> Own:
    """Return what a session gets that asks for nothing of ours. Raises ConfigError for a clip that there is not."""
    filling = config.while_waiting
    if isinstance(filling, PlayClip) and filling.name not in clips:
        mend = f"there are {', '.join(sorted(clips))}" if clips else "give the folder of the clips with --clips"
        raise ConfigError("--while-waiting", f"there is no clip '{filling.name}'", mend)
    return Own(
        speak_first=config.greeting == "on" or config.greeting,
        filling=filling,
        filling_after_ms=config.waiting_ms,
    )


def _host_options(config: Config, model: Capabilities, clips: Collection[str]) -> HostOptions:
    instructions = DEFAULT_INSTRUCTIONS if config.instructions is None else config.instructions
    defaults = SessionDefaults(
        model=config.default_model, instructions=instructions, voice=config.voice, own=own_defaults(config, clips)
    )
    return HostOptions(
        call=CallOptions(config.ring_seconds, config.ring_status, config.session_seconds),
        engine=EngineOptions(
            needs_transcripts=model.needs_transcripts,
            hears_early=model.hears_early,
            strict_models=frozenset(config.model_names) if config.strict_models else None,
            clips=frozenset(clips),
            defaults=defaults,
            context_tokens=context_tokens(config),
            output_tokens=min(config.output_tokens, context_tokens(config) // 2),
        ),
        answer=config.answer,
        model_names=tuple(config.model_names),
    )


def agent_options(config: Config) -> AgentOptions:
    """Return the settings of the SIP agent."""
    return AgentOptions(
        product=f"offhook/{__version__}",
        contact_user="" if config.projects else config.project,
        retry_after_s=RETRY_AFTER_S,
        guard=GuardOptions(allow=config.allow),
    )


def projects_of(config: Config, made_key: str, made_secret: str) -> Projects:
    """Return the projects. The one of a server without a projects table uses what was made when it has no own.

    Raises ConfigError when they do not fit together.
    """
    if not config.projects:
        keys = config.api_key or (made_key,)
        endpoint = _endpoint(config.project, config.webhook_url, config.webhook_secret or (made_secret,))
        return Projects([Project(config.project, frozenset(map(digest_key, keys)), endpoint)])
    return Projects(
        Project(
            each.id,
            frozenset(map(digest_key, each.api_keys)),
            _endpoint(each.id, each.webhook_url, each.webhook_secrets),
        )
        for each in config.projects
    )


def prompts_of(config: Config) -> dict[str, Prompts]:
    """Return the stored prompts by project: those of a server with a projects table stand in a folder of its id each.

    Raises ConfigError for a file that is no prompt.
    """
    folder = config.prompts
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError("--prompts", f"{folder} is not a folder", f"mkdir {folder}")
    if not config.projects:
        return {config.project: Prompts(folder)}
    return {project.id: Prompts(folder / project.id) for project in config.projects}


def _check_answer(config: Config, directory: Directory) -> None:
    """Raise ConfigError when the session of ``--answer always`` names what is not there."""
    if not isinstance(config.answer, AnswerAlways):
        return
    try:
        for project in directory.projects:
            directory.prepare(config.answer.params, project)
    except ApiProblem as problem:
        raise ConfigError("--answer", f"the session cannot begin: {problem.message}") from None


def _endpoint(project: str, url: str | None, secrets_: tuple[str, ...]) -> Endpoint | None:
    if url is None:
        return None
    if not secrets_:
        key = f"projects.{project}.webhook_secrets"
        raise ConfigError(key, f"are missing for {url}", "give the secret that signs its webhooks")
    return Endpoint(url, tuple(map(webhook_key, secrets_)))


def _certificate(config: Config) -> tuple[Path, Path] | None:
    """Return the files for TLS, made if that is wanted. Raises ConfigError."""
    if config.tls_cert is not None and config.tls_key is not None:
        return config.tls_cert, config.tls_key
    if not config.tls_self_signed:
        return None
    hosts = [host for host in (config.http.host, _public_host(config)) if host and host not in {"0.0.0.0", "::"}]  # noqa: S104 - no name to certify
    return local_certificate(hosts, certificate_folder())


def _public_host(config: Config) -> str:
    parsed = parse_public_address(config.public_address or "")
    return parsed[0] if parsed else ""


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


# -- the command


def serve(config: Config) -> int:
    """Run a server until it is told to stop; the first SIGTERM or ^C drains it, the second stops it at once."""
    set_up_logging(config.log_level, show_pii=config.log_pii)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config))


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(config: Config) -> int:
    server = Server(config)
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.put_nowait, number)
    try:
        ready = await server.start()
        # A full collection stopped all sound for 40 ms at 100 calls, most of it to look at what never goes away.
        gc.collect()
        gc.freeze()
        gc.enable()
        # Calls come and go faster than the usual thresholds (700, 10, 10) mean it: a twentieth less work, and earlier.
        gc.set_threshold(5000, 20, 20)
        _say_ready(config, ready, server.models())
        await asked.get()
        server.drain()
        second = asyncio.ensure_future(asked.get())
        drained = asyncio.ensure_future(server.drained())
        await asyncio.wait([second, drained], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (second, drained):
            waiting.cancel()
    finally:
        await server.stop()
    return 0


def _say_ready(config: Config, ready: Ready, models: str) -> None:
    if config.ready_json:
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    else:
        lines = [
            f"offhook {__version__} takes calls.",
            f"  call it      {ready.sip}   (UDP and TCP)",
            f"  API          {ready.http}/v1" + (f"   and {ready.https}/v1" if ready.https else ""),
            f"  models       {models}",
        ]
        if ready.certificate:
            lines += [
                f"  certificate  {ready.certificate}   (made for this machine; clients have to be told)",
                f"    Node       NODE_EXTRA_CA_CERTS={ready.certificate}",
                f"    Python     SSL_CERT_FILE={ready.certificate}   (no others are trusted then)",
            ]
        if not config.api_key and ready.api_key:
            lines.append(f"  API key      {ready.api_key}   (made for this run; --api-key sets one)")
        if config.webhook_url and not config.webhook_secret and ready.webhook_secret:
            lines.append(f"  webhook key  {ready.webhook_secret}   (made for this run; --webhook-secret sets one)")
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
