"""The unmodified MLflow client against a server: experiments, runs, batches, history and search.

Usage: tracking.py <tracking uri> [leave | find <run id>]. Exits 1 at the first check that fails. `leave` logs one run and
prints its id as the last line; `find` holds that run to what `leave` logged.
"""

import math
import sys
import time

import mlflow
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

uri = sys.argv[1]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
suffix = str(time.time_ns())
checks = 0

if sys.argv[2:3] == ["leave"]:
    left = client.create_run("0", run_name="left").info.run_id
    client.log_batch(
        left,
        metrics=[Metric("m", step / 7, 1000 + step, step) for step in range(1000)],
        params=[Param("p", "v")],
    )
    client.log_metric(left, "m", 1.0, step=1000)
    print(left)
    sys.exit(0)
if sys.argv[2:3] == ["find"]:
    run = client.get_run(sys.argv[3])
    whole = client.get_metric_history(sys.argv[3], "m")
    good = run.data.params == {"p": "v"} and run.data.metrics == {"m": 1.0} and len(whole) == 1001
    print("found" if good else f"lost: {run.data} and {len(whole)} points")
    sys.exit(0)


def check(what, holds):
    global checks
    if not holds:
        print(f"FAILED {what}")
        sys.exit(1)
    checks += 1


def refused(what, code, call):
    try:
        call()
    except MlflowException as error:
        check(f"{what}: {error.error_code}", error.error_code == code)
        return error
    check(f"{what} was not refused", False)


# Experiments
default = client.get_experiment("0")
check("the default experiment exists", default.name == "Default" and default.lifecycle_stage == "active")
name = f"forecast {suffix}"
exp = client.create_experiment(name, tags={"team": "a"})
check("ids are decimal", exp.isdigit())
check("by name", client.get_experiment_by_name(name).experiment_id == exp)
check("absent by name is None", client.get_experiment_by_name(f"nobody {suffix}") is None)
refused("a taken name", "RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment(name))
client.set_experiment_tag(exp, "stage", "one")
check("tags", client.get_experiment(exp).tags == {"team": "a", "stage": "one"})
client.delete_experiment_tag(exp, "stage")
check("tag gone", client.get_experiment(exp).tags == {"team": "a"})
found = client.search_experiments(filter_string=f"name = '{name}'")
check("search by name", [e.experiment_id for e in found] == [exp])
other = client.create_experiment(f"other {suffix}")
client.rename_experiment(other, f"renamed {suffix}")
check("renamed", client.get_experiment(other).name == f"renamed {suffix}")
client.delete_experiment(other)
check("deleted", client.get_experiment(other).lifecycle_stage == "deleted")
deleted = client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name LIKE '%{suffix}'")
check("deleted are listed apart", [e.experiment_id for e in deleted] == [other])
client.restore_experiment(other)
check("restored", client.get_experiment(other).lifecycle_stage == "active")

# Runs through the fluent API
mlflow.set_experiment(name)
with mlflow.start_run(run_name="parent", tags={"kind": "outer"}, description="what it is") as parent:
    mlflow.log_params({"alpha": 0.5, "layers": 3})
    mlflow.log_metrics({"loss": 1.5, "acc": 0.25}, step=0)
    for step in range(1, 6):
        mlflow.log_metric("loss", 1.5 / step, step=step)
    dataset = MetaDataset(source=HTTPDatasetSource("http://example.org/d.csv"), name="train", digest="abc")
    mlflow.log_input(dataset, context="training")
    with mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("nan", float("nan"))
        mlflow.log_metric("inf", float("inf"))
        mlflow.log_metric("tiny", 5e-324)
        mlflow.log_metric("huge", 1e308)
run = client.get_run(parent.info.run_id)
check("finished", run.info.status == "FINISHED" and run.info.end_time >= run.info.start_time)
check("named", run.info.run_name == "parent" and run.data.tags["mlflow.runName"] == "parent")
check("params are text", run.data.params == {"alpha": "0.5", "layers": "3"})
check("latest is of the greatest step", run.data.metrics["loss"] == 0.3)
check("artifact uri", run.info.artifact_uri.endswith(f"{run.info.run_id}/artifacts"))
check("inputs", run.inputs.dataset_inputs[0].dataset.name == "train")
check("context", run.inputs.dataset_inputs[0].tags[0].value == "training")
check("user", run.data.tags["mlflow.user"] != "")
nested = client.get_run(child.info.run_id)
check("parent tag", nested.data.tags["mlflow.parentRunId"] == parent.info.run_id)
check("NaN survives", math.isnan(nested.data.metrics["nan"]))
check("infinity as the largest double", nested.data.metrics["inf"] == sys.float_info.max)
check("5e-324 survives", nested.data.metrics["tiny"] == 5e-324)
check("1e308 survives", nested.data.metrics["huge"] == 1e308)

# History
history = client.get_metric_history(parent.info.run_id, "loss")
check("history", [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] ==
      [(0, 1.5)] + [(s, 1.5 / s) for s in range(1, 6)])
check("no history", client.get_metric_history(parent.info.run_id, "nothing") == [])

# Params do not change; keys and runs are checked
refused("another value", "INVALID_PARAMETER_VALUE", lambda: client.log_param(parent.info.run_id, "alpha", 0.6))
client.log_param(parent.info.run_id, "alpha", 0.5)
refused("a bad key", "INVALID_PARAMETER_VALUE", lambda: client.log_metric(parent.info.run_id, "../x", 1))
refused("no such run", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_run("f" * 32))
refused("no such experiment", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_experiment("999999999"))

# Batches, more than one request holds
big = client.create_run(exp, run_name="big")
points = [Metric(f"m{i % 50}", float(i), 1000 + i, i) for i in range(2500)]
client.log_batch(big.info.run_id, metrics=points[:1000], params=[Param("p", "v")], tags=[RunTag("t", "1")])
mlflow_async = mlflow.log_metrics({"later": 1.0}, synchronous=False, run_id=big.info.run_id)
mlflow_async.wait()
for at in range(1000, 2500, 500):
    client.log_batch(big.info.run_id, metrics=points[at:at + 500])
data = client.get_run(big.info.run_id).data
check("50 keys and one", len(data.metrics) == 51 and data.metrics["m49"] == 2499.0)
check("whole history of one key", len(client.get_metric_history(big.info.run_id, "m7")) == 50)
refused("a batch too large", "INVALID_PARAMETER_VALUE",
        lambda: client._tracking_client.store.log_batch(big.info.run_id, points[:1001], [], []))
client.set_tag(big.info.run_id, "mlflow.runName", "bigger")
check("the tag renames", client.get_run(big.info.run_id).info.run_name == "bigger")
client.update_run(big.info.run_id, status="FAILED", name="biggest")
check("update", client.get_run(big.info.run_id).info.status == "FAILED")
client.delete_tag(big.info.run_id, "t")
refused("an absent tag", "RESOURCE_DOES_NOT_EXIST", lambda: client.delete_tag(big.info.run_id, "t"))
client.set_terminated(big.info.run_id)

# Search
for i in range(12):
    r = client.create_run(exp, start_time=10_000 + i, tags={"i": str(i)}, run_name=f"s{i:02d}")
    client.log_metric(r.info.run_id, "score", i % 4)
    client.log_param(r.info.run_id, "depth", str(i // 2))


def names(filter_string, **more):
    return [r.info.run_name for r in client.search_runs([exp], filter_string, **more)]


check("metric filter", names("metrics.score > 2 AND start_time < 20000") == ["s11", "s07", "s03"])
check("param and LIKE", names("params.depth = '1' and tags.mlflow.runName LIKE 's0%'") == ["s03", "s02"])
check("order", names("metrics.score >= 0", order_by=["metrics.score DESC", "start_time ASC"])[:3] == ["s03", "s07", "s11"])
check("dataset", names("dataset.name = 'train'") == ["parent"])
check("attribute", names(f"run_id IN ('{big.info.run_id}')") == ["biggest"])
refused("OR", "INVALID_PARAMETER_VALUE", lambda: names("metrics.score > 2 OR metrics.score < 1"))
pages, token = [], None
while True:
    page = client.search_runs([exp], "metrics.score >= 0", max_results=5, page_token=token)
    pages.append([r.info.run_name for r in page])
    token = page.token
    if not token:
        break
check("pages", [len(p) for p in pages] == [5, 5, 2] and len({n for p in pages for n in p}) == 12)
frame_less = mlflow.search_runs([exp], "tags.i = '3'", output_format="list")
check("fluent search", [r.info.run_name for r in frame_less] == ["s03"])

# Deletion
client.delete_run(big.info.run_id)
check("deleted run", client.get_run(big.info.run_id).info.lifecycle_stage == "deleted")
refused("a deleted run", "INVALID_PARAMETER_VALUE", lambda: client.log_metric(big.info.run_id, "x", 1))
check("not listed", "biggest" not in names(""))
client.restore_run(big.info.run_id)
check("listed again", "biggest" in names(""))

print(f"{checks} checks passed")
