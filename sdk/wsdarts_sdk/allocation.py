"""A limit on the memory of a network that a file describes, while it is built."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class TooLargeError(Exception):
    """A network needs more memory than it was allowed."""


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Build networks within a limit: refuse a tensor before its memory is used.

    What is counted are new tensors, whatever becomes of them, so that no order of making and
    dropping them evades the limit.

    Args:
        size: Bytes that new tensors may have together.

    Raises:
        TooLargeError: They would have more.
    """
    with _Counter(size):
        yield


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # Memory that was only reserved costs nothing before it is written to.
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not any(isinstance(each, Tensor) for each in args):
            self._left -= made.numel() * made.element_size()
            if self._left < 0:
                raise TooLargeError
        return made
