"""How long work says where it stands."""

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Show it; must return quickly."""
        ...


def silent(what: str, done: int, total: int, /) -> None:
    """Show nothing."""
