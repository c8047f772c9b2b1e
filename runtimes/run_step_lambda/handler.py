"""The function `stillflow-run-step`: runs one light step in Lambda. Its payload is what `Jobs.prepare` returned:
`{"job": NAME, "folder": "s3://bucket/workspace/jobs/NAME"}`.

The folder holds spec/spec.json and gets `log` and `done.json`. A step that has ended is not run again: Lambda may
deliver twice. A failed one raises StepFailed, which the machine catches by that name.
"""
import io
import json
import os
import shutil
import sys
import time

import commands
import launcher
import places

LAUNCHER = "stillflow-launcher"
# What /tmp is cleared of between two steps of one warm function.
_WORK = "/tmp/stillflow-work"
_MAX_LOG = 4 << 20


class StepFailed(Exception):
    """The step ended with another exit code than 0; the text is its failure."""


class Log:
    """Goes to the function's own log and is kept for the job's; beyond 4 MiB only the start is kept."""

    def __init__(self):
        self.kept = io.BytesIO()

    def write(self, data):
        sys.stdout.buffer.write(data)
        if self.kept.tell() < _MAX_LOG:
            self.kept.write(data)

    def flush(self):
        sys.stdout.buffer.flush()


def handler(event, context=None, s3=None):
    s3 = s3 or places.S3()
    name, folder = event["job"], event["folder"].rstrip("/")
    done = _read(s3, f"{folder}/done.json")
    if done is None:
        done = _run(name, json.loads(s3.read(f"{folder}/spec/spec.json")), folder, s3)
        s3.write(f"{folder}/done.json", json.dumps(done).encode())
    if done["state"] != "succeeded":
        raise StepFailed(done.get("failure") or f"the step ended with exit code {done.get('exitCode')}")
    return {"job": name, "exitCode": 0}


def _read(s3, uri):
    try:
        return json.loads(s3.read(uri))
    except Exception as error:  # botocore's NoSuchKey, whose class exists on a client only
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        if code in ("NoSuchKey", "404") or isinstance(error, KeyError):
            return None
        raise


def _run(name, spec, folder, s3):
    shutil.rmtree(_WORK, ignore_errors=True)
    os.makedirs(_WORK)
    # AWS's runtime puts the layer on its own sys.path, which what it spawns does not inherit. Source: awslambdaric
    # bootstrap.py, set_default_sys_path.
    found = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, "PYTHONPATH": found, "HOME": _WORK, "TMPDIR": _WORK, "TRAINING_JOB_NAME": name,
           **spec.get("env", {})}
    started, log = int(time.time() * 1000), Log()
    command = spec["command"]
    if command[0] == LAUNCHER:
        result = launcher.run_task(command[1], s3=s3, env=env, out=log)
        code, failure = result["exitCode"] if result["state"] == "failed" else 0, result["error"]
    else:
        ended = commands.run(command, env, log, cwd=_WORK)
        code, failure = ended.code, ended.reason
    s3.write(f"{folder}/log", log.kept.getvalue())
    return {"name": name, "state": "succeeded" if code == 0 else "failed", "exitCode": code, "metrics": [],
            "startedAt": started, "endedAt": int(time.time() * 1000), **({"failure": failure[:1024]} if code else {})}
