"""The whole thread with unmodified clients: data, pipeline, run, version, alias, endpoint, prediction, event, retraining.

    python thread.py URL

Where MLFLOW_TRACKING_TOKEN is set, everybody shows it: the clients and the steps by themselves, plain requests here.
Prints one JSON object of what it saw; test/clients/thread.test.ts judges it.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

import kfp
import mlflow
import numpy
from kfp import dsl

URL = sys.argv[1]
TOKEN = os.environ.get("MLFLOW_TRACKING_TOKEN")


def ask(method, path, body=None, content_type="application/json"):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": content_type}, method=method)
    if TOKEN:
        request.add_unredirected_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=120) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def until(what, check, seconds=240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.3)
    raise SystemExit(f"{what}: not within {seconds} s")


@dsl.component(install_kfp_package=False)
def fit(path: str, line: dsl.Output[dsl.Dataset]) -> float:
    import csv
    import io
    import os
    import urllib.request

    request = urllib.request.Request(f"{os.environ['MLFLOW_TRACKING_URI']}/api/data/{path}")
    if "MLFLOW_TRACKING_TOKEN" in os.environ:  # and never to where the bytes lie, which a redirect may name
        request.add_unredirected_header("Authorization", f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}")
    with urllib.request.urlopen(request) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    if any(float(row["y"]) < 0 for row in rows):
        raise ValueError("y may not be negative")
    with open(line.path, "w") as out:
        csv.writer(out).writerows([[row["x"], row["y"]] for row in rows])
    return float(len(rows))


@dsl.component(install_kfp_package=False)
def register(line: dsl.Input[dsl.Dataset], rows: float, error: dsl.Output[dsl.Metrics]) -> int:
    import csv

    import mlflow
    import numpy
    from sklearn.linear_model import LinearRegression

    table = numpy.array([[float(x), float(y)] for x, y in csv.reader(open(line.path))])
    mlflow.sklearn.autolog(log_models=False)
    with mlflow.start_run():
        model = LinearRegression().fit(table[:, :1], table[:, 1])
        worst = float(numpy.abs(model.predict(table[:, :1]) - table[:, 1]).max())
        mlflow.log_metric("worst", worst)
        mlflow.log_metric("rows", rows)
        made = mlflow.sklearn.log_model(
            model, name="line", registered_model_name="line", input_example=table[:1, :1]
        )
    error.log_metric("worst", worst)
    return int(made.registered_model_version)


@dsl.pipeline(name="line")
def line_pipeline(path: str):
    data = fit(path=path)
    # In an account the zip runner is too small for scikit-learn.
    fitted = register(line=data.outputs["line"], rows=data.outputs["Output"])
    fitted.set_env_variable("STILLFLOW_RUNNER", "sagemaker")


def points(slope, noise):
    return "x,y\n" + "".join(f"{x},{slope * x + noise * (x % 2)}\n" for x in range(20))


seen = {}
mlflow.set_tracking_uri(URL)
client = kfp.Client(host=URL, existing_token=TOKEN)
ask("PUT", "/api/data/first/points.csv", points(2, 0.5).encode(), "text/csv")
run = client.create_run_from_pipeline_func(line_pipeline, arguments={"path": "first/points.csv"})
seen["first"] = client.wait_for_run_completion(run.run_id, timeout=300).state
steps = mlflow.search_runs(search_all_experiments=True, filter_string="metrics.worst > 0")
seen["mlflow_rows"] = steps["metrics.rows"].tolist()
seen["mlflow_pipeline"] = steps["tags.stillflow.pipeline.run_id"].tolist()
seen["run_id"] = run.run_id

registry = mlflow.MlflowClient()
registry.set_registered_model_alias("line", "champion", "1")
loaded = mlflow.pyfunc.load_model("models:/line@champion")
seen["loaded"] = float(loaded.predict(numpy.array([[10.0]]))[0])

ask("PUT", "/api/endpoints/line", {"model": "models:/line@champion"})


def predict():
    try:
        return ask("POST", "/endpoints/line/invocations", {"inputs": [[10.0]]})["predictions"]
    except urllib.error.HTTPError as error:
        if error.code in (404, 503):
            return None
        raise


seen["predicted"] = until("first prediction", predict)
v1 = ask("POST", "/v1/models/line:predict", {"instances": [[10.0]]})
seen["v1"] = v1["predictions"]

client.upload_pipeline_from_pipeline_func(line_pipeline, pipeline_name="line")
gate = {"model": "line", "metric": "worst", "direction": "lower", "version": "register.Output"}
start = {"machine": "retraining", "pipeline": "line", "parameters": {"path": "$.data.path"}, "gate": gate}
ask("PUT", "/api/rules/new-points", {"on": {"data": {"prefix": "drops/"}}, "start": start})


def retrained(count):
    def check():
        found = ask("GET", "/api/retrainings")["retrainings"]
        ended = [one for one in found if one["state"] != "running"]
        return ended if len(ended) >= count else None

    return until(f"{count} retrainings", check)


ask("PUT", "/api/data/drops/better.csv", points(3, 0.25).encode(), "text/csv")
retrained(1)
ask("PUT", "/api/data/drops/better.csv", points(3, 0.25).encode(), "text/csv")  # the same bytes again: nothing new
ask("PUT", "/api/data/drops/bad.csv", b"x,y\n1,-5\n2,-9\n", "text/csv")
retrained(2)
ask("PUT", "/api/data/drops/worse.csv", points(5, 3).encode(), "text/csv")
seen["retrainings"] = [
    {"state": one["state"], "reason": one.get("reason")} for one in retrained(3)
]
seen["champion"] = registry.get_model_version_by_alias("line", "champion").version
seen["versions"] = len(registry.search_model_versions("name = 'line'"))
moved = until("the endpoint follows", lambda: (p := predict()) and abs(p[0] - 30) < 1 and p)
seen["followed"] = moved
print(json.dumps(seen))
