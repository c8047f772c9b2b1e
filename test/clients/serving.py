"""Models logged by the unmodified mlflow client, served and asked on every wire; each answer is held against the model.

    python serving.py URL

Prints one line at the end and exits 1 at the first check that fails.
"""

import json
import sys
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

URL = sys.argv[1]
mlflow.set_tracking_uri(URL)
client = mlflow.MlflowClient()
checks = 0


def ask(method, path, body=None, content_type="application/json"):
    """(status, the body as JSON)."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": content_type}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.strip() else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def check(what, seen, wanted):
    global checks
    if isinstance(wanted, (list, np.ndarray)) and isinstance(seen, list):
        holds = np.allclose(np.array(seen, float), np.array(wanted, float))
    else:
        holds = seen == wanted
    if not holds:
        print(f"FAILED {what}: {seen!r}, wanted {wanted!r}")
        sys.exit(1)
    checks += 1


def deploy(name, model):
    status, answer = ask("PUT", f"/api/endpoints/{name}", {"model": model})
    check(f"deploy {name}", status, 200)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        _, seen = ask("GET", f"/api/endpoints/{name}")
        if seen["state"] == "in-service":
            return seen
        if seen["state"] == "failed":
            break
        time.sleep(0.3)
    print(f"FAILED deploy {name}: {seen}")
    sys.exit(1)


rng = np.random.default_rng(1)
table = pd.DataFrame({"age": rng.uniform(20, 60, 50), "visits": rng.uniform(0, 9, 50)})
columns = LinearRegression().fit(table, 2 * table["age"] + 3 * table["visits"])
wrong_way = LinearRegression().fit(table, -table["age"])
matrix = LinearRegression().fit(table.to_numpy(), table["age"])
rows = table.head(3)


class Labels(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        old = (model_input["age"] > 40).to_numpy()
        return pd.DataFrame({"old": old, "twice": model_input["age"].to_numpy() * 2})


NEEDS = ["scikit-learn", "pandas"]  # said, so that the client does not load each model to find out
with mlflow.start_run():
    by_column = infer_signature(table, columns.predict(table))
    for model in (columns, wrong_way):
        mlflow.sklearn.log_model(
            model, name="m", signature=by_column, registered_model_name="columns", pip_requirements=NEEDS
        )
    by_tensor = infer_signature(table.to_numpy(), matrix.predict(table.to_numpy()))
    mlflow.sklearn.log_model(
        matrix, name="t", signature=by_tensor, registered_model_name="tensors", pip_requirements=NEEDS
    )
    mlflow.pyfunc.log_model(
        name="l", python_model=Labels(), registered_model_name="labels", pip_requirements=NEEDS
    )
client.set_registered_model_alias("columns", "champion", "1")
wanted = columns.predict(rows)

check("no endpoint yet", ask("POST", "/invocations", {"inputs": [1]})[0], 404)
deploy("columns", "models:/columns@champion")
split = {"dataframe_split": rows.to_dict("split")}
check("split", ask("POST", "/endpoints/columns/invocations", split)[1]["predictions"], wanted)
check("bare", ask("POST", "/invocations", split)[1]["predictions"], wanted)
records = {"dataframe_records": rows.to_dict("records")}
check("records", ask("POST", "/invocations", records)[1]["predictions"], wanted)
csv = rows.to_csv(index=False).encode()
check("csv", ask("POST", "/invocations", csv, "text/csv")[1]["predictions"], wanted)
status, refused = ask("POST", "/invocations", {"dataframe_records": [{"age": 1.0}]})
check("a missing column", (status, "visits" in refused["message"]), (400, True))
check("an unknown type", ask("POST", "/invocations", b"x", "text/plain")[0], 415)

v1 = "/v1/models/columns:predict"
check("V1 rows", ask("POST", v1, {"instances": rows.values.tolist()})[1]["predictions"], wanted)
check("V1 dicts", ask("POST", v1, {"instances": rows.to_dict("records")})[1]["predictions"], wanted)
status, refused = ask("POST", v1, {"instances": [{"age": 1.0}]})
check("V1 refusal", (status, "visits" in refused["error"]), (400, True))
check("V1 ready", ask("GET", "/v1/models/columns")[1], {"name": "columns", "ready": True})


def tensor(name, values, datatype="FP64"):
    values = np.asarray(values)
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": values.ravel().tolist()}


def infer(name, *inputs):
    status, answer = ask("POST", f"/v2/models/{name}/infer", {"id": "q", "inputs": list(inputs)})
    check(f"infer {name}", (status, answer.get("id"), answer.get("error")), (200, "q", None))
    return answer


named = infer("columns", tensor("visits", rows["visits"]), tensor("age", rows["age"]))
check("V2 columns", named["outputs"][0]["data"], wanted)
check("V2 type", (named["outputs"][0]["datatype"], named["model_version"]), ("FP64", "1"))
check("V2 matrix", infer("columns", tensor("x", rows.to_numpy()))["outputs"][0]["data"], wanted)
_, described = ask("GET", "/v2/models/columns")
check("V2 names", ",".join(one["name"] for one in described["inputs"]), "age,visits")
check("V2 ready", ask("GET", "/v2/models/columns/versions/1/ready")[0], 200)
check("V2 other version", ask("GET", "/v2/models/columns/versions/7/ready")[0], 404)

deploy("tensors", "models:/tensors/1")
status, refused = ask("POST", "/invocations", split)
check("two endpoints", (status, "columns, tensors" in refused["message"]), (400, True))
seen = infer("tensors", tensor("x", rows.to_numpy()))
check("a model of tensors", seen["outputs"][0]["data"], matrix.predict(rows.to_numpy()))

deploy("labels", "models:/labels/1")
outputs = {one["name"]: one for one in infer("labels", tensor("age", rows["age"]))["outputs"]}
check("labels: BOOL", outputs["old"]["datatype"], "BOOL")
check("labels: values", outputs["twice"]["data"], (rows["age"] * 2).tolist())

client.set_registered_model_alias("columns", "champion", "2")
deadline = time.monotonic() + 120
while ask("GET", "/api/endpoints/columns")[1].get("version") != 2 and time.monotonic() < deadline:
    check("an answer while it moves", ask("POST", "/endpoints/columns/invocations", split)[0], 200)
moved = ask("POST", "/endpoints/columns/invocations", split)[1]["predictions"]
check("the alias moved", moved, wrong_way.predict(rows))
check("rollback", ask("POST", "/api/endpoints/columns/rollback")[0], 200)
while ask("GET", "/api/endpoints/columns")[1].get("version") != 1 and time.monotonic() < deadline:
    check("an answer while it goes back", ask("POST", "/endpoints/columns/invocations", split)[0], 200)
back = ask("POST", "/endpoints/columns/invocations", split)[1]["predictions"]
check("rolled back", back, wanted)
print(f"{checks} checks passed")
