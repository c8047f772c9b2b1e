"""The entry point of a SageMaker job: `python3 BASE/input/data/stillflow/start.py`.

BASE is /opt/ml in a training job and /opt/ml/processing in a processing job, whose other files lie beside it.

Reads the job's spec.json from its own channel, runs the command with the variables that a job sees on one machine too,
and takes what lies in output/<name> and model/ to its place. Source: aws.md sections 4.1 to 4.4; ports.ts, JobSpec.
"""
import json
import os
import shutil
import sys

import commands
import places

LAUNCHER = "stillflow-launcher"
_MAX_FAILURE = 1024


def variables(spec, base, resource):
    """What the local runner sets (local/job_env.ts), as far as SageMaker's own container does not."""
    hosts = resource.get("hosts", ["algo-1"])
    current = resource.get("current_host", hosts[0])
    rank = hosts.index(current)
    found = {
        "SAGEMAKER_BASE_DIR": base,
        "SM_MODEL_DIR": f"{base}/model",
        "SM_INPUT_DIR": f"{base}/input",
        "SM_INPUT_CONFIG_DIR": f"{base}/input/config",
        "SM_OUTPUT_DIR": f"{base}/output",
        "SM_OUTPUT_DATA_DIR": f"{base}/output/data",
        "SM_OUTPUT_FAILURE": f"{base}/output/failure",
        "SM_CHECKPOINT_DIR": f"{base}/checkpoints",
        "SM_CHANNELS": json.dumps([one["name"] for one in spec.get("inputs", [])]),
        "SM_HOSTS": json.dumps(hosts),
        "SM_HOST_COUNT": str(len(hosts)),
        "SM_CURRENT_HOST": current,
        "SM_CURRENT_HOST_RANK": str(rank),
        "SM_JOB_NAME": spec["name"],
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": "29500",
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(len(hosts)),
    }
    for one in spec.get("inputs", []):
        name = "".join(letter if letter.isalnum() else "_" for letter in one["name"].upper())
        found[f"SM_CHANNEL_{name}"] = f"{base}/input/data/{one['name']}"
    return {**found, **spec.get("env", {})}


def own_base():
    """The folder in whose input/data/stillflow this file lies; of a trial, whose toolkit copies it, what it says."""
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.basename(os.path.dirname(here)) != "data":
        return os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
    return os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


def run(base=None, s3=None, env=None):
    """The exit code of the job."""
    base = base or own_base()
    # /opt/ml/processing: SageMaker's own files lie in /opt/ml.
    beside = os.path.dirname(base) if os.path.basename(base) == "processing" else None
    s3 = s3 or places.S3()
    with open(f"{base}/input/data/stillflow-job/spec.json", encoding="utf-8") as file:
        spec = json.load(file)
    resource = {}
    resources = f"{beside}/config/resourceconfig.json" if beside else f"{base}/input/config/resourceconfig.json"
    if os.path.exists(resources):
        with open(resources, encoding="utf-8") as file:
            resource = json.load(file)
    for one in spec.get("outputs", []):
        os.makedirs(f"{base}/output/{one['name']}", exist_ok=True)
    for name in ("model", "output/data", "checkpoints"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    command = list(spec["command"])
    if command[0] == LAUNCHER:
        command[:1] = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")]
    own = dict(os.environ if env is None else env)
    ended = commands.run(command, {**own, **variables(spec, base, resource)}, sys.stdout.buffer, forward=True)
    # A container is stopped by a signal to its first process alone, which is this one.
    failure = f"{base}/output/failure"
    if ended.code != 0 and not os.path.exists(failure):
        with open(failure, "w", encoding="utf-8") as file:
            file.write(ended.reason[:_MAX_FAILURE])
    if beside and ended.code != 0:
        os.makedirs(f"{beside}/output", exist_ok=True)
        shutil.copyfile(failure, f"{beside}/output/message")
    for one in spec.get("outputs", []):
        folders = [f"{base}/output/{one['name']}"] + ([f"{base}/model"] if one["name"] == "model" else [])
        for folder in folders:
            s3.upload(folder, one["uri"])
    return ended.code


if __name__ == "__main__":
    sys.exit(run())
