"""One program for a client's two flavours: what one returns, the other has to be waited for."""

import inspect
from contextlib import asynccontextmanager


async def got(value):
    return await value if inspect.isawaitable(value) else value


async def every(iterable):
    if hasattr(iterable, "__aiter__"):
        return [each async for each in iterable]
    return list(iterable)


@asynccontextmanager
async def within(scope):
    if hasattr(scope, "__aenter__"):
        async with scope as inner:
            yield inner
    else:
        with scope as inner:
            yield inner
