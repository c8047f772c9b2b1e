"""The MLflow client against the Lambda entry behind a gateway of 6 MB; argument: its address."""

import os
import sys
import tempfile

import mlflow
from mlflow import MlflowClient

passed = 0


def check(what, held):
    global passed
    if not held:
        sys.exit(f"failed: {what}")
    passed += 1


mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
run_id = client.create_run("0").info.run_id
sizes = {"small.bin": 1_000, "whole.bin": 3_900_000, "parts.bin": 23 * 1024 * 1024}
with tempfile.TemporaryDirectory() as folder:
    content = {name: os.urandom(size) for name, size in sizes.items()}
    for name, body in content.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(body)
    client.log_artifacts(run_id, folder, "data")
    listed = client.list_artifacts(run_id, "data")
    check(f"listed {listed}", {f.path: f.file_size for f in listed} == {f"data/{n}": s for n, s in sizes.items()})
    # "false": the plain route, which the gateway redirects; unset: what server-info says, URLs of the store.
    for presigned in ["false", None]:
        if presigned is None:
            del os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"]
        else:
            os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = presigned
        with tempfile.TemporaryDirectory() as back:
            got = client.download_artifacts(run_id, "data", back)
            for name, body in content.items():
                with open(os.path.join(got, name), "rb") as file:
                    check(f"{name}, presigned {presigned}", file.read() == body)
print(f"{passed} checks passed")
