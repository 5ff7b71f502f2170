"""Commands on a terminal: help in sections, arguments by their plain names, signs of life."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

from wsdarts_hub.cli.shared.long_work import signs_of_life

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
