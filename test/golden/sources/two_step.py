"""A Dataset made by one Python step, a Model and Metrics by the next, then a container step that reads both."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def prepare(rows: int, data: Output[Dataset]) -> str:
    with open(data.path, "w") as out:
        out.write("\n".join(str(n) for n in range(rows)))
    data.metadata["rows"] = rows
    return f"{rows} rows"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def train(data: Input[Dataset], rate: float, model: Output[Model], metrics: Output[Metrics]) -> float:
    with open(data.path) as lines:
        values = [int(line) for line in lines]
    mean = sum(values) / len(values)
    with open(model.path, "w") as out:
        out.write(str(mean * rate))
    metrics.log_metric("mean", mean)
    return mean


@dsl.container_component
def report(summary: str, mean: float, model: Input[Model], text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["sh", "-c", 'mkdir -p "$(dirname "$3")" && echo "$0: $1, model $(cat "$2")" > "$3"'],
        args=[summary, mean, model.path, text],
    )


@dsl.pipeline(name="two-step", description="prepare, train, report")
def pipeline(rows: int = 10, rate: float = 0.5):
    prepared = prepare(rows=rows)
    trained = train(data=prepared.outputs["data"], rate=rate)
    report(summary=prepared.outputs["Output"], mean=trained.outputs["Output"], model=trained.outputs["model"])
