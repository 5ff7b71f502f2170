"""Work that is done one step ahead, on a thread, while its result is not needed yet."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")
_DEPTH = 2  # results under way or waiting: one is in use while two are made


def ahead(
    jobs: Iterable[Callable[[], _Result]], *, threaded: bool = True
) -> Generator[_Result, None, None]:
    """Do jobs one after another on a thread and yield their results in order.

    At most two are done before they are asked for. An error of a job is raised where its result
    would be. Closing the generator, or an error, ends the thread.

    Args:
        jobs: Must not depend on when they are done.
        threaded: Otherwise each is done where its result is asked for.
    """
    if not threaded:
        yield from (job() for job in jobs)
        return
    pending: deque[Future[_Result]] = deque()
    thread = ThreadPoolExecutor(1, thread_name_prefix="wsdarts-ahead")
    try:
        for job in jobs:
            pending.append(thread.submit(job))
            if len(pending) > _DEPTH:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
