"""Every exception that offhook raises on purpose.

The type says whose fault it is, so that a caller can decide without reading the text::

    OffhookError
    ├── RemoteError      what a peer sent or did: a SIP party, an RTP sender, a model server
    ├── LocalError       what our own caller asked for
    │   └── ConfigError  a setting that cannot work; names the key and the mend
    └── ApiProblem       an answer of the HTTP API or an ``error`` event, ready to be sent
"""

from __future__ import annotations


class OffhookError(Exception):
    """The root of all errors that offhook raises on purpose."""


class RemoteError(OffhookError):
    """A peer sent something that cannot be used, or did not do its part."""


class LocalError(OffhookError):
    """The caller of this process asked for something that cannot be done."""


class ConfigError(LocalError):
    """A setting cannot work.

    ``key`` is the name of the setting, ``mend`` one line that says what to do about it.
    """

    def __init__(self, key: str, message: str, mend: str = "") -> None:
        super().__init__(f"{key}: {message}" + (f" ({mend})" if mend else ""))
        self.key = key
        self.message = message
        self.mend = mend


class ApiProblem(OffhookError):
    """A refusal in the words of the API: an HTTP status and the members of its ``error`` object.

    ``param`` is the path of the offending member (``session.audio.input.format``), ``code`` the machine-readable cause.
    Source: API reference, "Errors".
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        kind: str = "invalid_request_error",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind
        self.retry_after_s = retry_after_s
