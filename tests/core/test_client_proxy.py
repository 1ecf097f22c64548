"""Which proxy a request goes through."""

from __future__ import annotations

from base64 import b64encode

import pytest

from offhook.client.proxy import Proxy, choose_proxy, connect_request, connect_status
from offhook.errors import ConfigError


@pytest.mark.parametrize(
    ("scheme", "environment", "expected"),
    [
        ("https", {}, None),
        ("https", {"HTTPS_PROXY": "http://proxy:3128"}, Proxy("proxy", 3128, None)),
        ("https", {"https_proxy": "http://one", "HTTPS_PROXY": "http://two"}, Proxy("one", 80, None)),
        ("https", {"HTTP_PROXY": "http://proxy"}, None),
        ("http", {"HTTP_PROXY": "proxy:8080"}, Proxy("proxy", 8080, None)),
        ("http", {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None),
        ("http", {"http_proxy": "http://proxy", "REQUEST_METHOD": "GET"}, Proxy("proxy", 80, None)),
        ("http", {"ALL_PROXY": "http://[::1]:1"}, Proxy("::1", 1, None)),
        ("http", {"http_proxy": "http://me:p%40ss@proxy"}, Proxy("proxy", 80, "Basic bWU6cEBzcw==")),
        *(
            ("https", {"HTTPS_PROXY": "http://proxy", "NO_PROXY": exempt}, None)
            for exempt in (
                "*",
                "api.example.com",
                "a, .example.com",
                "example.com",
                "*.example.com",
                "api.example.com:443",
            )
        ),
        *(
            ("https", {"HTTPS_PROXY": "http://proxy", "no_proxy": exempt}, Proxy("proxy", 80, None))
            for exempt in ("", ",", "ample.com", "other.com", "api.example.com:80")
        ),
    ],
)
def test_the_environment_says_which(scheme: str, environment: dict[str, str], expected: Proxy | None) -> None:
    assert choose_proxy(scheme, "api.example.com", 443, environment) == expected


@pytest.mark.parametrize("url", ["socks5://proxy", "https://proxy", "http://", "http://x:99999"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigError, match="proxy") as caught:
        choose_proxy("https", "x", 443, {"HTTPS_PROXY": url.replace("//", "//me:secret@")})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Proxy("proxy", 80, "Basic secret"))


@pytest.mark.parametrize(
    ("user", "plain"),
    [
        ("me", "me:"),
        ("me:100%25", "me:100%"),
        ("a%2Fb:%3Fc%23d", "a/b:?c#d"),
        ("a%40b.example:p%40s%3As%20%5B%5D", "a@b.example:p@s:s []"),
        ("m%C3%BC:%E2%82%AC", "m\u00fc:\u20ac"),
    ],
)
def test_user_and_password_are_what_the_url_encodes(user: str, plain: str) -> None:
    proxy = choose_proxy("http", "x", 80, {"http_proxy": f"http://{user}@proxy"})
    assert proxy is not None
    assert proxy.headers == {"proxy-authorization": "Basic " + b64encode(plain.encode()).decode()}


def test_a_tunnel_is_asked_for_and_its_reply_read() -> None:
    asked = connect_request(Proxy("proxy", 80, "Basic eA=="), "::1", 443)
    assert asked == b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\nproxy-authorization: Basic eA==\r\n\r\n"
    assert connect_status(b"HTTP/1.1 200 OK\r\n") is None
    assert connect_status(b"HTTP/1.0 200\r\n\r\n") == 200
    assert connect_status(b"HTTP/1.1 407 Authenticate\r\nx: y\r\n\r\n") == 407
    assert connect_status(b"SSH-2.0\r\n\r\n") == 0
    assert connect_status(b"a" * 100_000) == 0
