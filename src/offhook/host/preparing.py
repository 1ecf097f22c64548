"""What is done to a client's wishes before the machines see them: what they refer to is looked up, or refused.

The machines get everything they need in their inputs, so a journal replays without the registry it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from offhook.host.prompt import Prompts
from offhook.mcp.policy import McpOptions, check_tool
from offhook.wire.client_events import ClientEvent, ResponseCreate, SessionUpdate
from offhook.wire.problem import invalid
from offhook.wire.session import McpTool, RetentionRatio, SessionParams, Tools


class Preparing:
    """Prepares sessions and client events.

    ``prompts`` holds those of each project, by its id. ``most_post_instructions``: the highest limit of tokens that a
    session may set for its conversation. ``mcp`` says which MCP servers may be named; None is any.
    """

    def __init__(
        self,
        prompts: Mapping[str, Prompts] | None = None,
        *,
        most_post_instructions: int | None = None,
        mcp: McpOptions | None = None,
    ) -> None:
        self._prompts = prompts or {}
        self._most_post_instructions = most_post_instructions
        self._mcp = mcp
        self._none = Prompts()

    def prompts_of(self, project_id: str) -> Prompts:
        """Return the prompts of a project."""
        return self._prompts.get(project_id, self._none)

    def session(self, params: SessionParams, project_id: str) -> SessionParams:
        """Return a session as it is to begin. Raises ApiProblem 400."""
        return self._checked(self.prompts_of(project_id).fill_in(params, "session"))

    def event(self, event: ClientEvent, project_id: str) -> ClientEvent:
        """Return a client event as the conversation can obey it. Raises ApiProblem 400."""
        match event:
            case SessionUpdate(session=session):
                # The model of a session that has begun is not the prompt's to change.
                filled = self.prompts_of(project_id).fill_in(session, "session", but=("model",))
                self._checked(filled)
                return event if filled is session else replace(event, session=filled)
            case ResponseCreate(response=response) if response is not UNSET:
                filled_in = self.prompts_of(project_id).fill_in(response, "response")
                self._check_tools(filled_in.tools or (), "response.tools")
                return event if filled_in is response else replace(event, response=filled_in)
            case _:
                return event

    def _check_tools(self, tools: Tools, path: str) -> None:
        for index, tool in enumerate(tools):
            if isinstance(tool, McpTool) and self._mcp is not None:
                check_tool(tool, f"{path}[{index}]", self._mcp)

    def _checked(self, params: SessionParams) -> SessionParams:
        self._check_tools(params.tools or (), "session.tools")
        truncation, most = params.truncation, self._most_post_instructions
        if isinstance(truncation, RetentionRatio) and truncation.token_limits is not UNSET and most is not None:
            limit = truncation.token_limits.post_instructions
            if limit is not UNSET and limit > most:
                where = "session.truncation.token_limits.post_instructions"
                message = f"Invalid '{where}': integer above maximum value. Expected a value <= {most}."
                raise invalid(where, message)
        return params
