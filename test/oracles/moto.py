"""Starts moto's server with a JSONata evaluator in its Step Functions (aws.md section 1.6). Argument: the port."""

import sys

from jsonata import Jsonata
from moto.server import main
from moto.stepfunctions.parser.asl.jsonata import jsonata as hook


def evaluate(expression):
    try:
        return Jsonata(expression).evaluate(None)
    except Exception as error:
        raise hook.JSONataException("UNKNOWN", str(error))


hook._eval_jsonata = evaluate
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
