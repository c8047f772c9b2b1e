"""What a failed command says first, and who hears a signal: `python3 -m unittest` beside test_launcher.py."""
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LAUNCHER = os.path.join(os.path.dirname(__file__), "..", "..", "runtimes", "launcher")
sys.path.insert(0, LAUNCHER)

import commands  # noqa: E402

ENV = {"PATH": os.environ["PATH"]}


def run(*command):
    out = io.BytesIO()
    return commands.run(list(command), ENV, out), out.getvalue().decode()


def python(script):
    return run(sys.executable, "-c", script)


class Reasons(unittest.TestCase):
    def test_the_last_line_says_why_not_the_log_before_it(self):
        ended = commands.Ended(1, ["{" + "x" * 900 + "}", "The drop is refused: 9 rows are negative.", ""])
        self.assertEqual(ended.reason, "The command ended with exit code 1. "
                         "Its last output: The drop is refused: 9 rows are negative.")

    def test_the_exception_comes_first_and_the_traceback_stays_in_the_log(self):
        ended, log = python("def f(y):\n raise ValueError('y may not be negative')\nf(-1)")
        self.assertEqual((ended.code, ended.reason), (1, "ValueError: y may not be negative (exit code 1)"))
        self.assertIn("Traceback (most recent call last):", log)

    def test_of_a_chain_the_last_one(self):
        ended, _ = python("try:\n 1/0\nexcept ZeroDivisionError as error:\n raise KeyError('price') from error")
        self.assertEqual(ended.reason, "KeyError: 'price' (exit code 1)")

    def test_a_message_of_many_lines_is_its_first(self):
        ended, _ = python("raise RuntimeError('one\\ntwo\\n  three')")
        self.assertEqual(ended.reason, "RuntimeError: one (exit code 1)")

    def test_a_class_of_the_users_own_and_one_without_a_message(self):
        self.assertEqual(python("class TooHot(Exception): pass\nraise TooHot('42')")[0].reason,
                         "TooHot: 42 (exit code 1)")
        self.assertEqual(python("raise NotImplementedError")[0].reason, "NotImplementedError (exit code 1)")

    def test_a_traceback_longer_than_what_is_looked_at(self):
        ended, _ = python("import sys\nfor at in range(3000): print('  File', at, file=sys.stderr)\n"
                          "print('acme.errors.BadError: at last', file=sys.stderr)\nsys.exit(4)")
        self.assertEqual(ended.reason, "acme.errors.BadError: at last (exit code 4)")

    def test_a_syntax_error_has_no_header(self):
        self.assertRegex(python("def (")[0].reason, r"^SyntaxError: .*\(exit code 1\)$")

    def test_an_exception_that_was_only_logged_is_not_the_reason(self):
        ended, _ = python("import traceback, sys\ntry:\n 1/0\nexcept ZeroDivisionError:\n traceback.print_exc()\n"
                          "for at in range(30): print('went on', at)\nsys.exit(3)")
        self.assertTrue(ended.reason.startswith("The command ended with exit code 3. Its last output: "), ended.reason)
        self.assertTrue(ended.reason.endswith("went on 29"))

    def test_no_python(self):
        self.assertEqual(run("sh", "-c", "echo no such table; exit 3")[0].reason,
                         "The command ended with exit code 3. Its last output: no such table")
        self.assertEqual(run("sh", "-c", "exit 3")[0].reason, "The command ended with exit code 3.")
        self.assertEqual(run("no-such-program")[0].reason,
                         "The command ended with exit code 127. Its last output: no-such-program: not found")

    def test_a_signal_is_named(self):
        ended, _ = run("sh", "-c", "kill -9 $$")
        self.assertEqual((ended.code, ended.reason),
                         (137, "The command was killed, as happens when memory runs out (exit code 137)."))

    def test_output_without_a_newline_goes_through_whole_and_is_not_kept_whole(self):
        ended, log = python("import sys; sys.stdout.write('x' * 3_000_000); sys.exit(2)")
        self.assertEqual(len(log), 3_000_000)
        self.assertLess(len(ended.reason), 1000)


class Stopping(unittest.TestCase):
    """Only the first process of a container is sent SIGTERM."""

    def test_what_is_sent_to_us_alone_reaches_the_command_once(self):
        with tempfile.TemporaryDirectory() as place:
            inner = ("import signal, sys, time\n"
                     f"signal.signal(15, lambda *_: (open({place!r} + '/told', 'a').write('x'), sys.exit(5)))\n"
                     f"open({place!r} + '/up', 'w').close()\ntime.sleep(60)")
            outer = (f"import sys; sys.path.insert(0, {LAUNCHER!r})\nimport commands, os\n"
                     f"ended = commands.run([sys.executable, '-c', {inner!r}], dict(os.environ), sys.stdout.buffer, "
                     "forward=True)\nsys.exit(ended.code)")
            child = subprocess.Popen([sys.executable, "-c", outer])
            deadline = time.monotonic() + 30
            while not os.path.exists(f"{place}/up") and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(child.pid, signal.SIGTERM)
            self.assertEqual(child.wait(30), 5)
            with open(f"{place}/told", encoding="utf-8") as file:
                self.assertEqual(file.read(), "x")


if __name__ == "__main__":
    unittest.main()
