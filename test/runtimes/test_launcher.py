"""The launcher's promises, on plain Python: `python3 -m unittest` with runtimes/launcher on the path."""
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "runtimes", "launcher"))

import launcher  # noqa: E402
import outputs  # noqa: E402
import packages  # noqa: E402
import placeholders  # noqa: E402

ENV = {"PATH": os.environ["PATH"]}


class Folder(unittest.TestCase):
    def setUp(self):
        self.held = tempfile.TemporaryDirectory()
        self.folder = self.held.name
        self.addCleanup(self.held.cleanup)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def run_task(self, command, args=(), inputs=None, outs=None, component=None, s3=None, **more):
        task = {"format": 1, "executorInput": {"inputs": inputs or {}, "outputs": outs or {}},
                "component": component or {}, "command": list(command), "args": list(args),
                "result": self.path("result.json"), **more}
        out = io.BytesIO()
        result = launcher.run_task(json.dumps(task), s3=s3, env={**ENV, "SAGEMAKER_BASE_DIR": self.folder}, out=out)
        with open(self.path("result.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), result)
        return result, out.getvalue().decode()


class Running(Folder):
    def test_outputs_of_every_type_are_read(self):
        kinds = {"s": ("STRING", " a\n", " a\n"), "i": ("NUMBER_INTEGER", " 7\n", 7), "d": ("NUMBER_DOUBLE", "1e3", 1000.0),
                 "b": ("BOOLEAN", "T\n", True), "l": ("LIST", "[1]", [1]), "m": ("STRUCT", '{"a":1}', {"a": 1})}
        script = "".join(f"printf %s '{text}' > \"${at}\"; " for at, (_, text, _) in enumerate(kinds.values()))
        result, _ = self.run_task(
            ["sh", "-c", script], [f"{{{{$.outputs.parameters['{name}'].output_file}}}}" for name in kinds],
            outs={"parameters": {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in kinds}},
            component={"outputDefinitions": {"parameters": {name: {"parameterType": kind[0]} for name, kind in kinds.items()}}})
        self.assertEqual(result["error"], "")
        self.assertEqual(result["parameterValues"], {name: kind[2] for name, kind in kinds.items()})
        self.assertFalse(os.path.exists("/tmp/kfp/outputs/s"))

    def test_a_missing_output_parameter_fails_the_step_and_a_missing_artifact_does_not(self):
        artifact = {"artifacts": [{"name": "m", "uri": self.path("a", "m"), "metadata": {}}]}
        result, _ = self.run_task(["true"], outs={"artifacts": {"m": artifact}})
        self.assertEqual(result["state"], "succeeded")
        self.assertTrue(os.path.isdir(self.path("a")))
        result, _ = self.run_task(["true"], outs={"parameters": {"y": {}}})
        self.assertEqual((result["state"], result["exitCode"]), ("failed", 1))
        self.assertIn("'y'", result["error"])

    def test_a_wrong_value_names_the_output(self):
        for kind, text in (("NUMBER_INTEGER", "1.5"), ("BOOLEAN", "yes"), ("LIST", "{}"), ("STRUCT", "[]"), ("LIST", "[")):
            result, _ = self.run_task(["sh", "-c", f"printf '{text}' > $0", "{{$.outputs.parameters['y'].output_file}}"],
                                      outs={"parameters": {"y": {}}},
                                      component={"outputDefinitions": {"parameters": {"y": {"parameterType": kind}}}})
            self.assertIn("'y'", result["error"], kind)
            self.assertIn(kind, result["error"])

    def test_the_output_file_wins_and_its_changes_are_merged(self):
        told = {"parameterValues": {"y": 2.0}, "artifacts": {"m": {"artifacts": [
            {"name": "x", "uri": self.path("other"), "metadata": {"acc": 0.5}}]}}}
        result, _ = self.run_task(
            ["sh", "-c", "echo 1 > $0; printf %s \"$2\" > $1"],
            ["{{$.outputs.parameters['y'].output_file}}", "{{$.outputs.output_file}}", json.dumps(told)],
            outs={"parameters": {"y": {}}, "outputFile": self.path("deep", "out.json"), "artifacts": {"m": {"artifacts": [
                {"name": "m", "type": {"schemaTitle": "system.Model"}, "uri": self.path("m"), "metadata": {"k": 1}}]}}},
            component={"outputDefinitions": {"parameters": {"y": {"parameterType": "NUMBER_INTEGER"}}}})
        self.assertEqual(result["parameterValues"], {"y": 2})
        self.assertEqual(result["artifacts"]["m"]["artifacts"], [
            {"name": "m", "type": {"schemaTitle": "system.Model"}, "uri": self.path("other"), "metadata": {"k": 1, "acc": 0.5}}])

    def test_a_failing_command_gives_its_code_and_its_last_output(self):
        os.makedirs(self.path("output"))
        result, log = self.run_task(["sh", "-c", "echo working; echo no such table >&2; exit 9"])
        self.assertEqual((result["state"], result["exitCode"]), ("failed", 9))
        self.assertIn("no such table", result["error"])
        self.assertIn("working", log)
        with open(self.path("output", "failure"), encoding="utf-8") as file:
            self.assertEqual(file.read(), result["error"])

    def test_a_program_that_is_not_there_or_was_killed(self):
        self.assertEqual(self.run_task(["no-such-program"])[0]["exitCode"], 127)
        self.assertEqual(self.run_task(["sh", "-c", "kill -9 $$"])[0]["exitCode"], 137)

    def test_what_a_command_leaves_running_does_not_hold_the_step(self):
        result, _ = self.run_task(["sh", "-c", "sleep 5 & exit 0"])
        self.assertEqual(result["state"], "succeeded")

    def test_an_argument_that_linux_cannot_pass_is_refused_in_words(self):
        result, _ = self.run_task(["echo", "{{$.inputs.parameters['x']}}"],
                                  inputs={"parameterValues": {"x": "é" * 70_000}})
        self.assertEqual(result["exitCode"], 1)
        self.assertIn("140000 bytes", result["error"])

    def test_a_task_of_another_format_is_refused(self):
        result = launcher.run_task('{"format": 2}', env=ENV)
        self.assertIn("format", result["error"])

    def test_the_environment_of_the_step(self):
        _, log = self.run_task(["sh", "-c", "echo $A $_KFP_RUNTIME"], env={"A": "b c"})
        self.assertEqual(log, "b c true\n")


class Placeholders(unittest.TestCase):
    executor_input = {"inputs": {"parameterValues": {"text": "{{$}} {{$.inputs.parameters['n']}}", "n": 3, "f": 0.5, "no": None,
                                                     "l": [1, "a"], "m": {"a": True}},
                                 "artifacts": {"data": {"artifacts": [{"name": "d", "uri": "s3://b/k", "metadata": {"rows": 5}}]}}},
                      "outputs": {"parameters": {"y": {"outputFile": "/y"}}, "outputFile": "/o/executor_output.json"}}
    paths = {"inputs": {"data": "/s3/b/k"}, "outputs": {}}

    def fill(self, *words, constants=None):
        return placeholders.fill_command(words, self.executor_input, constants or {}, self.paths)

    def test_values_are_filled_in_once(self):
        cases = {
            "{{$.inputs.parameters['text']}}": "{{$}} {{$.inputs.parameters['n']}}",
            "{{$.inputs.parameters[''n'']}}": "3",
            "-{{$.inputs.parameters['f']}}-{{$.inputs.parameters['n']}}-": "-0.5-3-",
            "{{$.inputs.parameters['l']}}": '[1, "a"]',
            "{{$.inputs.parameters['m']}}": '{"a": true}',
            "{{$.inputs.parameters['absent']}}": "null",
            "{{$.inputs.artifacts['data'].path}}": "/s3/b/k",
            "{{$.inputs.artifacts['data'].uri}}": "s3://b/k",
            "{{$.inputs.artifacts['data'].metadata['rows']}}": "5",
            "{{$.outputs.parameters['y'].output_file}}": "/y",
            "{{$.outputs.output_file}}": "/o/executor_output.json",
            "{{$}}": json.dumps(self.executor_input),
            "{{$.pipeline_job_uuid}}": "u1",
            "{{$.unknown}} {{x}} {$}": "{{$.unknown}} {{x}} {$}",
        }
        for text, filled in cases.items():
            self.assertEqual(self.fill(text, constants={"{{$.pipeline_job_uuid}}": "u1"}), [filled], text)

    def test_if_present_and_concat(self):
        present = json.dumps({"IfPresent": {"InputName": "n", "Then": ["--n", {"Concat": ["<", "{{$.inputs.parameters['n']}}", ">"]}]}})
        absent = json.dumps({"IfPresent": {"InputName": "no", "Then": ["--no"], "Else": "--without"}})
        nothing = json.dumps({"IfPresent": {"InputName": "no", "Then": ["--no"]}})
        self.assertEqual(self.fill("a", present, absent, nothing), ["a", "--n", "<3>", "--without"])

    def test_malformed_ones_are_refused(self):
        for text in ('{"IfPresent": {}}', '{"Concat": 5}', '{"Concat": ["a"'):
            with self.assertRaises(placeholders.BadCommand):
                self.fill(text)


class FakeS3:
    def __init__(self, objects):
        self.objects = objects

    def read(self, uri):
        return self.objects[uri]

    def write(self, uri, data):
        self.objects[uri] = data

    def download(self, uri, path):
        for key, data in self.objects.items():
            if key.startswith(uri + "/"):
                target = path + key[len(uri):]
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(data)

    def upload(self, path, uri):
        with open(path, "rb") as file:
            self.objects[uri] = file.read()


class Remote(Folder):
    def test_inputs_come_from_s3_and_outputs_go_there(self):
        s3 = FakeS3({"s3://bucket/in/deep/a.txt": b"hello"})
        result, log = self.run_task(
            ["sh", "-c", "cat $0/deep/a.txt; cat $0/deep/a.txt > $1",
             "{{$.inputs.artifacts['x'].path}}", "{{$.outputs.artifacts['y'].path}}"],
            inputs={"artifacts": {"x": {"artifacts": [{"uri": "s3://bucket/in", "customPath": self.path("x")}]}}},
            outs={"artifacts": {"y": {"artifacts": [{"uri": "s3://bucket/out/y", "customPath": self.path("y", "y")}]}}}, s3=s3)
        self.assertEqual(result["error"], "")
        self.assertEqual(log, "hello")
        self.assertEqual(s3.objects["s3://bucket/out/y"], b"hello")


class Prelude(unittest.TestCase):
    head = ('\nif ! [ -x "$(command -v pip)" ]; then\n    python3 -m ensurepip\nfi\n\n'
            "PIP_DISABLE_PIP_VERSION_CHECK=1 ")
    kfp = "python3 -m pip install --quiet 'kfp==2.17.0' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"
    rest = ["sh", "-ec", "x", "--executor_input", "{{$}}"]

    def split(self, line):
        return packages.split_prelude(["sh", "-c", self.head + line, *self.rest])

    def test_installs_are_taken_off(self):
        installs, command = self.split(self.kfp + ' && "$0" "$@"\n')
        self.assertEqual(command, self.rest)
        self.assertEqual(installs[0][:3], ["--quiet", "kfp==2.17.0", "--no-deps"])
        installs, command = self.split("python3 -m pip install --quiet 'a b' c  &&  " + self.kfp + ' && "$0" "$@"\n')
        self.assertEqual((len(installs), installs[0], command), (2, ["--quiet", "a b", "c"], self.rest))

    def test_anything_else_is_left_as_it_is(self):
        for line in ('rm x && "$0" "$@"', self.kfp, 'pip install x && "$0" "$@"', "python3 -m pip install 'x && \"$0\" \"$@\""):
            self.assertEqual(self.split(line)[0], [], line)
        self.assertEqual(packages.split_prelude(["python3", "x"]), ([], ["python3", "x"]))

    def test_what_is_there_is_not_installed_again(self):
        if not packages.is_there(["pip"]):
            self.skipTest("this Python has neither pip nor packaging")
        self.assertTrue(packages.is_there(["--quiet", "--index-url", "x", "pip>=1"]))
        self.assertFalse(packages.is_there(["pip<1"]))
        self.assertFalse(packages.is_there(["no-such-package-anywhere"]))


class Outputs(unittest.TestCase):
    def test_an_output_file_that_is_no_object(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("[]")
            file.flush()
            with self.assertRaises(outputs.BadOutput):
                outputs.collect({"outputs": {"outputFile": file.name}}, {})


if __name__ == "__main__":
    unittest.main()
