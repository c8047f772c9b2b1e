"""What runs inside a SageMaker job and in the function stillflow-run-step, over a dictionary in place of S3."""
import json
import os
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "runtimes")
sys.path[:0] = [os.path.join(ROOT, "launcher"), os.path.join(ROOT, "run_step_lambda")]

import handler  # noqa: E402
import start  # noqa: E402


class FakeS3:
    def __init__(self, objects=None):
        self.objects = objects or {}

    def read(self, uri):
        return self.objects[uri]

    def write(self, uri, data):
        self.objects[uri] = data

    def upload(self, path, uri):
        for folder, _, names in os.walk(path):
            for name in names:
                below = os.path.relpath(os.path.join(folder, name), path)
                with open(os.path.join(folder, name), "rb") as file:
                    self.objects[f"{uri}/{below}"] = file.read()


class Start(unittest.TestCase):
    def run_job(self, base, spec, hosts=("algo-1", "algo-2"), current="algo-2"):
        os.makedirs(f"{base}/input/config")
        os.makedirs(f"{base}/input/data/stillflow-job")
        with open(f"{base}/input/config/resourceconfig.json", "w", encoding="utf-8") as file:
            json.dump({"hosts": hosts, "current_host": current}, file)
        with open(f"{base}/input/data/stillflow-job/spec.json", "w", encoding="utf-8") as file:
            json.dump({"name": "j", "env": {"A": "b c"}, "inputs": [{"name": "my-data"}], **spec}, file)
        s3 = FakeS3()
        return start.run(base, s3, {"PATH": os.environ["PATH"]}), s3.objects

    def test_the_command_sees_its_variables_and_its_outputs_are_taken_away(self):
        with tempfile.TemporaryDirectory() as base:
            script = ('echo "$A $RANK/$WORLD_SIZE $SM_CHANNEL_MY_DATA" > $SM_OUTPUT_DIR/r/x; '
                      "echo m > $SM_MODEL_DIR/w; exit 3")
            code, objects = self.run_job(base, {"command": ["sh", "-c", script], "outputs": [
                {"name": "r", "uri": "s3://b/r"}, {"name": "model", "uri": "s3://b/m"}]})
            self.assertEqual(code, 3)
            self.assertEqual(objects, {"s3://b/r/x": f"b c 1/2 {base}/input/data/my-data\n".encode(), "s3://b/m/w": b"m\n"})

    def test_why_a_plain_command_failed_is_in_the_failure_file_unless_it_wrote_one(self):
        for at, (script, said) in enumerate([
                ("echo no such table; exit 3", "The command ended with exit code 3. Its last output: no such table"),
                ("printf mine > $SM_OUTPUT_FAILURE; exit 3", "mine")]):
            with tempfile.TemporaryDirectory() as base:
                self.assertEqual(self.run_job(base, {"command": ["sh", "-c", script]})[0], 3)
                with open(f"{base}/output/failure", encoding="utf-8") as file:
                    self.assertEqual(file.read(), said, at)

    def test_a_processing_job_has_its_hosts_and_its_message_beside_its_folder(self):
        with tempfile.TemporaryDirectory() as root:
            base = f"{root}/processing"
            os.makedirs(f"{root}/config")
            with open(f"{root}/config/resourceconfig.json", "w", encoding="utf-8") as file:
                json.dump({"hosts": ["algo-1", "algo-2", "algo-3"], "current_host": "algo-3"}, file)
            code, objects = self.run_job(base, {
                "command": ["sh", "-c", "echo $RANK/$WORLD_SIZE > $SM_OUTPUT_DIR/r/x; echo no such column; exit 2"],
                "outputs": [{"name": "r", "uri": "s3://b/r"}]})
            self.assertEqual((code, objects), (2, {"s3://b/r/x": b"2/3\n"}))
            with open(f"{root}/output/message", encoding="utf-8") as file:
                self.assertEqual(file.read(), "The command ended with exit code 2. Its last output: no such column")

    def test_the_launcher_and_a_program_that_is_not_there(self):
        with tempfile.TemporaryDirectory() as base:
            task = {"format": 1, "command": ["sh", "-c", "exit 4"], "result": f"{base}/result.json"}
            self.assertEqual(self.run_job(f"{base}/a", {"command": ["stillflow-launcher", json.dumps(task)]})[0], 4)
            self.assertTrue(os.path.exists(f"{base}/result.json"))
            self.assertEqual(self.run_job(f"{base}/b", {"command": ["no-such-program"]})[0], 127)


class RunStep(unittest.TestCase):
    folder = "s3://b/default0/jobs/j"

    def test_a_step_runs_once_however_often_it_is_delivered(self):
        with tempfile.TemporaryDirectory() as place:
            task = {"format": 1, "command": ["sh", "-c", f"echo x >> {place}/effect; echo said"], "result": "s3://b/result"}
            s3 = FakeS3({f"{self.folder}/spec/spec.json": json.dumps(
                {"name": "j", "command": ["stillflow-launcher", "s3://b/task"]}).encode(),
                "s3://b/task": json.dumps(task).encode()})
            for _ in range(2):
                answer = handler.handler({"job": "j", "folder": self.folder}, s3=s3)
                self.assertEqual(answer, {"job": "j", "exitCode": 0})
            with open(f"{place}/effect", encoding="utf-8") as file:
                self.assertEqual(file.read(), "x\n")
            self.assertEqual(s3.objects[f"{self.folder}/log"], b"said\n")
            self.assertEqual(json.loads(s3.objects["s3://b/result"])["state"], "succeeded")

    def test_a_failed_step_raises_each_time_and_keeps_why(self):
        s3 = FakeS3({f"{self.folder}/spec/spec.json": b'{"name": "j", "command": ["sh", "-c", "echo no; exit 5"]}'})
        for _ in range(2):
            with self.assertRaisesRegex(handler.StepFailed, "exit code 5.*no"):
                handler.handler({"job": "j", "folder": self.folder}, s3=s3)
        self.assertEqual(json.loads(s3.objects[f"{self.folder}/done.json"])["exitCode"], 5)


if __name__ == "__main__":
    unittest.main()
