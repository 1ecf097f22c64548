"""``GET /models``: the names that a session may have. Source: API reference, "Models"."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from offhook.api.answer import find_project, json_response
from offhook.errors import ApiProblem
from offhook.host.directory import Directory
from offhook.wire.models import KNOWN_MODELS, Model, ModelList


class ModelRoutes:
    """Names what sessions may name: the configured models and, unless those are all, the API's own names for them."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._created = int(directory.services.wall_s())

    async def list_models(self, request: Request) -> Response:
        """Return all of them."""
        find_project(self._directory.projects, request.headers)
        return json_response(ModelList(data=tuple(map(self._model, self._names()))))

    async def model(self, request: Request) -> Response:
        """Return one of them."""
        find_project(self._directory.projects, request.headers)
        name = request.path_params["model"]
        if name not in self._names():
            message = f"The model '{name[:200]}' does not exist or you do not have access to it."
            raise ApiProblem(404, "model_not_found", message, param="model")
        return json_response(self._model(name))

    def _names(self) -> list[str]:
        options = self._directory.services.options
        strict = options.engine.strict_models
        if strict is not None:
            return sorted(strict)
        return list(dict.fromkeys([options.engine.defaults.model, *options.model_names, *KNOWN_MODELS]))

    def _model(self, name: str) -> Model:
        return Model(id=name, created=self._created)
