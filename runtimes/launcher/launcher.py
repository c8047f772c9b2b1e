"""Runs one step of a pipeline inside its job: `python3 launcher.py TASK`. README.md beside this file is the contract.

Standard library only (boto3 where an address begins with s3://), Python 3.8 or later, the same text in both worlds.
"""
import json
import os
import shutil
import sys
import tempfile

import commands
import outputs
import packages
import places
import placeholders

# Linux passes no longer single argument (MAX_ARG_STRLEN, its closing NUL included).
_MAX_ARGUMENT = 131_071
_MAX_FAILURE = 1024
_TMP_KFP = "/tmp/kfp/"


class StepFailed(Exception):
    """The command ended with another code than 0."""

    def __init__(self, ended):
        super().__init__(ended.reason)
        self.code = ended.code


def run_task(text_or_uri, s3=None, env=None, out=None):
    """Runs the task and writes its result file; returns the result. The scratch folder is gone afterwards."""
    s3 = s3 or places.S3()
    env = dict(os.environ if env is None else env)
    scratch = tempfile.mkdtemp(prefix="stillflow-step-")
    task = None
    result = {"format": 1, "state": "failed", "exitCode": 1, "error": "", "parameterValues": {}, "artifacts": {}}
    try:
        task = _read_task(text_or_uri, s3)
        parameters, artifacts = _run(task, scratch, env, s3, out or sys.stdout.buffer)
        result.update(state="succeeded", exitCode=0, parameterValues=parameters, artifacts=artifacts)
    except StepFailed as failure:
        result.update(exitCode=failure.code, error=str(failure)[:_MAX_FAILURE])
    except (placeholders.BadCommand, outputs.BadOutput, packages.InstallFailed, OSError, ValueError) as error:
        result["error"] = _sentence(error)[:_MAX_FAILURE]
    except Exception as error:  # boto3's own errors, whose classes we cannot name without importing it
        result["error"] = _sentence(error)[:_MAX_FAILURE]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if result["error"]:
        _write_failure(result["error"], env)
    if task and task.get("result"):
        places.write_bytes(task["result"], json.dumps(result).encode(), s3)
    return result


def _sentence(error):
    text = str(error) or type(error).__name__
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _read_task(text_or_uri, s3):
    text = text_or_uri if text_or_uri.startswith("{") else places.read_bytes(text_or_uri, s3)
    task = json.loads(text)
    if not isinstance(task, dict) or task.get("format") != 1:
        raise ValueError("the task file is not of a format that this launcher knows")
    return task


def _run(task, scratch, env, s3, out):
    component, executor_input = task.get("component", {}), task.get("executorInput", {})
    env.update(task.get("env", {}))
    env["_KFP_RUNTIME"] = "true"
    installs, command = packages.split_prelude([*task.get("command", []), *task.get("args", [])])
    if not command:
        raise placeholders.BadCommand("the component has no command")
    _add_defaults(executor_input, component)
    paths = _place(executor_input, scratch, s3)
    first = {side: {name: own[0] for name, own in named.items() if own} for side, named in paths.items()}
    command = placeholders.fill_command(command, executor_input, task.get("constants", {}), first)
    for at, word in enumerate(command):
        size = len(os.fsencode(word))
        if size > _MAX_ARGUMENT:
            raise placeholders.BadCommand(
                f"argument {at} of the command is {size} bytes long once its placeholders are filled in, and Linux "
                f"passes at most {_MAX_ARGUMENT}: pass large values as an artifact")
    packages.lay_over(installs, env, scratch)
    ended = commands.run(command, env, out)
    if ended.code != 0:
        raise StepFailed(ended)
    parameters, artifacts = outputs.collect(executor_input, component)
    _upload(executor_input, artifacts, paths["outputs"], scratch, s3)
    return parameters, artifacts


def _add_defaults(executor_input, component):
    values = executor_input.setdefault("inputs", {}).setdefault("parameterValues", {})
    for name, spec in component.get("inputDefinitions", {}).get("parameters", {}).items():
        if name not in values and "defaultValue" in spec:
            values[name] = spec["defaultValue"]
    if not values:
        del executor_input["inputs"]["parameterValues"]


def _place(executor_input, scratch, s3):
    """Fetches inputs, makes the parents of outputs; every artifact's local path by side and name."""
    inputs, planned = executor_input.get("inputs", {}), executor_input.setdefault("outputs", {})
    paths = {side: {name: [places.local_path(artifact, scratch) for artifact in listed.get("artifacts", [])]
                    for name, listed in half.get("artifacts", {}).items()}
             for side, half in (("inputs", inputs), ("outputs", planned))}
    for name, listed in inputs.get("artifacts", {}).items():
        for artifact, path in zip(listed.get("artifacts", []), paths["inputs"][name]):
            if places.is_remote(artifact.get("uri", "")):
                s3.download(artifact["uri"], path)
    for path in (path for own in paths["outputs"].values() for path in own):
        places.make_parents(path)
    for name, place in planned.get("parameters", {}).items():
        place["outputFile"] = _own(place.get("outputFile") or f"{_TMP_KFP}outputs/{name}", scratch)
        places.make_parents(place["outputFile"])
    planned["outputFile"] = _own(planned.get("outputFile") or f"{_TMP_KFP}executor_output.json", scratch)
    if places.is_remote(planned["outputFile"]):
        planned["outputFile"] = places.local_path({"uri": planned["outputFile"]}, scratch)
    places.make_parents(planned["outputFile"])
    return paths


def _own(path, scratch):
    """Two steps on one machine must not meet in /tmp/kfp."""
    return os.path.join(scratch, path[len(_TMP_KFP):]) if path.startswith(_TMP_KFP) else path


def _upload(executor_input, artifacts, paths, scratch, s3):
    for name, listed in executor_input.get("outputs", {}).get("artifacts", {}).items():
        for planned, final, own in zip(listed.get("artifacts", []), artifacts[name]["artifacts"], paths[name]):
            uri = final.get("uri", "")
            path = final.get("customPath") or (own if uri == planned.get("uri") else
                                               places.local_path(dict(final), scratch))
            # A customPath that we chose is a place in this job's scratch folder, and means nothing afterwards.
            if final.get("customPath", "").startswith(scratch):
                del final["customPath"]
            if places.is_remote(uri) and os.path.exists(path):
                s3.upload(path, uri)


def _write_failure(text, env):
    base = env.get("SAGEMAKER_BASE_DIR", "/opt/ml")
    folder = os.path.join(base, "output")
    if os.path.isdir(folder):
        with open(os.path.join(folder, "failure"), "w", encoding="utf-8") as file:
            file.write(text)


def main(arguments):
    if len(arguments) != 1:
        print("usage: launcher.py TASK, an address of a task file or its text", file=sys.stderr)
        return 2
    result = run_task(arguments[0])
    if result["error"]:
        print(f"stillflow: {result['error']}", file=sys.stderr, flush=True)
    return result["exitCode"] if result["state"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
