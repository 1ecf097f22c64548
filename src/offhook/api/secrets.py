"""Client secrets, and the older routes that made them. Source: API reference, "Client secrets"."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from offhook.api.answer import find_project, json_response
from offhook.api.body import read_body
from offhook.call.tokens import TokenStream
from offhook.host.client_secrets import ClientSecrets, SecretSession
from offhook.host.directory import Directory
from offhook.host.project import Project
from offhook.session.settings import start_session
from offhook.wire import limits
from offhook.wire import secrets as wire
from offhook.wire.decode import decode_body, decode_secret, decode_session
from offhook.wire.ids import Ids
from offhook.wire.session import PcmFormat, Session, SessionParams, as_shown
from offhook.wire.transcription import TranscriptionParams, TranscriptionSession, as_start, as_transcription

Expiry = wire.ExpiresAfter


class SecretRoutes:
    """Makes secrets. Only a project's own key may."""

    def __init__(self, directory: Directory, secrets: ClientSecrets) -> None:
        self._directory = directory
        self._secrets = secrets

    async def create(self, request: Request) -> Response:
        """Make a secret for a conversation or for transcripts; the session shown is the one that it will open."""
        project = find_project(self._directory.projects, request.headers)
        body = await read_body(request.receive)
        params = decode_secret(body)
        session = params.session or SessionParams(type="realtime")
        return json_response(self._make(project, session, params.expires_after or Expiry(), len(body)))

    async def translation(self, request: Request) -> Response:
        """Make a secret for a translation session. This server has no such sessions, so it opens nothing."""
        project = find_project(self._directory.projects, request.headers)
        params = decode_body(await read_body(request.receive), wire.TranslationSecretParams)
        life = params.expires_after or Expiry()
        value = self._secrets.make(project, None, life.seconds, 0)
        expires_at = self._expires_at(life)
        given = params.session
        session = wire.TranslationSession(
            id=self._session_id(), expires_at=expires_at, model=given.model, audio=given.audio
        )
        return json_response(wire.TranslationSecret(value=value, expires_at=expires_at, session=session))

    async def legacy_session(self, request: Request) -> Response:
        """Make a secret the older way."""
        project = find_project(self._directory.projects, request.headers)
        body = await read_body(request.receive)
        params = decode_body(body, wire.LegacySessionParams)
        session = decode_session(wire.modern_session(params))
        return json_response(wire.legacy_session(self._make(project, session, _legacy_life(params), len(body))))

    async def legacy_transcription(self, request: Request) -> Response:
        """Make a secret for transcripts the older way."""
        project = find_project(self._directory.projects, request.headers)
        body = await read_body(request.receive)
        params = decode_body(body, wire.LegacyTranscriptionParams)
        session = decode_body(wire.modern_transcription(params), TranscriptionParams)
        return json_response(wire.legacy_session(self._make(project, session, _legacy_life(params), len(body))))

    def _make(self, project: Project, params: SecretSession, life: Expiry, size_bytes: int) -> wire.Secret:
        shown = self._shown(params, project)
        value = self._secrets.make(project, params, life.seconds, size_bytes)
        return wire.Secret(value=value, expires_at=self._expires_at(life), session=shown)

    def _shown(self, params: SecretSession, project: Project) -> Session | TranscriptionSession:
        transcribes = isinstance(params, TranscriptionParams)
        start = as_start(params) if isinstance(params, TranscriptionParams) else params
        session = start_session(
            self._directory.prepare(start, project, plays=False),
            session_id=self._session_id(),
            audio_format=PcmFormat(),
            expires_at=0,
            defaults=self._directory.services.options.engine.defaults,
            formats_given=True,
        )
        return as_transcription(session) if transcribes else as_shown(session)

    def _session_id(self) -> str:
        return Ids(TokenStream(self._directory.services.seed())).session()

    def _expires_at(self, life: Expiry) -> int:
        return int(self._directory.services.wall_s()) + life.seconds


def _legacy_life(params: wire.LegacySessionParams | wire.LegacyTranscriptionParams) -> Expiry:
    given = params.client_secret
    if given and given.expires_after:
        return given.expires_after
    return Expiry(seconds=limits.LEGACY_SECRET_S)
