"""What a user does with an unmodified kfp.Client, written down as JSON lines: `python two_step.py HOST`.

Each line is one scene with what the client saw; kfp.test.ts judges them.
"""
import json
import os
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")

import kfp_server_api  # noqa: E402
from kfp import Client, compiler, dsl  # noqa: E402
from kfp.dsl import Dataset, Input, Metrics, Model, Output  # noqa: E402

TIMEOUT = 600


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def prepare(rows: int, data: Output[Dataset]) -> str:
    with open(data.path, "w") as out:
        out.write("\n".join(str(n) for n in range(rows)))
    data.metadata["rows"] = rows
    print("prepared", rows, "rows")
    return f"{rows} rows"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def train(data: Input[Dataset], rate: float, model: Output[Model], metrics: Output[Metrics]) -> float:
    import os

    with open(data.path) as lines:
        values = [int(line) for line in lines]
    mean = sum(values) / len(values)
    with open(model.path, "w") as out:
        out.write(str(mean * rate))
    metrics.log_metric("mean", mean)
    assert os.environ["MLFLOW_RUN_ID"] and os.environ["MLFLOW_TRACKING_URI"].startswith("http")
    return mean


@dsl.container_component
def report(summary: str, mean: float, model: Input[Model], text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["sh", "-c", 'mkdir -p "$(dirname "$3")" && echo "$0: $1, model $(cat "$2")" > "$3"'],
        args=[summary, mean, model.path, text],
    )


@dsl.pipeline(name="two-step", description="prepare, train, report")
def two_step(rows: int, rate: float = 0.5):
    prepared = prepare(rows=rows)
    trained = train(data=prepared.outputs["data"], rate=rate)
    report(summary=prepared.outputs["Output"], mean=trained.outputs["Output"], model=trained.outputs["model"])


@dsl.container_component
def touch(path: str):
    return dsl.ContainerSpec(image="busybox:1.36", command=["sh", "-c", 'echo once >> "$0"'], args=[path])


@dsl.container_component
def need(path: str):
    return dsl.ContainerSpec(image="busybox:1.36", command=["sh", "-c", 'echo looking; test -e "$0"'], args=[path])


@dsl.pipeline(name="flaky")
def flaky(counter: str, marker: str):
    first = touch(path=counter)
    first.set_caching_options(False)
    second = need(path=marker).after(first)
    second.set_caching_options(False)


@dsl.container_component
def wait():
    return dsl.ContainerSpec(image="busybox:1.36", command=["sh", "-c", "sleep 300"])


@dsl.pipeline(name="slow")
def slow():
    wait().set_caching_options(False)


@dsl.container_component
def eventually(path: str):
    return dsl.ContainerSpec(
        image="busybox:1.36",
        command=["sh", "-c", 'echo x >> "$0"; test "$(wc -l < "$0")" -ge 3'],
        args=[path],
    )


@dsl.pipeline(name="again")
def again(path: str):
    task = eventually(path=path)
    task.set_caching_options(False)
    task.set_retry(num_retries=3, backoff_duration="1s")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def flip(n: int) -> str:
    return "heads"


@dsl.pipeline(name="conditional")
def conditional():
    flipped = flip(n=1)
    with dsl.If(flipped.output == "heads"):
        flip(n=2)


def tell(scene, **seen):
    print(json.dumps({"scene": scene, **seen}, default=str), flush=True)


def tasks_of(run):
    return {
        task.display_name: {
            "state": task.state,
            "notes": [entry.error.message for entry in task.state_history or [] if entry.error],
            "outputs": sorted(task.outputs or {}),
            "inputs": sorted(task.inputs or {}),
            "error": task.error.message if task.error else None,
            "id": task.task_id,
        }
        for task in (run.run_details.task_details if run.run_details else None) or []
    }


def ended(client, run_id):
    run = client.wait_for_run_completion(run_id, timeout=TIMEOUT, sleep_duration=0.2)
    return run


def refusal(act):
    try:
        act()
    except kfp_server_api.ApiException as error:
        return {"status": error.status, "body": json.loads(error.body)}
    return None


def main(host):
    client = Client(host=host)
    folder = tempfile.mkdtemp()

    first = client.create_run_from_pipeline_func(two_step, arguments={"rows": 10}, experiment_name="demand")
    run = ended(client, first.run_id)
    tell("first", run_id=first.run_id, state=run.state, error=run.error and run.error.message, tasks=tasks_of(run))

    second = client.create_run_from_pipeline_func(two_step, arguments={"rows": 10}, experiment_name="demand")
    run = ended(client, second.run_id)
    tell("cached", run_id=second.run_id, state=run.state, tasks=tasks_of(run))

    third = client.create_run_from_pipeline_func(two_step, arguments={"rows": 12}, experiment_name="demand")
    run = ended(client, third.run_id)
    tell("other rows", state=run.state, tasks=tasks_of(run))

    third = client.create_run_from_pipeline_func(
        two_step, arguments={"rows": 12}, experiment_name="demand", enable_caching=False
    )
    run = ended(client, third.run_id)
    tell("caching off", state=run.state, tasks=tasks_of(run))

    tell("missing parameter", refusal=refusal(
        lambda: client.create_run_from_pipeline_func(two_step, arguments={}, experiment_name="demand")))
    tell("wrong type", refusal=refusal(
        lambda: client.create_run_from_pipeline_func(two_step, arguments={"rows": "ten"}, experiment_name="demand")))
    tell("refused feature", refusal=refusal(lambda: client.create_run_from_pipeline_func(conditional)))

    counter, marker = os.path.join(folder, "counter"), os.path.join(folder, "marker")
    failing = client.create_run_from_pipeline_func(flaky, arguments={"counter": counter, "marker": marker})
    run = ended(client, failing.run_id)
    failed = {"state": run.state, "error": run.error and run.error.message, "tasks": tasks_of(run)}
    open(marker, "w").close()
    client._run_api.run_service_retry_run(failing.run_id)
    run = ended(client, failing.run_id)
    tell("retry", failed=failed, state=run.state, tasks=tasks_of(run), count=len(open(counter).readlines()),
         history=[entry.state for entry in run.state_history])

    retried = client.create_run_from_pipeline_func(again, arguments={"path": os.path.join(folder, "tries")})
    run = ended(client, retried.run_id)
    tell("retry policy", state=run.state, tasks=tasks_of(run), tries=len(open(os.path.join(folder, "tries")).readlines()))

    sleeping = client.create_run_from_pipeline_func(slow)
    deadline = time.time() + 60
    while time.time() < deadline and not tasks_of(client.get_run(sleeping.run_id)):
        time.sleep(0.1)
    client.terminate_run(sleeping.run_id)
    while time.time() < deadline and client.get_run(sleeping.run_id).state != "CANCELED":
        time.sleep(0.1)
    run = client.get_run(sleeping.run_id)
    tell("terminate", state=run.state, history=[entry.state for entry in run.state_history], tasks=tasks_of(run),
         again=refusal(lambda: client.terminate_run(sleeping.run_id)))

    package = os.path.join(folder, "two_step.yaml")
    compiler.Compiler().compile(two_step, package)
    pipeline = client.upload_pipeline(package, pipeline_name="two step", description="demo")
    found = client.get_pipeline_id("two step")
    duplicate = refusal(lambda: client.upload_pipeline(package, pipeline_name="two step"))
    version = client.upload_pipeline_version(package, "second", pipeline_id=pipeline.pipeline_id)
    versions = client.list_pipeline_versions(pipeline.pipeline_id)
    experiment = client.get_experiment(experiment_name="demand")
    started = client.run_pipeline(
        experiment.experiment_id, "by version", params={"rows": 10},
        pipeline_id=pipeline.pipeline_id, version_id=version.pipeline_version_id)
    run = ended(client, started.run_id)
    listed = client.list_runs(experiment_id=experiment.experiment_id, page_size=2, sort_by="created_at desc")
    names = [entry.run_id for entry in listed.runs]
    rest = client.list_runs(experiment_id=experiment.experiment_id, page_size=100, page_token=listed.next_page_token,
                            sort_by="created_at desc")
    client.archive_run(started.run_id)
    archived = client.get_run(started.run_id).storage_state
    client.unarchive_run(started.run_id)
    kept = refusal(lambda: client.delete_pipeline(pipeline.pipeline_id))
    for entry in versions.pipeline_versions:
        client.delete_pipeline_version(pipeline.pipeline_id, entry.pipeline_version_id)
    client.delete_pipeline(pipeline.pipeline_id)
    client.delete_run(started.run_id)
    tell("catalog", found=found == pipeline.pipeline_id, duplicate=duplicate, versions=versions.total_size,
         name=version.display_name, state=run.state, newest=names[0] == started.run_id, page=len(names),
         total=listed.total_size, rest=len(rest.runs), archived=archived, kept=kept,
         default=client.get_experiment(experiment_name="Default").display_name,
         spec=sorted(versions.pipeline_versions[0].pipeline_spec)[0],
         gone=refusal(lambda: client.get_run(started.run_id)))


if __name__ == "__main__":
    main(sys.argv[1])
