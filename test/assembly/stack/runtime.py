"""Python's side of a Lambda, as runtime.ts is Node's. Standard library only; the function's own process.

Source: AWS Lambda developer guide, "Runtime API", "Define handler in Python". AWS's bootstrap puts the task root and
the layers (/opt/python) on its own sys.path, and not into PYTHONPATH: what a function spawns does not see them.
"""
import importlib
import json
import os
import sys
import traceback
import urllib.request

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime"
sys.path[:1] = [os.environ["LAMBDA_TASK_ROOT"], *filter(None, os.environ.pop("STACK_LAYERS").split(":"))]


class Context:
    def __init__(self, head):
        self.aws_request_id = head["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = head["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.deadline_ms = int(head["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        import time
        return max(0, self.deadline_ms - int(time.time() * 1000))


def post(path, body, error_type=None):
    headers = {"Lambda-Runtime-Function-Error-Type": error_type} if error_type else {}
    urllib.request.urlopen(urllib.request.Request(API + path, body.encode(), headers, method="POST")).read()


def words(error, name=None):
    return json.dumps({"errorType": name or type(error).__name__, "errorMessage": str(error),
                       "stackTrace": traceback.format_tb(error.__traceback__)})


def find():
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        found = importlib.import_module(module.replace("/", "."))
    except ImportError as error:
        return None, (error, "Runtime.ImportModuleError")
    if not hasattr(found, name):
        return None, (AttributeError(f"Handler '{name}' missing on module '{module}'"), "Runtime.HandlerNotFound")
    return getattr(found, name), None


handler, wrong = find()
if wrong:
    post("/init/error", words(*wrong), wrong[1])
    sys.exit(1)
while True:
    with urllib.request.urlopen(API + "/invocation/next") as answer:
        head, event = answer.headers, json.loads(answer.read())
    path = f"/invocation/{head['Lambda-Runtime-Aws-Request-Id']}"
    try:
        text = json.dumps(handler(event, Context(head)))
    except Exception as error:
        traceback.print_exc()
        post(path + "/error", words(error), type(error).__name__)
    else:
        post(path + "/response", text)
    sys.stdout.flush()
