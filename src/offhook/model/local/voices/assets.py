"""The files of the voice: where they are, and that they are the ones that were tested. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from offhook.errors import ConfigError

INSTALLED: Final = "heart"
"""The voice that comes with the package."""

INSTALL: Final = "pip install 'offhook[local]'"

_MEND: Final = "pip install --force-reinstall 'offhook[local]'"

# Of hibari-tts 0.2.1: SHA-256, whole. Networks, and the tables that decide how a word is read.
INSTALLED_SHA256: Final = "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
_VOICE: Final = ("hibari.onnx", INSTALLED_SHA256)
_AMERICAN: Final = {
    "oov.onnx": "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
    "lexicon_us_gold.json.gz": "63ae94f8ef0e906d5b24fe9b59ffcbd1529aca5686a774610e43973cbaa86ad2",
    "lexicon_us_silver.json.gz": "c4c2546ebf1eb07010331e7ef785a431aa17ba8e7bfb6b4af8d654ee96a71fd3",
    "tagger.json.gz": "d2da7502284bbbe45d49e0b7ce3ce67bdab82254150f4317f1b8559b4d38d0eb",
}
_BRITISH: Final = {
    "oov_gb.onnx": "0997e3219543247de5646078d770f8ca77011d8fd0abb29fe48d12c60f53e9e1",
    "lexicon_gb_gold.json.gz": "66e675f23eb007d6707d23fe6603ba5e19f3513aefe42e3c8cd6c078a85f2ce0",
    "lexicon_gb_silver.json.gz": "637f887dd557d193af8c106f5c26624850db3e7bf0ec751ba917aac6d75e948d",
    "tagger.json.gz": "d2da7502284bbbe45d49e0b7ce3ce67bdab82254150f4317f1b8559b4d38d0eb",
}


@dataclass(frozen=True, slots=True)
class Provided:
    """A voice that a user may put into a folder: its file, the file's SHA-256, and whose English it speaks."""

    file: str
    sha256: str
    british: bool = False


PROVIDED: Final = {
    "emma": Provided(
        "bf_emma.int8.onnx", "f709f0488ee63b583a22189a955aaf4257b9806dd330be3490661e53af0a89c1", british=True
    ),
    "fenrir": Provided("am_fenrir_v2.int8.onnx", "f59fbd87908c91f827bc21b1b89443757b9a8580db9eee20aa948deb731321f4"),
    "fable": Provided(
        "bm_fable.int8.onnx", "c28529302f2d27cd12f62625c24425888c4e3c2675583100ec530259136b8bc6", british=True
    ),
    "kore": Provided("af_kore.int8.onnx", "346885752673e45d42f9864c9e2432094bc4b6385df060d4b83273da764d2fa9"),
}
"""The further voices of the package, by name."""


def is_installed() -> bool:
    """Whether the package that has the voice is there."""
    return find_spec("hibari") is not None


def folder() -> Path:
    """Return where the package keeps its files; ConfigError when it is not installed. Nothing of it is imported."""
    found = find_spec("hibari")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("--models", "the local voice is not installed", INSTALL)
    return Path(found.submodule_search_locations[0]) / "assets"


def installed_voice() -> bytes:
    """Return the installed voice's network; ConfigError when it is missing or another."""
    name, sha256 = _VOICE
    return _read(folder() / name, sha256, _MEND)


def provided_voice(name: str, where: Path | None) -> bytes:
    """Return the network of a voice that the user provides; ConfigError that names the file when there is none."""
    voice = PROVIDED[name]
    if where is None:
        raise ConfigError("voices folder", f"voice {name!r} needs the file {voice.file}", "name the folder that has it")
    return _read(where / voice.file, voice.sha256, f"voice {name!r} needs the original {voice.file}")


def check_tables(*, british: bool) -> None:
    """Raise ConfigError unless the tables and the network that read words are the tested ones."""
    for name, sha256 in (_BRITISH if british else _AMERICAN).items():
        _read(folder() / name, sha256, _MEND)


def _read(path: Path, sha256: str, mend: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", mend) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ConfigError(str(path), "is not the file that was tested", mend)
    return data
