"""The launcher against kfp's own words, in the pinned environment: the same command lines, the same outputs."""
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "runtimes", "launcher"))

import launcher  # noqa: E402
import packages  # noqa: E402
import placeholders  # noqa: E402
import yaml  # noqa: E402
from kfp import compiler, dsl  # noqa: E402
from kfp.local import placeholder_utils  # noqa: E402


@dsl.component
def train(rows: int, name: str, rate: float, flag: bool, tags: list, model: dsl.Output[dsl.Model],
          metrics: dsl.Output[dsl.Metrics], note: dsl.OutputPath(str)) -> float:
    with open(model.path, "w", encoding="utf-8") as file:
        file.write(name)
    model.metadata["rows"] = rows
    metrics.log_metric("loss", 0.25)
    with open(note, "w", encoding="utf-8") as file:
        file.write(f"{flag} {tags}\n")
    print("training", name)
    return rate * rows


@dsl.component(packages_to_install=["packaging", "pip>=1"])
def light() -> str:
    import packaging
    return packaging.__name__


def compiled(component):
    """(the component spec, its container) as the IR has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "c.yaml")
        compiler.Compiler().compile(component, path)
        with open(path, encoding="utf-8") as file:
            ir = next(yaml.safe_load_all(file))
    (spec,) = ir["components"].values()
    (executor,) = ir["deploymentSpec"]["executors"].values()
    return spec, executor["container"]


class Components(unittest.TestCase):
    def run_component(self, component, inputs, folder):
        spec, container = compiled(component)
        definitions = spec.get("outputDefinitions", {})
        task = {
            "format": 1, "component": spec, "command": container["command"], "args": container["args"],
            "executorInput": {
                "inputs": {"parameterValues": inputs},
                "outputs": {
                    "outputFile": "/tmp/kfp/executor_output.json",
                    "parameters": {name: {} for name in definitions.get("parameters", {})},
                    "artifacts": {name: {"artifacts": [{"name": name, "type": one["artifactType"], "metadata": {},
                                                        "uri": os.path.join(folder, name)}]}
                                  for name, one in definitions.get("artifacts", {}).items()}}},
            "result": os.path.join(folder, "result.json")}
        out = io.BytesIO()
        env = {"PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"], "PIP_NO_INDEX": "1", "HOME": folder}
        return launcher.run_task(json.dumps(task), env=env, out=out), out.getvalue().decode()

    def test_a_python_component_with_every_kind_of_output(self):
        with tempfile.TemporaryDirectory() as folder:
            result, log = self.run_component(
                train, {"rows": 4, "name": "a 'b' {{$}} \"c\"", "rate": 0.5, "flag": True, "tags": ["x", 1]}, folder)
            self.assertEqual(result["error"], "")
            self.assertEqual(result["parameterValues"], {"Output": 2.0, "note": "True ['x', 1]\n"})
            (model,), (metrics,) = (result["artifacts"][name]["artifacts"] for name in ("model", "metrics"))
            self.assertEqual(model["metadata"], {"rows": 4})
            self.assertEqual(metrics["metadata"], {"loss": 0.25})
            with open(model["uri"], encoding="utf-8") as file:
                self.assertEqual(file.read(), "a 'b' {{$}} \"c\"")
            self.assertIn("training a 'b'", log)

    def test_packages_that_are_there_need_no_index(self):
        with tempfile.TemporaryDirectory() as folder:
            result, log = self.run_component(light, {}, folder)
            self.assertEqual((result["error"], result["parameterValues"]), ("", {"Output": "packaging"}))
            self.assertNotIn("pip install", log)

    def test_the_prelude_of_every_form_of_component_is_understood(self):
        for component in (train, light):
            _, container = compiled(component)
            installs, command = packages.split_prelude(container["command"])
            self.assertEqual(command[:2], ["sh", "-ec"])
            self.assertTrue(all(packages.is_there(install) for install in installs), installs)


class Placeholders(unittest.TestCase):
    def test_command_lines_are_those_of_kfp_local(self):
        executor_input = {
            "inputs": {"parameterValues": {"s": "plain", "n": 3, "f": 0.5, "b": True, "l": [1, "é"], "m": {"k": None}},
                       "artifacts": {"a": {"artifacts": [{"name": "a", "uri": "/data/a", "metadata": {"k": "v"}}]}}},
            "outputs": {"parameters": {"y": {"outputFile": "/o/y"}}, "outputFile": "/o/executor_output.json",
                        "artifacts": {"z": {"artifacts": [{"name": "z", "uri": "/o/z", "metadata": {}}]}}}}
        words = ["--executor_input", "{{$}}", "{{$.outputs.output_file}}"]
        words += [f"x{{{{$.inputs.parameters['{name}']}}}}y" for name in "snfblm"] + ["{{$.inputs.parameters['gone']}}"]
        words += ["{{$.inputs.artifacts['a'].uri}} {{$.inputs.artifacts['a'].path}}", "{{$.outputs.artifacts['z'].path}}",
                  "{{$.inputs.artifacts['a'].metadata['k']}}", "{{$.outputs.parameters['y'].output_file}}"]
        words += [json.dumps({"IfPresent": {"InputName": name, "Then": ["--x", {"Concat": ["a", "b"]}], "Else": ["--no"]}})
                  for name in ("s", "a", "gone")]
        ours = placeholders.fill_command(words, executor_input, {}, {"inputs": {"a": "/data/a"}, "outputs": {"z": "/o/z"}})
        theirs = placeholder_utils.replace_placeholders(
            words, json.loads(json.dumps(executor_input)), "p", "t", "/root", "id")
        self.assertEqual(ours, theirs)


if __name__ == "__main__":
    unittest.main()
