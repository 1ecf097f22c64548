"""Which URLs this process may call out to."""

from __future__ import annotations

from urllib.parse import urlsplit

from offhook.errors import ConfigError


def check_url(key: str, url: str) -> str:
    """Return an http or https URL as it came.

    Raises ConfigError, with the name of the setting, for what no HTTP client could use, and for credentials in the URL:
    they would end up in logs.
    """
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named or parts.scheme not in {"http", "https"}:
        raise ConfigError(key, f"'{url}' is not an http or https URL", "write it as http://HOST:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(key, "holds a user name or password", "give the secret by its own setting")
    return url
