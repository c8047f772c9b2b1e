"""The first training, by the unmodified clients: kfp uploads the pipeline and runs it, mlflow sets the alias.

    python first_run.py URL PATH --accepted FOLDER --model NAME

Prints the run's id first, and last what came of it.
"""

import argparse
import json
import os
import sys

import kfp
import mlflow

from pipeline import demand

options = argparse.ArgumentParser()
options.add_argument("url")
options.add_argument("path", help="of the first drop, below /api/data")
options.add_argument("--accepted", required=True, help="folder for accepted drops, below /api/data")
options.add_argument("--model", required=True, help="name of pipeline and registered model")
asked = options.parse_args()

client = kfp.Client(host=asked.url, existing_token=os.environ.get("MLFLOW_TRACKING_TOKEN"))
found = client.get_pipeline_id(asked.model)
if found is None:
    client.upload_pipeline_from_pipeline_func(demand, pipeline_name=asked.model)
else:
    names = {one.display_name for one in client.list_pipeline_versions(found, page_size=100).pipeline_versions or []}
    name = next(f"play-{number}" for number in range(2, 1000) if f"play-{number}" not in names)
    client.upload_pipeline_version_from_pipeline_func(demand, name, pipeline_id=found)
run = client.create_run_from_pipeline_func(
    demand,
    arguments={"path": asked.path, "accepted": asked.accepted, "model_name": asked.model},
    run_name="first training",
    experiment_name=asked.model,
)
print(json.dumps({"run": run.run_id}), flush=True)
ended = client.wait_for_run_completion(run.run_id, timeout=600, sleep_duration=1)
if ended.state != "SUCCEEDED":
    sys.exit(f"The first training ended {ended.state}: see {asked.url}/apis/v2beta1/runs/{run.run_id}")

mlflow.set_tracking_uri(asked.url)
registry = mlflow.MlflowClient()
versions = registry.search_model_versions(f"name = '{asked.model}'", order_by=["version_number DESC"])
newest = max(versions, key=lambda one: int(one.version))
registry.set_registered_model_alias(asked.model, "champion", newest.version)
print(json.dumps({"run": run.run_id, "version": int(newest.version), "tags": newest.tags}))
