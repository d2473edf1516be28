"""redis-py's errors under our names: they stop at this package."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis import exceptions

from store.errors import StoreError, StoreFull, StoreUnavailable, StoreUnsuitable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translated() -> Iterator[None]:
    """Name redis-py's errors as ours. Everything that talks to Redis runs inside of it.

    redis-py sends under `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes together with
    the result: the task would go on for ever. Here it is found again.
    """
    task = _current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        if isinstance(error, exceptions.RedisError):
            raise translate(error) from error
        raise StoreUnavailable(str(error) or type(error).__name__) from error
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # there is no loop: a measurement


def translate(error: BaseException) -> StoreError:
    """Our error for one of redis-py's."""
    text = str(error) or type(error).__name__
    match error:
        case exceptions.OutOfMemoryError():
            return StoreFull(text)
        case exceptions.NoPermissionError():
            return StoreUnsuitable(text)
        case exceptions.ConnectionError() if _is_refused_login(error):
            return StoreUnsuitable(text)
        case exceptions.ConnectionError() | exceptions.TimeoutError() | exceptions.ReadOnlyError():
            return StoreUnavailable(text)
        case exceptions.MasterDownError() | exceptions.TryAgainError() | exceptions.ClusterDownError():
            return StoreUnavailable(text)
        case _:
            return StoreError(text)


def _is_refused_login(error: BaseException | None) -> bool:
    """Whether a connection failed by user or password: redis-py tells it as a plain ConnectionError with a cause."""
    while error is not None:
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            return True
        error = error.__cause__ or error.__context__
    return False
