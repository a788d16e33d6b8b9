"""fumehood: what Vercel's sandbox client sends to its API goes to $FUMEHOOD_API_URL."""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

API = os.environ.get("FUMEHOOD_API_URL", "").rstrip("/")


def of_today(module):
    module.DEFAULT_SANDBOX_API_BASE_URL = API


def before_0_6(module):
    """Its clients have the host as the default of an argument."""
    theirs = "https://api.vercel.com"
    for thing in list(vars(module).values()):
        init = getattr(thing, "__init__", None)
        defaults = getattr(init, "__kwdefaults__", None)
        if defaults and defaults.get("host") == theirs:
            init.__kwdefaults__ = {**defaults, "host": API}
        defaults = getattr(init, "__defaults__", None)
        if defaults and theirs in defaults:
            init.__defaults__ = tuple(API if one == theirs else one for one in defaults)


PATCHES = {
    "vercel.sandbox._internal.options": of_today,
    "vercel._internal.sandbox.core": before_0_6,
}


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        patch = PATCHES.get(name)
        spec = PathFinder.find_spec(name, path) if patch else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if API:
    sys.meta_path.insert(0, Finder)

# This file stands in front of the one that Python would have found.
here = os.path.dirname(os.path.abspath(__file__))
others = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
spec = PathFinder.find_spec("sitecustomize", others)
if spec is not None and spec.loader is not None:
    spec.loader.exec_module(module_from_spec(spec))
