"""Certificates: the ones that are given, or one made for this machine."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from offhook.errors import ConfigError

# Browsers refuse certificates that are valid for longer.
DAYS: Final = 825
_RENEW_S: Final = 30 * 86400
_PATIENCE_S: Final = 30
_MEND: Final = "install openssl, or give a certificate with --tls-cert and --tls-key"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what a server needs for TLS 1.2 and later. Raises ConfigError for files that do not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path, setting in ((certificate, "--tls-cert"), (key, "--tls-key")):
        try:
            path.open("rb").close()
        except OSError as failure:
            raise ConfigError(setting, f"cannot read {path}: {failure.strerror}") from None
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as failure:
        why = failure.reason or "they cannot be read"
        raise ConfigError("--tls-cert", f"{certificate} and {key} do not do: {why}", "both have to be PEM") from None
    return context


def certificate_folder() -> Path:
    """Return where certificates made here are kept, so that they have to be trusted only once."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "offhook"


def local_certificate(hosts: Iterable[str], folder: Path) -> tuple[Path, Path]:
    """Return the certificate of this machine and its key, made anew when there is none for these hosts.

    It is its own authority, so it is the one file to trust. Raises ConfigError.
    """
    names = sorted({*_LOCAL, *hosts})
    certificate, key, known = folder / "certificate.pem", folder / "certificate-key.pem", folder / "certificate-names"
    wanted = "\n".join(names)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if known.exists() and known.read_text("utf-8") == wanted and key.exists() and _is_fresh(certificate):
            return certificate, key
        _make(certificate, key, names)
        known.write_text(wanted, "utf-8")
    except OSError as failure:
        message = f"cannot keep a certificate in {folder}: {failure.strerror}"
        raise ConfigError("--tls-self-signed", message, "set XDG_DATA_HOME to a folder of yours") from None
    return certificate, key


def _is_fresh(certificate: Path) -> bool:
    done = _openssl("x509", "-checkend", str(_RENEW_S), "-noout", "-in", str(certificate))
    return done.returncode == 0


def _make(certificate: Path, key: Path, names: list[str]) -> None:
    shown = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    settings = (
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=offhook on this machine\n[ext]\n"
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,digitalSignature,keyCertSign\n"
        f"extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nsubjectAltName={shown}\n"
    )
    key.unlink(missing_ok=True)
    os.close(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".cnf") as file:
        file.write(settings)
        file.flush()
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        files = ("-config", file.name, "-keyout", str(key), "-out", str(certificate))
        done = _openssl("req", "-x509", "-sha256", "-days", str(DAYS), *curve, *files)
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it failed"]
        raise ConfigError("--tls-self-signed", f"openssl made no certificate: {why[0]}", _MEND)


def _openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        program = ["openssl", *arguments]
        return subprocess.run(program, capture_output=True, check=False, timeout=_PATIENCE_S)  # noqa: S603 - no shell
    except FileNotFoundError:
        raise ConfigError("--tls-self-signed", "needs the openssl program, which is not installed", _MEND) from None
    except subprocess.TimeoutExpired:
        raise ConfigError("--tls-self-signed", "openssl does not answer", _MEND) from None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
