"""The article's two-step pipeline, written for today's SDK: only the address is ours.

The images of the article are served by no registry, so both steps run a shell in its place.

    python pipeline.py [http://localhost:5000]
"""

import sys

import kfp
from kfp import dsl


@dsl.container_component
def preprocess(data_path: str, data: dsl.Output[dsl.Dataset]):
    return dsl.ContainerSpec(
        image="python:3.11",
        command=["sh", "-c", 'tr a-z A-Z < "$0" > "$1" && wc -l "$1"'],
        args=[data_path, data.path],
    )


@dsl.container_component
def train(data: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]):
    return dsl.ContainerSpec(
        image="python:3.11",
        command=["sh", "-c", 'cksum "$0" > "$1" && echo "trained on $0"'],
        args=[data.path, model.path],
    )


@dsl.pipeline(name="my-ml-pipeline", description="A sample ML pipeline")
def my_pipeline(data_path: str):
    preprocess_task = preprocess(data_path=data_path)
    train(data=preprocess_task.outputs["data"])


kfp.compiler.Compiler().compile(my_pipeline, "pipeline.yaml")
client = kfp.Client(host=sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5000")

# `data_path` is required and has no default, so an empty call is refused at once, by its name.
try:
    client.create_run_from_pipeline_func(my_pipeline, arguments={})
except Exception as refusal:
    print("Refused:", getattr(refusal, "body", None) or refusal)

run = client.create_run_from_pipeline_func(my_pipeline, arguments={"data_path": __file__})
finished = client.wait_for_run_completion(run.run_id, timeout=300)
print(f"KFP Run ID: {finished.run_id} {finished.state}")
sys.exit(0 if finished.state == "SUCCEEDED" else 1)
