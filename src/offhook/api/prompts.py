"""``/offhook/v1/prompts``: look at stored prompts, and add versions. The contract itself has no routes for them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from offhook.api.answer import find_project, json_response
from offhook.api.body import read_body
from offhook.errors import ApiProblem
from offhook.host.directory import Directory
from offhook.host.prompt import Prompts, Template


class PromptRoutes:
    """The prompts of the key's project."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def newest(self, request: Request) -> Response:
        """List the newest version of every prompt."""
        found = self._prompts(request).all()
        return json_response({"object": "list", "data": [each.shown() for each in found]})

    async def versions(self, request: Request) -> Response:
        """List the versions of one prompt, the newest first."""
        return json_response({"object": "list", "data": [each.shown() for each in self._of(request)]})

    async def version(self, request: Request) -> Response:
        """Show one version."""
        wanted = request.path_params["version"]
        for each in self._of(request):
            if each.version == wanted:
                return json_response(each.shown())
        raise _not_found(request)

    async def add(self, request: Request) -> Response:
        """Add a version: the body holds members of a session, ``instructions`` with ``{{variables}}`` foremost."""
        prompts = self._prompts(request)
        return json_response(
            prompts.add(request.path_params["prompt_id"], await read_body(request.receive)).shown(), 201
        )

    def _prompts(self, request: Request) -> Prompts:
        project = find_project(self._directory.projects, request.headers)
        return self._directory.services.preparing.prompts_of(project.id)

    def _of(self, request: Request) -> list[Template]:
        if not (found := self._prompts(request).versions(request.path_params["prompt_id"])):
            raise _not_found(request)
        return found


def _not_found(request: Request) -> ApiProblem:
    return ApiProblem(404, "prompt_not_found", f"There is no such prompt: {request.path_params['prompt_id'][:200]}.")
