"""Serves one MLmodel folder on loopback: `python3 server.py FOLDER --ready FILE [--port N]`.

GET /ping, /health, /version; POST /invocations with MLflow's own scoring semantics: mlflow-skinny carries them as one
function (mlflow/pyfunc/scoring_server/__init__.py, `invocations`), so only HTTP is ours. The web framework that mlflow
would bring costs another second of start and 20 MB. Source: mlflow.md; kube.md section 4.2; aws.md section 4.5.

`python3 server.py --warm` serves nothing: it imports what most models need, so that the bytecode and trusted.py's list
are there when the first model starts. It gives way to every other process.

The model is loaded once, before the port is bound; then FILE gets `{"port": N, "pid": N}`. SIGTERM lets running requests end.
"""
import argparse
import http.server
import json
import os
import signal
import socket
import sys
import threading

import trusted

MAX_BODY_BYTES = 25 << 20
STOP_SECONDS = 30


def load(folder):
    """(the model, its input schema, mlflow's scoring function and error class)."""
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import load_model, scoring_server
    if _is_skops(folder):
        trusted.import_skops()
    model = load_model(folder)
    return Scorer(model, scoring_server, MlflowException)


def _is_skops(folder):
    try:
        with open(os.path.join(folder, "MLmodel"), encoding="utf-8") as file:
            return any(line.strip() == "serialization_format: skops" for line in file)
    except OSError:
        return False


def warm():
    os.nice(19)
    from mlflow.pyfunc import scoring_server  # noqa: F401
    # In the order of a start: where skops finds a ufunc depends on what is loaded before.
    trusted.import_skops()
    import mlflow.sklearn  # noqa: F401


class Scorer:
    def __init__(self, model, scoring_server, error_class):
        self._model, self._server, self._error_class = model, scoring_server, error_class
        self._schema = model.metadata.get_input_schema()
        self.version = scoring_server.VERSION

    def score(self, body, content_type):
        """(status, content type, body). Errors are worded as MLflow's REST API words them, without stacks."""
        try:
            answer = self._server.invocations(body, content_type, self._model, self._schema)
        except self._error_class as error:
            return _refusal(error.get_http_status_code(), error.error_code, error.message)
        except RecursionError as error:
            if not _while_reading_json(error):
                raise
            return _refusal(400, "BAD_REQUEST", "Invalid input. The JSON is nested too deeply.")
        if answer.status == 200:
            return 200, answer.mimetype, answer.response.encode()
        return _refusal(answer.status, "BAD_REQUEST", answer.response)


def _while_reading_json(error):
    """A model's own recursion is no fault of the request; the parser's is, and it is the last to be called."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == "json"


def _refusal(status, code, message):
    return status, "application/json", json.dumps({"error_code": code, "message": message}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Between two requests of a kept connection, and within one.
    timeout = 120
    scorer = None
    running = None

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        if self.path in ("/ping", "/health"):
            self._answer(200, "application/json", b"\n")
        elif self.path == "/version":
            self._answer(200, "text/plain", self.scorer.version.encode())
        else:
            self._answer(*_refusal(404, "NOT_FOUND", f"there is nothing at {self.path[:100]}"))

    def do_POST(self):
        if self.path != "/invocations":
            self.close_connection = True
            return self._answer(*_refusal(404, "NOT_FOUND", f"there is nothing at {self.path[:100]}"))
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            return self._answer(*_refusal(411, "BAD_REQUEST", "the request needs a Content-Length"))
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            return self._answer(*_refusal(413, "BAD_REQUEST", f"the body is larger than {MAX_BODY_BYTES} bytes"))
        with self.running:
            body = self.rfile.read(int(length))
            try:
                answer = self.scorer.score(body, self.headers.get("Content-Type") or "")
            except Exception as error:  # a model's own code may throw anything
                self.log_error("%s", error)
                answer = _refusal(500, "INTERNAL_ERROR", f"{type(error).__name__}: {error}"[:1000])
            return self._answer(*answer)

    def _answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Requests are counted by who sent them; only errors are logged here."""

    def log_error(self, format, *args):
        print("stillflow:", format % args, file=sys.stderr, flush=True)


class Running:
    """How many requests are being answered."""

    def __init__(self):
        self._count, self._change = 0, threading.Condition()

    def __enter__(self):
        with self._change:
            self._count += 1

    def __exit__(self, *_):
        with self._change:
            self._count -= 1
            self._change.notify_all()

    def wait_for_none(self, seconds):
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, seconds)


class Stopped(Exception):
    """Out of the accept loop: the server was asked to stop."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    stopping = False

    def service_actions(self):
        if self.stopping:
            raise Stopped

    def stop(self):
        """May be called by a signal: the loop sleeps in select, so it is woken by a connection."""
        self.stopping = True
        threading.Thread(target=lambda: socket.create_connection(self.server_address, 1).close()).start()


def serve(scorer, port, ready):
    running = Running()
    handler = type("Bound", (Handler,), {"scorer": scorer, "running": running})
    server = Server(("127.0.0.1", port), handler)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    if ready:
        part = f"{ready}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"port": server.server_address[1], "pid": os.getpid()}, file)
        os.replace(part, ready)
    try:
        server.serve_forever(poll_interval=3600)
    except Stopped:
        server.server_close()
    running.wait_for_none(STOP_SECONDS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--port", type=int, default=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "0")))
    parser.add_argument("--ready")
    options = parser.parse_args()
    if options.warm:
        return warm()
    if options.folder is None:
        parser.error("the folder of a model is missing")
    return serve(load(options.folder), options.port, options.ready)


if __name__ == "__main__":
    main()
