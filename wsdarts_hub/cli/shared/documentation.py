"""Help pages of the commands, and the reference page that is generated from them."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from wsdarts_hub.cli.shared.long_work import signs_of_life

_EXAMPLE = "Example:"
_TWIN = "Python:"
_JSON, _JSON_ARRAY = "JSON:", "JSON: an array of objects"
_INTRODUCTION = (
    "This page is generated from the commands; `wsdarts-hub COMMAND --help` prints the same. "
    "Results go to stdout, progress and warnings to stderr; long work says at least every ten "
    "seconds what it is doing. With `--json` the result is one JSON "
    "object, or an array of objects, with the keys that are listed for each command. An error is "
    "one line on stderr and exit code 1; wrong usage has exit code 2; Ctrl-C has exit code 130, "
    "with a hint how to resume."
)

_NOT_RUN = (
    "<!-- no block of this page is run: its examples name no files in common; each command has "
    "tests of its own, and the guides run them in order -->"
)
_ANY_NUMBER = -1


class HelpedCommand(TyperCommand):
    """A command whose arguments are written as they are typed, without braces and types.

    One that takes ``--quiet`` prints a line at least every ten seconds without it.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with signs_of_life(ctx.info_name, quiet=ctx.params.get("quiet", True)):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the words after the command's name in its usage line."""
        return ["[OPTIONS]", *(_typed(each) for each in _arguments(self))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options with their explanations."""
        rows = [(_name(each), each.help or "") for each in _arguments(self)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        options = [each for each in self.get_params(ctx) if each.param_type_name == "option"]
        with formatter.section("Options"):
            formatter.write_dl([row for each in options if (row := each.get_help_record(ctx))])


class SectionedGroup(TyperGroup):
    """The program's commands, in sections by what they are for."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a list of commands for each section; those in none come last."""
        placed = {name for names in self.sections.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in placed]
        width = max(map(len, self.list_commands(ctx)))
        for title, names in {**self.sections, "Other commands": others}.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            limit = formatter.width - 6 - width
            rows = [(name.ljust(width), c.get_short_help_str(limit)) for name, c in found if c]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _arguments(command: TyperCommand) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "argument"]


def _name(argument: Any) -> str:
    return f"{argument.metavar or argument.name.upper()}"


def _typed(argument: Any) -> str:
    name = _name(argument) + ("..." if argument.nargs == _ANY_NUMBER else "")
    return name if argument.required else f"[{name}]"


def add_commands(
    app: typer.Typer, commands: Mapping[str, Callable[..., None]], groups: Mapping[str, str]
) -> None:
    """Register commands with their docstrings as help; ``"alias set"`` goes into group ``alias``.

    Args:
        app: What they are added to.
        commands: Each by what is typed after the program's name.
        groups: The help of each group.
    """
    made: dict[str, typer.Typer] = {}
    for words, command in commands.items():
        group, _, name = words.rpartition(" ")
        if group and group not in made:
            made[group] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
            app.add_typer(made[group], name=group, help=groups[group])
        target = made[group] if group else app
        target.command(name, cls=HelpedCommand, help=help_text(command))(command)


def registered(app: typer.Typer) -> dict[str, Callable[..., None]]:
    """Return every command by what is typed after the program's name, those in groups last."""
    found = {info.name or "": info.callback for info in app.registered_commands}
    for group in app.registered_groups:
        below = group.typer_instance.registered_commands if group.typer_instance else ()
        found |= {f"{group.name} {info.name}": info.callback for info in below}
    return {name: command for name, command in found.items() if command is not None}


def help_text(command: Callable[..., None]) -> str:
    """Return the docstring as Typer's help, which must not refill the indented paragraphs."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{p}" if "\n    " in p else p for p in paragraphs)


def example(command: Callable[..., None]) -> str:
    """Return the command line that the help shows as an example."""
    return _section(command, _EXAMPLE)


def python_twin(command: Callable[..., None]) -> str:
    """Return the Python code that the help shows beside the command."""
    return _section(command, _TWIN)


def json_keys(command: Callable[..., None]) -> dict[str, str]:
    """Return the keys of what ``--json`` prints with their meaning, by the help.

    ``a.b`` is a key of each object in the list ``a``; a name in capitals stands for any.
    """
    title = _JSON_ARRAY if is_json_array(command) else _JSON
    found = (line.partition(": ") for line in _section(command, title).splitlines())
    return {key: meaning for key, _, meaning in found}


def is_json_array(command: Callable[..., None]) -> bool:
    """Return whether ``--json`` prints an array of objects."""
    return _JSON_ARRAY in inspect.cleandoc(command.__doc__ or "").split("\n")


def reference_page(app: typer.Typer) -> str:
    """Return ``docs/cli.md``: every command with its arguments, options and Python twin."""
    commands = registered(app)
    parts = [
        "# The command line",
        _NOT_RUN,
        _INTRODUCTION,
        *_contents(commands, cast("type[SectionedGroup]", app.info.cls).sections),
    ]
    parts += [_page(name, command) for name, command in commands.items()]
    return "\n\n".join(parts) + "\n"


def _contents(
    commands: Mapping[str, Callable[..., None]], sections: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield a list of links for each section of the help, as it orders the commands."""
    placed = {first for names in sections.values() for first in names}
    others = [name for name in commands if name.split()[0] not in placed]
    for title, names in {**sections, **({"Other commands": others} if others else {})}.items():
        links = [
            f"- [`{name}`](#{name.replace(' ', '-')}): {_summary(command)}"
            for first in names
            for name, command in commands.items()
            if first in (name, name.split()[0])
        ]
        yield "\n".join([f"**{title}**", "", *links])


def _page(name: str, command: Callable[..., None]) -> str:
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    prose = [" ".join(p.split()) for p in paragraphs if "\n    " not in p]
    arguments, options = _parameters(command)
    usage = " ".join(["wsdarts-hub", name, *(a for a, _, _ in arguments), "[OPTIONS]"])
    parts = [f"## {name}", *prose, f"```text\n{usage}\n```"]
    rows = [(f"`{shown}`", text, default) for shown, text, default in (*arguments, *options)]
    table = ["| | | default |", "|---|---|---|"]
    table += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    parts.append("\n".join(table))
    if "as_json" in inspect.signature(command).parameters:
        kind = "an array of objects with" if is_json_array(command) else "an object with"
        keys = "\n".join(f"- `{key}`: {text}" for key, text in json_keys(command).items())
        parts.append(f"`--json` prints {kind}:\n\n{keys}")
    parts.append(f"```bash\n{example(command)}\n```")
    imports, _, rest = python_twin(command).partition("\n")
    parts.append(f"```python\n{imports}\n\n{rest}\n```")
    return "\n\n".join(parts)


def _parameters(
    command: Callable[..., None],
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Return arguments and options, each as it is typed, its explanation and its default."""
    arguments, options = [], []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = get_args(hints[name])
        text = info.help or ""
        required = parameter.default is inspect.Parameter.empty
        names = [d for d in _declared(info) if d.startswith("-")]
        names = names or [f"--{name.replace('_', '-')}"]
        if _is_argument(info):
            dots = "..." if getattr(kind, "__origin__", None) is list else ""
            typed = f"{info.metavar}{dots}"
            arguments.append((typed, text, "required") if required else (f"[{typed}]", text, ""))
            continue
        choices = "|".join(get_args(kind)) if _is_choice(kind) else ""
        value = f" {info.metavar or choices}".rstrip()
        default = "required" if required else _default(parameter.default)
        options.append((", ".join(sorted(names, key=len)) + value, text, default))
    return arguments, options


def _declared(info: Any) -> list[str]:
    """Return the names given to ``typer.Option``; within ``Annotated`` the first is ``default``."""
    return [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]


def _is_argument(info: Any) -> bool:
    return type(info).__name__ == "ArgumentInfo"


def _is_choice(kind: Any) -> bool:
    return all(isinstance(option, str) for option in get_args(kind)) and bool(get_args(kind))


def _default(value: Any) -> str:
    return "" if value is None or value is False else f"`{value}`"


def _summary(command: Callable[..., None]) -> str:
    return inspect.cleandoc(command.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _section(command: Callable[..., None], title: str) -> str:
    for paragraph in inspect.cleandoc(command.__doc__ or "").split("\n\n"):
        first, _, rest = paragraph.partition("\n")
        if first == title:
            return inspect.cleandoc(rest)
    raise LookupError(f"{command.__name__} has no section {title!r} in its docstring")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
