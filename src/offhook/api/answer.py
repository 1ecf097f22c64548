"""What every route says in the same way: errors, request ids, the key of a request."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from offhook.errors import ApiProblem
from offhook.host.client_secrets import ClientSecrets, SecretSession
from offhook.host.project import Project, Projects
from offhook.wire.session import SessionParams

KEY_PROTOCOL = "openai-insecure-api-key."
ANY_SESSION = SessionParams(type="realtime")
"""What a project's own key opens: nothing is settled yet."""


def json_response(value: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem_response(problem: ApiProblem) -> Response:
    """Return an error in the API's shape; failures of this server tell the SDKs not to send the request again."""
    # Some are constants, and every raise would add to the traceback that they keep.
    problem.__traceback__ = None
    error = {"message": problem.message, "type": problem.kind, "param": problem.param, "code": problem.code}
    response = json_response({"error": error}, problem.status)
    if problem.retry_after_s is not None:
        response.headers["retry-after"] = str(problem.retry_after_s)
    if problem.kind == "server_error":
        # An SDK would send it again; what failed here fails again, and the caller waits on the line meanwhile.
        response.headers["x-should-retry"] = "false"
    return response


def header_of(scope: Scope, name: bytes) -> str:
    """Return the first header of that lower-case name, empty when there is none."""
    for other, value in scope["headers"]:
        if other == name:
            return str(value, "latin-1")
    return ""


def find_project(projects: Projects, headers: Headers, subprotocols: Iterable[str] = ()) -> Project:
    """Return the project of a request's key, from its ``Authorization`` or, as browsers do, its subprotocols.

    Raises ApiProblem 401 without saying more than that the key is wrong.
    """
    return project_of(projects, headers.get("authorization", ""), subprotocols)


def project_of(projects: Projects, authorization: str, subprotocols: Iterable[str] = ()) -> Project:
    """Return the project of an ``Authorization``, or of subprotocols. Raises ApiProblem as `find_project` does."""
    project = projects.of_key(_key(authorization, subprotocols))
    if project is None:
        raise _wrong_key()
    return project


def find_opener(
    projects: Projects, secrets: ClientSecrets, headers: Headers, subprotocols: Iterable[str]
) -> tuple[Project, SecretSession | None]:
    """Return who opens a socket, by a project's key or a client secret, and the session that it begins with.

    The session is None for a secret that opens nothing here. Raises ApiProblem 401 as `find_project` does.
    """
    key = _key(headers.get("authorization", ""), subprotocols)
    secret = secrets.find(key)
    if secret is not None:
        return secret.project, secret.session
    project = projects.of_key(key)
    if project is None:
        raise _wrong_key()
    return project, ANY_SESSION


def _wrong_key() -> ApiProblem:
    return ApiProblem(401, "invalid_api_key", "Incorrect API key provided.")


def _key(authorization: str, subprotocols: Iterable[str]) -> str:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        key = ""
    if not key:
        key = next((each[len(KEY_PROTOCOL) :] for each in subprotocols if each.startswith(KEY_PROTOCOL)), "")
    if not key:
        message = "You didn't provide an API key. Give it in an Authorization header: Authorization: Bearer YOUR_KEY."
        raise ApiProblem(401, "invalid_api_key", message)
    return key.strip()
