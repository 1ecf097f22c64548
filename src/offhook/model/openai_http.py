"""Any server of the OpenAI HTTP API as a language model: chat completions.

vLLM, Ollama, llama.cpp's server, LM Studio, LocalAI, Speaches and the hosted services speak it. Source: API reference,
"Chat completions".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from offhook.model.http import HostedModel, ModelServer
from offhook.model.interface import ModelError, ModelOutput
from offhook.model.sse import SseError, data_lines
from offhook.model.wording import Wording
from offhook.session.inputs import (
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
)
from offhook.session.outputs import Generate
from offhook.wire.items import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Message,
    OutputAudio,
    OutputText,
)
from offhook.wire.server_events import CachedTokens, InputTokens, OutputTokens, Usage
from offhook.wire.session import (
    FunctionTool,
    ToolChoiceFunction,
    ToolChoiceMcp,
)

# Arguments of one call; a model that writes more is looping.
MAX_ARGUMENTS_CHARS = 256 * 1024
# Calls of one answer; a model that makes more is looping.
MAX_TOOL_CALLS = 128
UNSEEN = "[The user sent an image, which you cannot see.]"
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the server calls its model, for all sessions or (``names``) for those that name a certain one.

    ``extra`` are members of every request as they are (temperature, ...). ``sees``: it is given images. ``reasons``: it
    is told how much to think; endpoints refuse the member where the model does not.
    """

    model: str
    extra: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    sees: bool = False
    reasons: bool = False


class ChatCompletions(HostedModel):
    """A language model behind ``POST /chat/completions``, streamed, with tools."""

    def __init__(self, server: ModelServer, options: ChatOptions) -> None:
        super().__init__(server, options.model)
        self._options = options

    @property
    def reasons(self) -> bool:
        """Whether it is told how much to think."""
        return self._options.reasons

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words and function calls as they come in, and an end."""
        body = msgspec.json.encode(chat_request(request, self._options))
        builder = self._server.request("/chat/completions").header("content-type", "application/json").body_bytes(body)
        functions = frozenset(tool.name for tool in request.tools if isinstance(tool, FunctionTool))
        reader = _ChatReader(request.run, functions if request.tool_choice != "none" else frozenset())
        async with (
            self._server.stream(builder) as response,
            aclosing(data_lines(self._server.chunks(response))) as lines,
        ):
            try:
                clock = asyncio.get_running_loop().time
                until = clock() + self._server.timeout_s
                while True:
                    # Signs of life are no words: a server that sends only those is silent too.
                    async with asyncio.timeout_at(until):
                        line = await anext(lines, _DONE)
                    if line == _DONE:
                        break
                    for output in reader.read(line):
                        yield output
                    if reader.has_advanced:
                        until = clock() + self._server.timeout_s
            except TimeoutError:
                raise self._server.too_late() from None
            except SseError as broken:
                raise ModelError("model_error", f"The {self._server.name} sent {broken}.") from broken
        for output in reader.end():
            yield output


def chat_request(request: Generate, options: ChatOptions) -> dict[str, Any]:
    """Return the JSON of a chat completion request."""
    body: dict[str, Any] = {
        "model": options.names.get(request.model, options.model),
        "messages": chat_messages(request.instructions, request.items, sees=options.sees),
        "stream": True,
        "stream_options": {"include_usage": True},
        **options.extra,
    }
    if request.max_output_tokens != "inf":
        body["max_tokens"] = request.max_output_tokens
    if options.reasons and request.reasoning is not None:
        body["reasoning_effort"] = request.reasoning
    functions = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    if functions:
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
        body["tools"] = [{"type": "function", "function": _function(tool)} for tool in functions]
        match request.tool_choice:
            case ToolChoiceFunction(name=name):
                body["tool_choice"] = {"type": "function", "function": {"name": name}}
            case ToolChoiceMcp():
                body["tool_choice"] = "required"
            case choice:
                body["tool_choice"] = choice
    return body


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not UNSET:
        function["description"] = tool.description
    function["parameters"] = {"type": "object", "properties": {}} if tool.parameters is UNSET else tool.parameters
    return function


def chat_messages(instructions: str, items: tuple[Item, ...], *, sees: bool = True) -> list[dict[str, Any]]:
    """Return the conversation as a chat model reads it; what nobody could understand is left out.

    Every call is followed by its output, as chat templates demand; a call that has no output yet is left out, and so is
    one that stands there again. Arguments are JSON, since templates read them: of what is none, nothing is told.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    outputs = {item.call_id: item.output for item in items if isinstance(item, FunctionCallOutput)}
    for item in items:
        match item:
            case Message():
                content = _content(item, sees=sees)
                if content:
                    messages.append({"role": item.role, "content": content})
            case FunctionCall(call_id=str(call_id)) if call_id in outputs:
                function = {"name": item.name, "arguments": item.arguments if _is_object(item.arguments) else "{}"}
                call = {"id": call_id, "type": "function", "function": function}
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
                messages.append({"role": "tool", "tool_call_id": call_id, "content": outputs.pop(call_id)})
            case _:
                pass
    return messages


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _content(message: Message, *, sees: bool) -> str | list[dict[str, Any]]:
    texts: list[str] = []
    images: list[dict[str, Any]] = []
    for part in message.content:
        match part:
            case InputText(text=text) | OutputText(text=text):
                texts.append(text)
            case InputAudio(transcript=str(text)) | OutputAudio(transcript=str(text)):
                texts.append(text)
            case InputImage() if not sees:
                # An endpoint refuses what its model cannot see, and the whole conversation with it.
                texts.append(UNSEEN)
            case InputImage(image_url=url, detail=detail):
                image = {"url": url} if detail is UNSET else {"url": url, "detail": detail}
                images.append({"type": "image_url", "image_url": image})
            case _:
                pass
    text = "\n".join(filter(None, texts))
    if not images:
        return text
    return [{"type": "text", "text": text}, *images] if text else images


@dataclass(slots=True)
class _ToolCall:
    """A function call as far as it is known."""

    name: str
    call_id: str | None
    arguments: list[str] = field(default_factory=list)

    @property
    def is_half(self) -> bool:
        """Whether the arguments begin as JSON and break off; what is wrong otherwise is for the application to say."""
        try:
            msgspec.json.decode("".join(self.arguments) or "{}", type=msgspec.Raw)
        except msgspec.DecodeError as failure:
            return "truncated" in str(failure)
        except RecursionError:
            pass
        return False

    @property
    def is_whole(self) -> bool | None:
        """Whether the arguments are; None when there are none yet, as there may never be."""
        text = "".join(self.arguments)
        if not text:
            return None
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class _ChatReader:
    """Reads the chunks of one chat completion; what makes no sense is passed over or raised as ModelError.

    ``has_advanced``: whether the last chunk brought anything of the answer, be it something that is kept for later.
    """

    def __init__(self, run: int, functions: frozenset[str]) -> None:
        self._run = run
        self._wording = Wording(functions)
        self._calls: list[_ToolCall] = []
        self._by_index: dict[int, _ToolCall] = {}
        self._by_id: dict[str, _ToolCall] = {}
        self._arguments_chars = 0
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._known = self._how_much_is_known()
        self.has_advanced = False

    def read(self, line: bytes) -> list[ModelOutput]:
        try:
            chunk: Any = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeError):
            raise ModelError("model_error", "The language model sent something that is not JSON.") from None
        if not isinstance(chunk, dict):
            return []
        if isinstance(error := chunk.get("error"), dict | str):
            text = error.get("message") if isinstance(error, dict) else error
            raise ModelError("model_error", f"The language model failed: {str(text)[:300]}")
        self._usage = _usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if isinstance(choice.get("finish_reason"), str):
            self._reason = choice["finish_reason"]
        delta = choice.get("delta")
        outputs = self._delta(delta) if isinstance(delta, dict) else []
        known, self._known = self._known, self._how_much_is_known()
        self.has_advanced = bool(outputs) or self._known != known
        return outputs

    def _how_much_is_known(self) -> tuple[int, ...]:
        """Return what only grows, or comes to an end in an output: nobody can go on with it for ever."""
        ended = (self._reason is not None) + (self._usage is not None)
        return ended, len(self._calls), self._arguments_chars, self._wording.held_chars

    def _delta(self, delta: dict[str, Any]) -> list[ModelOutput]:
        outputs: list[ModelOutput] = []
        if isinstance(text := delta.get("content"), str) and (said := self._wording.feed(text)):
            outputs.append(TextProduced(self._run, said))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            if isinstance(call, dict):
                outputs += self._tool_call(call)
        return outputs

    def _tool_call(self, delta: dict[str, Any]) -> list[ModelOutput]:
        function = delta.get("function")
        if not isinstance(function, dict):
            return []
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        if not isinstance(arguments, str):
            arguments = ""
        known = len(self._calls)
        call = self._call_of(delta, function.get("name"), arguments)
        if call is None:
            return []
        if arguments:
            self._arguments_chars += len(arguments)
            if self._arguments_chars > MAX_ARGUMENTS_CHARS:
                raise ModelError("model_error", "The language model wrote endless arguments for a function call.")
            call.arguments.append(arguments)
        # Calls are passed on one after the other; a later one waits for its turn.
        if call is not self._calls[0]:
            return []
        if not known:
            return self._pass_on(0)
        return [ToolArgumentsProduced(self._run, 0, arguments)] if arguments else []

    def _call_of(self, delta: dict[str, Any], name: object, arguments: str) -> _ToolCall | None:
        """Return the call that a piece belongs to, a new one if need be.

        Not every server counts its calls by ``index``, and some make up an ``id`` for every piece.
        """
        given_id, given_index = delta.get("id"), delta.get("index")
        call_id = given_id if isinstance(given_id, str) and given_id else None
        index = given_index if isinstance(given_index, int) else 0
        if call_id in self._by_id:
            return self._by_id[call_id]
        call = self._by_index.get(index)
        if not isinstance(name, str) or not name:
            return call
        if call is not None:
            another = call.is_whole is not False if call_id else bool(call.is_whole and arguments)
            if not another:
                return call
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise ModelError("model_error", "The language model made endless function calls.")
        call = self._by_index[index] = _ToolCall(name, call_id)
        self._calls.append(call)
        if call_id is not None:
            self._by_id[call_id] = call
        return call

    def _pass_on(self, number: int) -> list[ModelOutput]:
        call = self._calls[number]
        started = ToolCallStarted(self._run, number, call.name, call.call_id)
        return [started, *(ToolArgumentsProduced(self._run, number, part) for part in call.arguments)]

    def end(self) -> list[ModelOutput]:
        outputs = [output for number in range(1, len(self._calls)) for output in self._pass_on(number)]
        said, written = self._wording.end()
        if said:
            outputs.insert(0, TextProduced(self._run, said))
        for number, call in enumerate(written, len(self._calls)):
            outputs.append(ToolCallStarted(self._run, number, call.name))
            outputs.append(ToolArgumentsProduced(self._run, number, call.arguments))
        if self._reason is None and self._usage is None:
            raise ModelError("model_error", "The language model broke off in the middle of its answer.")
        if self._reason not in {"length", "content_filter"} and any(call.is_half for call in self._calls):
            raise ModelError("model_error", "The language model broke off in the middle of a function call.")
        match self._reason:
            case "length":
                outputs.append(GenerationFinished(self._run, "max_output_tokens", self._usage))
            case "content_filter":
                outputs.append(GenerationFinished(self._run, "content_filter", self._usage))
            case _:
                outputs.append(GenerationFinished(self._run, "stop", self._usage))
        return outputs


def _usage(given: object) -> Usage | None:
    if not isinstance(given, dict):
        return None

    def number(source: object, name: str) -> int:
        value = source.get(name) if isinstance(source, dict) else None
        return value if isinstance(value, int) and value >= 0 else 0

    read, written = number(given, "prompt_tokens"), number(given, "completion_tokens")
    cached = number(given.get("prompt_tokens_details"), "cached_tokens")
    thought = number(given.get("completion_tokens_details"), "reasoning_tokens")
    return Usage(
        total_tokens=read + written,
        input_tokens=read,
        output_tokens=written,
        input_token_details=InputTokens(
            text_tokens=read, cached_tokens=cached, cached_tokens_details=CachedTokens(text_tokens=cached)
        ),
        output_token_details=OutputTokens(text_tokens=written, reasoning_tokens=thought or UNSET),
    )
