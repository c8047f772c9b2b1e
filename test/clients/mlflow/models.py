"""The unmodified MLflow client against a server: artifacts, logged models and the registry.

Usage: models.py <tracking uri>. Prints one line at the end and exits 1 at the first check that fails.
"""

import os
import sys
import tempfile
import time

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from requests import HTTPError
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

uri = sys.argv[1]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
suffix = str(time.time_ns())
checks = 0


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
        check(f"{what}: {error.error_code} {error}", error.error_code == code)
        return
    check(f"{what} was not refused", False)


mlflow.set_experiment(f"models {suffix}")
X = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 7})
y = X["a"] * 2 + X["b"]

# Artifacts of a run
with mlflow.start_run() as run:
    run_id = run.info.run_id
    mlflow.log_text("hello", "notes/readme.txt")
    mlflow.log_dict({"x": [1, 2]}, "notes/config.json")
    with tempfile.TemporaryDirectory() as folder:
        for name in ["empty", "some name.txt", "naïve-模型.txt"]:
            with open(os.path.join(folder, name), "w") as file:
                file.write("" if name == "empty" else name)
        os.makedirs(os.path.join(folder, "deep", "er"))
        with open(os.path.join(folder, "deep", "er", "f.bin"), "wb") as file:
            file.write(os.urandom(3_000_000))
            size = file.tell()
        mlflow.log_artifacts(folder, "data")
listed = client.list_artifacts(run_id)
check("top level", [(f.path, f.is_dir) for f in listed] == [("data", True), ("notes", True)])
listed = client.list_artifacts(run_id, "data")
check(
    f"names survive: {[f.path for f in listed]}",
    {f.path: f.file_size for f in listed if not f.is_dir}
    == {"data/empty": 0, "data/some name.txt": 13, "data/naïve-模型.txt": 17},
)
check("text", mlflow.artifacts.load_text(f"runs:/{run_id}/notes/readme.txt") == "hello")
check("json", mlflow.artifacts.load_dict(f"runs:/{run_id}/notes/config.json") == {"x": [1, 2]})
with tempfile.TemporaryDirectory() as folder:
    local = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="data", dst_path=folder)
    check("whole folder", os.path.getsize(os.path.join(local, "deep", "er", "f.bin")) == size)
    check("blank name", open(os.path.join(local, "some name.txt")).read() == "some name.txt")
try:
    client.list_artifacts(run_id, "../x")
    check("a path outside was not refused", False)
except HTTPError as error:  # the client gives the proxy's refusal as it comes
    check("a path outside", error.response.status_code == 400)

# Multipart, as the client does it for large files
os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(11 * 1024 * 1024)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "big.bin")
    content = os.urandom(23 * 1024 * 1024)
    with open(path, "wb") as file:
        file.write(content)
    client.log_artifact(run_id, path, "large")
    got = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path="large/big.bin", dst_path=os.path.join(folder, "back")
    )
    check("multipart there and back", open(got, "rb").read() == content)

# Logged models
trusted = ["sklearn.tree._tree.Tree"]
with mlflow.start_run() as run:
    forest = RandomForestRegressor(n_estimators=3, random_state=0).fit(X, y)
    made = mlflow.sklearn.log_model(
        forest, name="forest", input_example=X.head(2), skops_trusted_types=trusted, params={"trees": 3}
    )
    dataset = mlflow.data.from_pandas(X.assign(y=y), targets="y", name="train")
    mlflow.log_metric("rmse", 0.5, model_id=made.model_id, dataset=dataset)
    mlflow.log_metrics({"mae": 0.25}, step=3, model_id=made.model_id)
    forest_run = run.info.run_id
model = client.get_logged_model(made.model_id)
check("ready", model.status == LoggedModelStatus.READY)
check("its run", model.source_run_id == forest_run and model.name == "forest")
check("its params", model.params.get("trees") == "3")
metrics = {m.key: (m.value, m.dataset_name, m.run_id) for m in model.metrics}
check(f"metrics {metrics}", metrics["rmse"] == (0.5, "train", forest_run) and metrics["mae"][0] == 0.25)
check("the run has them too", client.get_run(forest_run).data.metrics == {"rmse": 0.5, "mae": 0.25})
check("outputs", [o.model_id for o in client.get_run(forest_run).outputs.model_outputs] == [made.model_id])
for model_uri in [made.model_uri, f"runs:/{forest_run}/forest"]:
    loaded = mlflow.sklearn.load_model(model_uri)
    check(f"load {model_uri}", np.allclose(loaded.predict(X), forest.predict(X)))
client.set_logged_model_tags(made.model_id, {"team": "blue"})
check("tag", client.get_logged_model(made.model_id).tags["team"] == "blue")
client.delete_logged_model_tag(made.model_id, "team")
check("no tag", "team" not in client.get_logged_model(made.model_id).tags)
with mlflow.start_run():
    other = mlflow.sklearn.log_model(LinearRegression().fit(X, y), name="line")
experiments = [client.get_logged_model(made.model_id).experiment_id]
found = mlflow.search_logged_models(
    experiment_ids=experiments, filter_string="metrics.rmse < 1", output_format="list"
)
check("search by metric", [m.model_id for m in found] == [made.model_id])
found = mlflow.search_logged_models(
    experiment_ids=experiments, order_by=[{"field_name": "metrics.rmse"}], output_format="list"
)
check("ordered, missing last", [m.model_id for m in found] == [made.model_id, other.model_id])
files = [f.path for f in client.list_logged_model_artifacts(made.model_id)]
check(f"model files {files}", "MLmodel" in files)
refused(
    "no such model",
    "RESOURCE_DOES_NOT_EXIST",
    lambda: client.get_logged_model("m-" + "0" * 32),
)
external = mlflow.initialize_logged_model(name="external", params={"a": "b"})
mlflow.finalize_logged_model(external.model_id, LoggedModelStatus.FAILED)
check("failed", client.get_logged_model(external.model_id).status == LoggedModelStatus.FAILED)
client.delete_logged_model(external.model_id)
refused("deleted", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_logged_model(external.model_id))

# The registry
name = f"churn-{suffix}"
first = mlflow.register_model(made.model_uri, name)
check("version 1", first.version == 1 or first.version == "1")
check("its run is known", first.run_id == forest_run)
with mlflow.start_run():
    mlflow.sklearn.log_model(LinearRegression().fit(X, y), name="line", registered_model_name=name)
client.create_model_version(name, f"runs:/{run_id}/notes", run_id=run_id)
versions = client.search_model_versions(f"name = '{name}'")
check(f"three versions", [int(v.version) for v in versions] == [3, 2, 1])
registered = client.get_logged_model(made.model_id).tags["mlflow.modelVersions"]
check(f"linked back: {registered}", name in registered)
client.set_registered_model_alias(name, "champion", "1")
check("alias", int(client.get_model_version_by_alias(name, "champion").version) == 1)
for model_uri in [f"models:/{name}@champion", f"models:/{name}/1"]:
    loaded = mlflow.pyfunc.load_model(model_uri)
    check(f"load {model_uri}", np.allclose(loaded.predict(X), forest.predict(X)))
client.set_registered_model_alias(name, "champion", "2")
line = mlflow.sklearn.load_model(f"models:/{name}@champion")
check("the alias moved", isinstance(line, LinearRegression))
check("aliases of a version", client.get_model_version(name, "2").aliases == ["champion"])
check("aliases of the model", client.get_registered_model(name).aliases == {"champion": "2"})
client.transition_model_version_stage(name, "1", "Production")
check("by stage", np.allclose(mlflow.sklearn.load_model(f"models:/{name}/Production").predict(X), forest.predict(X)))
client.transition_model_version_stage(name, "2", "production", archive_existing_versions=True)
check("archived", client.get_model_version(name, "1").current_stage == "Archived")
latest = client.get_latest_versions(name, ["Production", "None"])
check("latest versions", sorted(int(v.version) for v in latest) == [2, 3])
client.set_registered_model_tag(name, "owner", "ada")
client.set_model_version_tag(name, "1", "gate", "passed")
client.update_registered_model(name, "who leaves")
client.update_model_version(name, "1", "the first")
model = client.get_registered_model(name)
check("described", model.description == "who leaves" and model.tags == {"owner": "ada"})
version = client.get_model_version(name, "1")
check("version described", version.description == "the first" and version.tags == {"gate": "passed"})
check("tag filter", [int(v.version) for v in client.search_model_versions("tags.gate = 'passed'")][:1] == [1])
copied = client.copy_model_version(f"models:/{name}/1", f"{name}-copy")
check("copied", client.get_model_version_download_uri(f"{name}-copy", copied.version) == client.get_model_version_download_uri(name, "1"))
loaded = mlflow.sklearn.load_model(f"models:/{name}-copy/1")
check("load the copy", np.allclose(loaded.predict(X), forest.predict(X)))
renamed = f"{name}-renamed"
client.rename_registered_model(name, renamed)
check("rename carries", int(client.get_model_version_by_alias(renamed, "champion").version) == 2)
client.delete_model_version(renamed, "3")
check("number not given again", int(client.create_model_version(renamed, made.model_uri, model_id=made.model_id).version) == 4)
client.delete_registered_model_alias(renamed, "champion")
refused("absent alias", "INVALID_PARAMETER_VALUE", lambda: client.get_model_version_by_alias(renamed, "champion"))
refused("bad source", "INVALID_PARAMETER_VALUE", lambda: client.create_model_version(renamed, "file:///etc"))
refused("taken", "RESOURCE_ALREADY_EXISTS", lambda: client.create_registered_model(renamed))
names = [m.name for m in client.search_registered_models(f"name LIKE '{name}%'")]
check("search models", names == [f"{name}-copy", renamed])
client.delete_registered_model(renamed)
refused("gone", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model(renamed))
print(f"{checks} checks passed")
