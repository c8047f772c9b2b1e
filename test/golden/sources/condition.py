"""A condition: refused until conditions are compiled."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def flip(n: int) -> str:
    return "heads"


@dsl.pipeline(name="condition")
def pipeline(n: int = 1):
    flipped = flip(n=n)
    with dsl.If(flipped.output == "heads"):
        flip(n=2)
