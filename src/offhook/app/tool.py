"""Functions that a model may call: plain typed Python functions, run with an end, whose failures the model is told."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final

import msgspec

from offhook.app import limits
from offhook.app.schema import read_signature
from offhook.errors import LocalError
from offhook.wire.session import FunctionTool

_NAME_CHARS: Final = 64
_log = logging.getLogger("offhook.app")


class ToolError(LocalError):
    """Raised by a function for its model to read: the message is told as it stands, and nothing is logged."""


class Tool:
    """A function as a model sees it.

    The schema comes from the annotations and the defaults, descriptions from the docstring (``Args:`` or ``:param``).
    Arguments may be whatever JSON can become: str, int, float, bool, date and time types, Literal, Enum, Optional,
    list, dict, dataclasses, TypedDicts, msgspec Structs. A parameter annotated with `CallSession` or `IncomingCall`
    is given the call. What it returns is told to the model: text as it is, anything else as JSON.

    Args:
        function: A function or a coroutine function. The first runs in a thread.
        name: What the model calls it. Default: the function's name.
        description: What the model is told of it. Default: the docstring.
        timeout: Seconds until the model is told that it takes too long. Default: 30. A coroutine is cancelled; a
            thread goes on to its end, and its result is dropped.

    Raises TypeError for what a model cannot call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float = limits.FUNCTION_S,
    ) -> None:
        from offhook.app.incoming import IncomingCall
        from offhook.app.session import CallSession

        if not callable(function):
            raise TypeError(f"{function!r} is no function")
        called = name or getattr(function, "__name__", "")
        if not called or len(called) > _NAME_CHARS or not called.replace("-", "_").isidentifier():
            raise TypeError(f"{called!r} cannot be the name of a tool; give it one by name=")
        if not timeout > 0:
            raise ValueError("a timeout is a number of seconds above 0")
        self.name: str = called
        self.timeout: float = timeout
        self._function = function
        self._signature = read_signature(function, (CallSession, IncomingCall))
        self._decoder = msgspec.json.Decoder(self._signature.arguments)
        self._lenient = msgspec.json.Decoder(self._signature.arguments, strict=False)
        text = description or self._signature.description
        self.definition: FunctionTool = FunctionTool(
            name=called, description=text or called.replace("_", " "), parameters=self._signature.schema
        )

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    async def run(self, arguments: str, given: Iterable[object]) -> str:
        """Call the function with what the model wrote; return what to tell the model.

        Raises nothing but cancellation and what ends the process.

        ``given`` are the objects for the parameters that are not the model's.
        """
        try:
            values = self._decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as failure:
            return f"{self.name} was not called, its arguments are wrong: {_shown(failure)}"
        except Exception as failure:  # a type of the application's may refuse a value by whatever exception
            _log.error("function %s was not called, a type of its arguments failed", self.name, exc_info=failure)
            return f"{self.name} was not called, its arguments are wrong ({type(failure).__name__})."
        own = {
            name: next((each for each in given if isinstance(each, kind)), None)
            for name, kind in self._signature.given.items()
        }
        positional = [values.pop(name) for name in self._signature.positional]
        try:
            # One more deadline than the function's own: a TimeoutError of its own is no time-out of ours.
            async with asyncio.timeout(self.timeout) as limit:
                result = await self._call(positional, {**values, **own})
        except ToolError as told:
            return _bounded(str(told))
        except TimeoutError as failure:
            if limit.expired():
                _log.warning("function %s did not finish within %g s", self.name, self.timeout)
                return f"{self.name} did not finish within {self.timeout:g} s; what it does may still happen."
            return self._failed(failure)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # the function is not ours, nor are test frameworks'; the model is told
            return self._failed(failure)
        return self._told(result)

    def _decode(self, arguments: str) -> dict[str, Any]:
        text = arguments.strip() or "{}"
        try:
            decoded = self._decoder.decode(text)
        except msgspec.ValidationError:
            # Models put numbers into quotes; what can be meant by it is what is meant.
            decoded = self._lenient.decode(text)
        return {name: getattr(decoded, name) for name in decoded.__struct_fields__}

    async def _call(self, positional: list[Any], named: Mapping[str, Any]) -> Any:
        function = self._function
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            return await function(*positional, **named)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(_threads, lambda: context.run(function, *positional, **named))
        return await result if inspect.isawaitable(result) else result

    def _failed(self, failure: BaseException) -> str:
        _log.error("function %s failed", self.name, exc_info=failure)
        if isinstance(failure, ValueError) and str(failure):
            return f"{self.name} failed: {_shown(failure)}"
        # Other failures speak to programmers, of hosts and tables: none of a caller's business.
        return f"{self.name} failed ({type(failure).__name__})."

    def _told(self, result: Any) -> str:
        if isinstance(result, str):
            return _bounded(result)
        if result is None:
            return "done"
        try:
            return _bounded(msgspec.json.encode(result).decode())
        except Exception as failure:  # so may what is in it fail
            _log.error("function %s returned what is no text and no JSON: %s", self.name, type(result).__name__)
            return self._failed(TypeError(str(failure)))


def as_tools(given: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """Return tools by name. Raises ValueError when two have one name, TypeError for what a model cannot call."""
    tools: dict[str, Tool] = {}
    for each in given:
        tool = each if isinstance(each, Tool) else Tool(each)
        if tool.name in tools:
            raise ValueError(f"there are two tools named {tool.name!r}")
        tools[tool.name] = tool
    return tools


class _Threads(Executor):
    """Runs each function in a thread of its own, which neither a time-out nor the end of the process waits for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = threading.BoundedSemaphore(most)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin at once. Raises RuntimeError when too many run."""
        if not self._room.acquire(blocking=False):
            raise RuntimeError(f"{self._most} functions run in threads already")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                result = function(*args, **kwargs)
            except (StopIteration, SystemExit, KeyboardInterrupt) as failure:
                # Neither ends a coroutine or this process from a thread.
                self._room.release()
                future.set_exception(RuntimeError(f"the function raised {type(failure).__name__}"))
            except BaseException as failure:  # raised again where it is awaited
                self._room.release()
                future.set_exception(failure)
            else:
                self._room.release()
                future.set_result(result)

        threading.Thread(target=run, name="offhook-function", daemon=True).start()
        return future


_threads: Final = _Threads(limits.MAX_THREADS)


def _bounded(text: str) -> str:
    if len(text) <= limits.MAX_OUTPUT_CHARS:
        return text
    return text[: limits.MAX_OUTPUT_CHARS] + " ... (the rest is left out)"


def _shown(failure: BaseException) -> str:
    text = " ".join(str(failure).split()) or type(failure).__name__
    return text if len(text) <= limits.MAX_SHOWN_CHARS else text[: limits.MAX_SHOWN_CHARS] + "..."
