"""Compiles every pipeline of this folder next to the goldens: `python compile.py` with the pinned kfp."""

import importlib
import pathlib
import sys

from kfp import compiler

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here))
for source in sorted(here.glob("*.py")):
    if source.stem != "compile":
        module = importlib.import_module(source.stem)
        compiler.Compiler().compile(module.pipeline, str(here.parent / f"{source.stem}.yaml"))
