"""Not series-parallel: two sources, one sink that needs both and one that needs a single one."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make(n: int) -> int:
    return n


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def one(a: int) -> int:
    return a


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def both(a: int, b: int) -> int:
    return a + b


@dsl.pipeline(name="cross")
def pipeline(n: int = 1):
    first = make(n=n)
    second = make(n=n)
    one(a=first.output)
    both(a=first.output, b=second.output)
