"""The ``offhook`` command."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from offhook._version import __version__
from offhook.config import ENV_PREFIX, SETTINGS, flag_of, load_config
from offhook.errors import ConfigError, OffhookError


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit status: 0 done, 1 failed, 2 asked for wrongly."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConfigError as problem:
        print(f"offhook: {problem.key}: {problem.message}", file=sys.stderr)
        if problem.mend:
            print(f"         {problem.mend}", file=sys.stderr)
        return 2
    except OffhookError as problem:
        print(f"offhook: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="offhook", description="The OpenAI Realtime Calls API as software that you run yourself."
    )
    parser.add_argument("--version", action="version", version=f"offhook {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="take calls", description=_SERVE, formatter_class=_Plain)
    _add_settings(serve)
    serve.set_defaults(run=_serve)

    call = commands.add_parser("call", help="make a call, speak, listen and measure", formatter_class=_Plain)
    _add_call_arguments(call)
    call.set_defaults(run=_call)

    doctor = commands.add_parser("doctor", help="check ports, models, keys and the webhook", formatter_class=_Plain)
    _add_settings(doctor)
    doctor.set_defaults(run=_doctor)

    replay = commands.add_parser("replay", help="run a call's journal again", formatter_class=_Plain)
    replay.add_argument("journal", type=Path, help="a file from the store's journals folder")
    replay.set_defaults(run=_replay)
    return parser


class _Plain(argparse.HelpFormatter):
    """Wide enough that a setting and its help stand on one line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


_SERVE = "Take calls. Every setting can also be given as OFFHOOK_NAME in the environment or in a TOML file."


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    for setting in SETTINGS:
        metadata = setting.metadata
        text = metadata["help"]
        if isinstance(setting.default, bool):
            parser.add_argument(flag_of(setting.name), action="store_const", const=True, help=text)
            continue
        shown = shown_default(setting.default)
        parser.add_argument(
            flag_of(setting.name),
            metavar=metadata["show"],
            action="append" if metadata["repeat"] else "store",
            help=f"{text} [{shown}]" if shown else text,
        )


def shown_default(default: object) -> str:
    """Return a default as a person would write it."""
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return "-".join(map(str, default))
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if isinstance(default, str | int) or hasattr(default, "port") else "webhook"


def _serve(arguments: argparse.Namespace) -> int:
    # Nothing is garbage before the server runs, and looking for some is a tenth of the start; ``serve`` looks again.
    gc.disable()
    path = arguments.config or os.environ.get(f"{ENV_PREFIX}CONFIG")
    config = load_config(vars(arguments), os.environ, Path(path).expanduser() if path else None)
    from offhook.media.blas import one_thread

    one_thread()  # before anything imports numpy
    from offhook.server import serve

    return _end_process(serve(config))


def _doctor(arguments: argparse.Namespace) -> int:
    path = arguments.config or os.environ.get(f"{ENV_PREFIX}CONFIG")
    config = load_config(vars(arguments), os.environ, Path(path).expanduser() if path else None)
    from offhook.media.blas import one_thread

    one_thread()
    from offhook.doctor import examine

    return _end_process(examine(config))


def _end_process(status: int) -> NoReturn:
    """End here, without taking the interpreter down.

    The HTTP client's threads still let go of what a request left, which aborts an interpreter that is being torn down;
    they cannot be waited for. Everything of ours is closed.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _replay(arguments: argparse.Namespace) -> int:
    from offhook.replay import show_replay

    return show_replay(arguments.journal)


def _add_call_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", help="whom to call, for example sip:agent@127.0.0.1:5060")
    parser.add_argument(
        "--say",
        action="append",
        metavar="FILE|TEXT",
        help="what to say: a WAV file, or a text; the next one when the other side has answered",
    )
    parser.add_argument(
        "--interrupt-after", type=float, metavar="S", help="say the next one so long after the answer began"
    )
    parser.add_argument("--listen-first", action="store_true", help="let the other side speak before the first one")
    parser.add_argument("--hear", type=Path, metavar="FILE", help="write what both sides said as a stereo WAV file")
    parser.add_argument("--dtmf", metavar="KEYS", help="keys to press once the call stands")
    parser.add_argument("--hangup-after", type=float, metavar="S", help="hang up so long after the call was answered")
    parser.add_argument("--from", dest="caller", default="sip:offhook@127.0.0.1", metavar="URI", help="who calls")
    parser.add_argument("--header", action="append", metavar="NAME: VALUE", help="a header of the INVITE")
    parser.add_argument("--tcp", action="store_true", help="call over TCP")
    parser.add_argument(
        "--bind", default="", metavar="HOST", help="the address to call from; else the one that leads there"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _call(arguments: argparse.Namespace) -> int:
    from offhook.testing.dialler import place_call

    return place_call(arguments)
