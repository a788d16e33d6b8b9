"""What works, one line for each public member of a client: `ok Sandbox.stop`, or
`no Sandbox.stop: 400 bad_request`. What the client has and no step names is said too."""

import re
import sys
import time
import traceback
from contextlib import contextmanager

_done = {}


def _words(error):
    """A failure in words that are the same in every run; the whole goes to stderr."""
    status = getattr(error, "status_code", None)
    if status:
        return f"{status} {getattr(error, 'code', None) or ''}".strip()
    if isinstance(error, AssertionError):
        return "not the result that it should be"
    if isinstance(error, (NameError, AttributeError)) and ("None" in str(error) or isinstance(error, NameError)):
        return "what it needs failed"
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    return re.sub(r"\w*\d\w{3,}", "…", text)[:90]


@contextmanager
def proves(*members):
    """Around what proves some members: all of them, or none."""
    began = time.monotonic()
    verdict = "ok"
    try:
        yield
    except Exception as error:
        verdict = _words(error)
        traceback.print_exc()
    for member in members:
        if member not in _done or verdict != "ok":
            _done[member] = verdict
    took = round((time.monotonic() - began) * 1000)
    print(f"{took} ms: {' '.join(members)}: {verdict}", file=sys.stderr, flush=True)


@contextmanager
def refused(status, code):
    """Around what the server has to refuse."""
    try:
        yield
    except Exception as error:
        found = (getattr(error, "status_code", None), getattr(error, "code", None))
        if found[0] is None:
            raise
        assert found[0] == status and found[1] in (code, None), found
    else:
        raise AssertionError("it was not refused")


def plain(name):
    return name.removeprefix("Sync").removeprefix("Async")


def members(types):
    """The public members of classes, with those that they inherit from the client's own."""
    for type_ in types:
        for base in type_.__mro__:
            if base.__module__.startswith("vercel"):
                yield from ((plain(type_.__name__), name, member)
                            for name, member in vars(base).items() if not name.startswith("_"))


def readable(of, object_):
    """Every property of an object can be read."""
    for type_, name, member in members([type(object_)]):
        # A slot is read as a property is.
        if isinstance(member, property) or type(member).__name__ == "member_descriptor":
            with proves(f"{of}.{name}"):
                getattr(object_, name)


def report(types, functions):
    known = {f"{type_}.{name}" for type_, name, _ in members(types)} | {f"functions.{name}" for name in functions}
    strange = _done.keys() - known
    assert not strange, f"the client has no {strange}"
    for name in sorted(known):
        verdict = _done.get(name, "no step proves it")
        print(f"ok {name}" if verdict == "ok" else f"no {name}: {verdict}")
