"""How the model server loads, on the pinned environment: `python3 test_server.py`."""
import os
import subprocess
import sys
import tempfile
import unittest

SERVER = os.path.join(os.path.dirname(__file__), "..", "..", "runtimes", "model_server")
HEAD = f"import sys; sys.path.insert(0, {os.path.abspath(SERVER)!r})\nimport trusted\n"
SHOW = """
import skops.io._trusted_types as kept, json
own = {name: [str(one) for one in value] for name, value in vars(kept).items() if name.isupper()}
print(json.dumps(own, sort_keys=True))
"""


def python(script):
    """Each in a process of its own: what is imported stays imported."""
    return subprocess.run([sys.executable, "-c", HEAD + script], check=True, capture_output=True, text=True).stdout


class Trusted(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.place = held.name
        self.load = f"sys.prefix = {self.place!r}\ntrusted.import_skops()\n"
        self.counted = self.load + "print(len([name for name in sys.modules if name.startswith('sklearn.')]))\n"

    def test_what_is_trusted_is_what_skops_says(self):
        own = python("import skops.io\n" + SHOW)
        first = python(self.load + SHOW)
        self.assertEqual(first, own)
        self.assertGreater(len(own), 10_000)
        self.assertEqual(len(os.listdir(self.place)), 1)
        self.assertEqual(python(self.load + SHOW), own)

    def test_the_second_import_does_not_walk_scikit_learn(self):
        first, second = int(python(self.counted)), int(python(self.counted))
        self.assertLess(second, first - 100)

    def test_a_file_that_is_damaged_is_made_again(self):
        python(self.load)
        (file,) = (os.path.join(self.place, name) for name in os.listdir(self.place))
        whole = os.path.getsize(file)
        with open(file, "r+", encoding="utf-8") as cut:
            cut.truncate(whole // 2)
        python(self.load)
        self.assertEqual(os.path.getsize(file), whole)

    def test_a_model_comes_back_by_the_kept_constants(self):
        python(self.load)
        said = python(self.load + """
import io, skops.io
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import numpy as np
X = np.arange(40.0).reshape(20, 2)
model = make_pipeline(FunctionTransformer(np.log1p), Ridge()).fit(X, X[:, 0])
again = skops.io.loads(skops.io.dumps(model))
print((again.predict(X) == model.predict(X)).all())
""")
        self.assertEqual(said, "True\n")


SCORE = """
import server
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
class Model:
    class metadata:
        get_input_schema = staticmethod(lambda: None)
    def predict(self, data):
        return [1.0]
scorer = server.Scorer(Model(), scoring_server, MlflowException)
for body in (b'[' * 100_000, b'{"inputs":' + b'[' * 100_000, b'{"a":' * 100_000, b'{"inputs":[1]}'):
    status, _, said = scorer.score(body, "application/json")
    print(status, said.decode())
"""
OWN = """
import server
class Error(Exception):
    pass
class Recurs:
    VERSION = "0"
    def invocations(self, *_):
        return self.invocations()
class Model:
    class metadata:
        get_input_schema = staticmethod(lambda: None)
try:
    server.Scorer(Model(), Recurs(), Error).score(b"{}", "application/json")
except RecursionError:
    print("its own")
"""


class Nested(unittest.TestCase):
    def test_a_body_nested_beyond_what_the_parser_bears_is_400_not_500(self):
        deep = '400 {"error_code": "BAD_REQUEST", "message": "Invalid input. The JSON is nested too deeply."}'
        self.assertEqual(python(SCORE).splitlines(), [deep] * 3 + ['200 {"predictions": [1.0]}'])

    def test_what_recurs_in_the_model_is_not_the_requests_fault(self):
        self.assertEqual(python(OWN), "its own\n")


if __name__ == "__main__":
    unittest.main()
