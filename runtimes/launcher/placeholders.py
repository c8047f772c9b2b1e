"""Fills the placeholders of a KFP command in, once.

A value that was filled in is never looked at again: what a user passes as a parameter cannot become a placeholder.
Source: kfp.md sections 3.1 to 3.3; kubeflow/pipelines sdk/python/kfp/local/placeholder_utils.py, which fills in one
after the other and so reads values again.
"""
import json
import re

_PLACEHOLDER = re.compile(r"\{\{\$(?:\.[^{}]*?)?\}\}")
# {{$.inputs.artifacts['x'].metadata['k']}}: words joined by dots, or quoted (once or twice) in brackets.
_STEP = re.compile(r"\.(\w+)|\[(?:''|'|\")(.*?)(?:''|'|\")\]|\[(\d+)\]")


class BadCommand(Exception):
    """The command cannot be run as it stands; the text says why."""


def fill_command(words, executor_input, constants, paths):
    """The command's words with IfPresent and Concat decided and every placeholder filled in.

    `paths` holds the local path of a side's artifact by name: `paths["inputs"]["data"]`.
    """
    inputs = executor_input.get("inputs", {})
    present = {name for kind in ("parameterValues", "artifacts")
               for name, value in inputs.get(kind, {}).items() if value is not None}
    chosen = []
    for word in words:
        if word.startswith(('{"Concat":', '{"IfPresent":')):
            try:
                word = _choose(json.loads(word), present)
            except (ValueError, KeyError, TypeError) as error:
                raise BadCommand(f"the command holds a malformed placeholder: {word[:200]}") from error
        chosen.extend(_flat(word))
    whole = json.dumps(executor_input)
    return [_fill(word, executor_input, whole, constants, paths) for word in chosen]


def _choose(node, present):
    """A text, a list of texts, or None for an absent input without an else."""
    if node is None or isinstance(node, str):
        return node
    if isinstance(node, list):
        return [part for part in (_choose(part, present) for part in node) if part is not None]
    (kind, inner), = node.items()
    if kind == "Concat":
        return "".join(part for part in (_choose(part, present) for part in inner) if part is not None)
    if kind == "IfPresent":
        return _choose(inner["Then"] if inner["InputName"] in present else inner.get("Else"), present)
    raise ValueError(kind)


def _flat(word):
    if word is None:
        return []
    if isinstance(word, list):
        return [leaf for part in word for leaf in _flat(part)]
    return [word]


def _fill(word, executor_input, whole, constants, paths):
    def value_of(match):
        text = match.group(0)
        if text == "{{$}}":
            return whole
        if text in constants:
            return constants[text]
        if text in ("{{$.outputs.output_file}}", "{{$.outputMetadataUri}}"):
            return executor_input["outputs"]["outputFile"]
        path = _path_of(text[3:-2])
        if path is None:
            return text
        value = {**executor_input, "paths": paths}
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
                break
        return value if isinstance(value, str) else json.dumps(value)

    return _PLACEHOLDER.sub(value_of, word)


def _path_of(text):
    """Where in the ExecutorInput the value stands, or None if this is no placeholder that we know."""
    steps, at = [], 0
    for match in _STEP.finditer(text):
        if match.start() != at:
            return None
        at = match.end()
        word, quoted, index = match.groups()
        steps.append(int(index) if index is not None else word if word is not None else quoted)
    if at != len(text) or len(steps) < 3 or steps[0] not in ("inputs", "outputs"):
        return None
    side, kind, name, *rest = steps
    if kind == "parameters" and side == "inputs":
        return [side, "parameterValues", name, *rest]
    if kind == "parameters" and rest == ["output_file"]:
        return [side, kind, name, "outputFile"]
    if kind == "artifacts" and rest == ["path"]:
        return ["paths", side, name]
    if kind == "artifacts" and rest:
        return [side, kind, name, "artifacts", 0, *rest]
    return None
