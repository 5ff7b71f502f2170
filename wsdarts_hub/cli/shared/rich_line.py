"""Progress as one line of a terminal; imported only on one, as importing rich is slow."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from wsdarts_registry._text import clipped
from wsdarts_sdk.progress import TimeLeft, TimeSpent, in_words, so_far

_SHORTEST = 20  # columns that tell what is being done
_BEHIND = 46  # columns of percentage and times behind that, with days in them
_WIDE_ENOUGH = 80  # for a bar between them
_CTRL_C = 3


class Line(Progress):
    """Line with the present task, a bar where there is room, the time left and the time spent.

    It is gone when the work is done.

    Args:
        spent: What the command has cost so far.
    """

    def __init__(self, spent: TimeSpent) -> None:
        self._terminal, self._left = Console(stderr=True), TimeLeft()
        bar = (BarColumn(bar_width=None),) if self._terminal.width >= _WIDE_ENOUGH else ()
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=_unbroken()),
            *bar,
            TaskProgressColumn(table_column=_unbroken()),
            TextColumn("{task.fields[left]}", markup=False, table_column=_unbroken()),
            _SoFar(spent),
            console=self._terminal,
            transient=True,
            expand=bool(bar),
            redirect_stdout=False,  # results go to stdout even if stderr is the terminal
        )
        self._task = self.add_task("starting", total=None, left="")

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Move on."""
        room = max(_SHORTEST, self._terminal.width - _BEHIND)
        left = in_words(self._left.seconds(done, total))
        self.update(
            self._task, description=clipped(what, room), completed=done, total=total, left=left
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """Leave space for the ``^C`` of Ctrl-C, which would otherwise break the line."""
        for each in super().get_renderables():
            yield Constrain(each, self._terminal.width - _CTRL_C)


class _SoFar(ProgressColumn):
    """Time that the command has cost; moves on while the work reports nothing."""

    def __init__(self, spent: TimeSpent) -> None:
        super().__init__(table_column=_unbroken())
        self._spent = spent

    def render(self, task: Task) -> Text:
        del task  # one clock for all
        return Text(so_far(self._spent.seconds))


def _unbroken() -> Column:
    return Column(no_wrap=True)
