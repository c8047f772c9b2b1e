"""What a step left behind, as the control plane takes it in. Source: kfp.md section 3.3, steps 6 to 8."""
import json
import os

# The words of Go's strconv.ParseBool, which KFP's launcher reads booleans with.
_BOOLEANS = {**dict.fromkeys(["1", "t", "T", "true", "TRUE", "True"], True),
             **dict.fromkeys(["0", "f", "F", "false", "FALSE", "False"], False)}


class BadOutput(Exception):
    """The step ended well but did not give what it declares; the text names the output."""


def collect(executor_input, component):
    """(parameterValues, artifacts) of every declared output. Throws BadOutput."""
    outputs = executor_input.get("outputs", {})
    told = _read_output_file(outputs.get("outputFile"))
    definitions = component.get("outputDefinitions", {})
    parameters = {}
    for name, place in outputs.get("parameters", {}).items():
        kind = definitions.get("parameters", {}).get(name, {}).get("parameterType", "STRING")
        if name in told.get("parameterValues", {}):
            parameters[name] = _settle(told["parameterValues"][name], kind)
        else:
            parameters[name] = _read_parameter(name, place["outputFile"], kind)
    artifacts = {name: {"artifacts": _merge(planned.get("artifacts", []), told.get("artifacts", {}).get(name))}
                 for name, planned in outputs.get("artifacts", {}).items()}
    return parameters, artifacts


def _read_output_file(path):
    if not path or not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
    except ValueError as error:
        raise BadOutput(f"the step's output file is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise BadOutput("the step's output file is not a JSON object")
    return told


def _settle(value, kind):
    """JSON has one kind of number: 3.0 for an integer is 3."""
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _read_parameter(name, path, kind):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise BadOutput(f"the step did not write its output parameter '{name}'") from error
    except UnicodeDecodeError as error:
        raise BadOutput(f"the output parameter '{name}' is not UTF-8 text") from error
    if kind == "STRING":
        return text
    text = text.strip()
    try:
        if kind == "BOOLEAN":
            return _BOOLEANS[text]
        if kind == "NUMBER_INTEGER":
            return int(text)
        if kind == "NUMBER_DOUBLE":
            return float(text)
        value = json.loads(text)
    except (ValueError, KeyError) as error:
        raise BadOutput(f"the output parameter '{name}' is no {kind}: {text[:100]!r}") from error
    if (kind == "LIST" and not isinstance(value, list)) or (kind == "STRUCT" and not isinstance(value, dict)):
        raise BadOutput(f"the output parameter '{name}' is no {kind}: {text[:100]!r}")
    return value


def _merge(planned, told):
    """The planned artifacts with what the step changed: address, metadata, path."""
    changes = (told or {}).get("artifacts", [])
    merged = []
    for at, artifact in enumerate(planned):
        change = changes[at] if at < len(changes) else {}
        one = dict(artifact)
        one["metadata"] = {**artifact.get("metadata", {}), **change.get("metadata", {})}
        if change.get("uri"):
            one["uri"] = change["uri"]
        custom = change.get("custom_path") or change.get("customPath")
        if custom:
            one["customPath"] = custom
        merged.append(one)
    return merged
