"""The command line: each command parses, makes one call, prints.

Modules that take long to load are imported by the commands that need them, so that ``--help``
is quick and what only reads a registry loads no torch.
"""

import time

_BEGAN = time.monotonic()  # what is imported from here on is a part of what a command costs

import errno
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, ClassVar, TextIO

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.artifacts import pull, show, verify
from wsdarts_hub.cli.demo import demo
from wsdarts_hub.cli.embeddings import embed, nearest
from wsdarts_hub.cli.listing import build_gallery, list_artifacts, serve_gallery
from wsdarts_hub.cli.maintenance import (
    accept,
    doctor,
    gc,
    list_aliases,
    rebuild_index,
    remove_alias,
    set_alias,
)
from wsdarts_hub.cli.models import evaluate, export, predict, train
from wsdarts_hub.cli.publishing import copy, keygen, push, push_model, sign, unyank, yank
from wsdarts_hub.cli.relations import diff, lineage
from wsdarts_hub.cli.searches import report, search, warm_start
from wsdarts_hub.cli.shared import display
from wsdarts_hub.cli.shared.documentation import SectionedGroup, add_commands
from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._libraries import naming_hidden_libraries
from wsdarts_registry._memory import shortage
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import (
    ReportedElsewhere,
    SettingsError,
    WsdartsError,
    WsdartsWarning,
    end_after_another,
)
from wsdarts_sdk.progress import counting_from

__all__ = ["app", "main"]

_IMPORTING = time.monotonic() - _BEGAN

_PROGRAM = "wsdarts-hub"
_UsageError: Any = typer.BadParameter.__base__  # of all wrong usage; typer does not export it
_NO_CHOICE = re.compile(r"'([^']*)' is not one of ((?:'[^']*'(?:, )?)+)\.$")
_LONGEST_MESSAGE = 4000
_SHARED = ("search", "warm-start", "train")  # commands that several processes run together
_CHATTY = ("datasets", "httpx", "huggingface_hub", "timm")
# Two of them set their own level when they are imported later, as these say; whoever wants to
# hear them sets these otherwise.
_QUIET = {
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",  # torchvision's downloads
}
_FULL = "make room, or name another place; --resume goes on with a run that was begun"
# What the operating system refuses, by its number, and what to do.
_REFUSED = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: f"files may not be larger here (`ulimit -f` says how large): {_FULL}",
    errno.EIO: "the disk or the connection to it fails; try again, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "ask for access, or name another path",
    errno.EPERM: "ask for access, or name another path",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "close other programs: the machine has too many open files",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle; name the file itself",
    errno.EBADF: "redirect the output to a file or to /dev/null",
}
_NO_MEMORY = (
    "close other programs, or take less at once: a smaller batch (--set search.batch_size=N or "
    "--set training.batch_size=N) or preset; --resume goes on with a run that was begun"
)


class _Commands(SectionedGroup):
    sections: ClassVar = {
        "Search and training": (
            "demo",
            "embed",
            "nearest",
            "warm-start",
            "search",
            "train",
            "report",
        ),
        "Trained models": ("evaluate", "predict", "export", "push-model"),
        "Registry": ("list", "show", "lineage", "diff", "gallery"),
        "Publishing": ("push", "pull", "copy", "alias", "yank", "unyank", "index"),
        "Signatures and checks": ("verify", "sign", "keygen", "accept"),
        "Installation": ("doctor", "gc"),
    }


app = typer.Typer(
    cls=_Commands,
    help="An architecture zoo: publish transfer architectures, and warm-start DARTS from the "
    "nearest one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "warm-start": warm_start,
    "embed": embed,
    "nearest": nearest,
    "search": search,
    "train": train,
    "report": report,
    "predict": predict,
    "evaluate": evaluate,
    "export": export,
    "push-model": push_model,
    "list": list_artifacts,
    "show": show,
    "lineage": lineage,
    "diff": diff,
    "pull": pull,
    "verify": verify,
    "push": push,
    "copy": copy,
    "yank": yank,
    "unyank": unyank,
    "alias set": set_alias,
    "alias remove": remove_alias,
    "alias list": list_aliases,
    "index rebuild": rebuild_index,
    "accept": accept,
    "gc": gc,
    "sign": sign,
    "keygen": keygen,
    "gallery build": build_gallery,
    "gallery serve": serve_gallery,
    "doctor": doctor,
}
_GROUPS = {
    "alias": "Names for versions, such as NAME@stable.",
    "index": "The index of a registry on the Hugging Face Hub.",
    "gallery": "A registry as a static site.",
}
add_commands(app, _COMMANDS, _GROUPS)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{_PROGRAM} {hub.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the Hugging Face Hub, for registries hf://OWNER. HF_ENDPOINT, else "
            "the official one, by default.",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Allow a Hub beyond this machine that is not encrypted (http://), as "
            "WSDARTS_HUB_INSECURE=1 does; others on the way can read your token.",
        ),
    ] = False,
) -> None:
    command = context.invoked_subcommand
    if _ranks() > 1 and command not in _SHARED:
        raise SettingsError(
            f"{command} runs in one process, and torchrun started {_ranks()}",
            hint=f"run it without torchrun, which is for {', '.join(_SHARED)}",
        )
    if insecure:
        os.environ["WSDARTS_HUB_INSECURE"] = "1"
    if endpoint is not None:
        os.environ["HF_ENDPOINT"] = endpoint


def _ranks() -> int:
    """Return how many processes torchrun has started for this command."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _rank() is not None else 1


def _rank() -> int | None:
    """Return the number of this process among them; None where torchrun started none."""
    found = os.environ.get("RANK", "")
    return int(found) if found.isdigit() and "MASTER_PORT" in os.environ else None


def main() -> None:
    """Run the command line; print what is no fault of the program as one line, not a traceback."""
    began = time.monotonic() - _IMPORTING
    _open_missing_streams()
    stderr = _mute_all_but_first()
    plain = display.register()
    for stream, errors in ((sys.stdout, plain), (sys.stderr, "replace")):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be valid text
            stream.reconfigure(errors=errors)
    _silence_libraries()
    _say_warnings()
    try:
        try:
            with naming_hidden_libraries(), counting_from(began):
                _run()
        except SystemExit:
            sys.stdout.flush()  # what cannot be written is told here, not on the way out
            raise
    except BrokenPipeError:  # whoever read the output has seen enough
        _discard_output()
        raise SystemExit(1) from None
    except ReportedElsewhere:
        raise
    except SystemExit as left:
        if _rank() and left.code:  # of wrong usage, which the first process tells
            end_after_another(left)
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        sys.stderr = stderr
        text = _text_of(error)
        if text is None:
            raise
        _discard_output()
        _say_error(text)
        raise SystemExit(1) from error


def _mute_all_but_first() -> TextIO:
    """Let the first of several processes speak alone; return stderr, for errors."""
    stderr = sys.stderr
    if _rank():
        sys.stdout = sys.stderr = _nowhere()
    return stderr


def _text_of(error: BaseException) -> str | None:
    """Return what is said of an error; None for a fault of the program.

    Raises:
        ReportedElsewhere: The first of several processes says it.
    """
    text = explained(error)
    if text is None or not _rank():
        return text
    if not getattr(error, "__notes__", ()):
        end_after_another(error)
    return f"rank {_rank()}: {text}"


def explained(error: BaseException) -> str | None:
    """Return an exception as one line for the user; None for a fault of the program."""
    lacking = shortage(error)
    if lacking is not None:
        return " ".join(_lack_of_memory(lacking).split())
    if isinstance(error, WsdartsError):
        return str(error)
    for kind, text in _TABLE:
        if isinstance(error, kind) and (found := text(error)) is not None:
            return " ".join(found.split())
    return None


def _refusal(error: BaseException) -> str | None:
    if not isinstance(error, OSError) or error.errno not in _REFUSED:
        return None
    what = "cannot write" if error.filename is None else f"cannot use {error.filename}"
    return f"{what}: {error.strerror}; {_REFUSED[error.errno]}"


def _lack_of_memory(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0]
    return f"out of memory{f' ({said})' if said else ''}; {_NO_MEMORY}"


def _told_by_a_library(error: BaseException) -> str | None:
    """Recognise errors of Python, the linker and tempfile by their text."""
    said = str(error)
    if said == "can't start new thread":
        return f"{said}; close other programs, or allow more threads (`ulimit -u`, `ulimit -v`)"
    if "failed to map segment" in said:
        return (
            f"cannot load a library ({said}); allow more memory (`ulimit -v`), and install where "
            "programs may be run"
        )
    if "No usable temporary directory" in said:
        return "cannot write a temporary file; make room, or name a directory in TMPDIR"
    return None


_TABLE: tuple[tuple[type[BaseException], Callable[[BaseException], str | None]], ...] = (
    (OSError, _refusal),
    (BaseException, _told_by_a_library),
)


def _run() -> None:
    """Run the command; report wrong usage like every other error, after the usage line.

    Raises:
        SystemExit: Always.
    """
    try:
        code = app(prog_name=_PROGRAM, standalone_mode=False)
    except _UsageError as error:
        text = _wrong_usage(error)
        if text.startswith("Usage:"):  # a group without a command: its help
            typer.echo(text, err=True)
        else:
            context = error.ctx
            typer.echo(context.get_usage(), err=True)
            typer.echo(f"Try '{context.command_path} -h' for help.", err=True)
            _say_error(text)
        raise SystemExit(error.exit_code) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _wrong_usage(error: Any) -> str:
    """Return what is wrong with the usage, with the nearest names where a choice is none."""
    text = str(error.format_message()).replace("Value error, ", "", 1)
    if not (found := _NO_CHOICE.search(text)):
        return text
    nearest = nearest_names(found[1], re.findall(r"'([^']*)'", found[2]))
    return f"{text} {did_you_mean(nearest).capitalize()}".rstrip()


def _open_missing_streams() -> None:
    """Refuse to work without stdout; without stderr, let nobody hear what is said there."""
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if sys.stdout is None:
        _say_error("stdout is closed; redirect it to a file or to /dev/null")
        raise SystemExit(1)


def _nowhere() -> TextIO:
    """Return a stream whose text nobody reads."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def _discard_output() -> None:
    """Discard output that cannot be written, so that Python's last flush does not fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_error(text: str) -> None:
    with suppress(OSError):  # stderr may be what cannot be written
        word = typer.style("error:", fg=typer.colors.RED, bold=True)
        typer.echo(f"{word} {sanitize(text, _LONGEST_MESSAGE)}", file=sys.stderr)


def _say_warnings() -> None:
    """Print each warning of ours as one line, once; leave other warnings as they are."""
    others = warnings.showwarning
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, WsdartsWarning):
            text = sanitize(str(message), _LONGEST_MESSAGE)
            if text not in said:
                typer.echo(f"warning: {text}", file=sys.stderr)
            said.add(text)
        else:
            others(message, category, *where, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", WsdartsWarning)


def _silence_libraries() -> None:
    """Keep messages and progress bars of libraries off stderr."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
