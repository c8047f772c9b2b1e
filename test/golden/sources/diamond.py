"""Series and parallel: one source, two arms of which one is a chain, one sink; and a stranger beside them."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def start(n: int) -> int:
    return n


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def double(n: int) -> int:
    return 2 * n


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int) -> int:
    return a + b


@dsl.pipeline(name="diamond")
def pipeline(n: int):
    source = start(n=n)
    left = double(n=source.output)
    left_again = double(n=left.output)
    right = double(n=source.output)
    add(a=left_again.output, b=right.output)
    start(n=1)
