"""A pipeline used as a step of another, twice; its outputs are read, and the whole has an output of its own."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as out:
        out.write(text)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def measure(data: Input[Dataset]) -> int:
    with open(data.path) as source:
        return len(source.read())


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def total(a: int, b: int) -> int:
    return a + b


@dsl.pipeline(name="inner")
def inner(text: str = "abc") -> int:
    written = write(text=text)
    return measure(data=written.outputs["data"]).output


@dsl.pipeline(name="nested")
def pipeline(text: str = "hello") -> int:
    one = inner(text=text)
    two = inner()
    return total(a=one.output, b=two.output).output
