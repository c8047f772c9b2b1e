"""Runs a user's command, passes its output on, and says in one sentence why it failed. Standard library only."""
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

# A log line is looked at, never held whole: somebody may print a file without a newline.
_MAX_LINE = 2000
_MAX_LINES = 400
_MAX_TAIL = 400
# Lines after an exception beyond which it was not the end.
_MAX_AFTER = 20

_HEADER = re.compile(r"^\s*(?:[+|] )?\s*(?:Exception Group )?Traceback \(most recent call last\):\s*$")
# `ValueError: ..`, `acme.errors.Missing: ..`, `KeyboardInterrupt`: at the start of a line, as Python prints it.
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
# Without a header: a SyntaxError, or a traceback longer than what is looked at.
_NAMED = re.compile(r"^(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: .*)?$")
_SIGNALS = {9: "was killed, as happens when memory runs out", 11: "crashed (segmentation fault)",
            6: "aborted itself", 15: "was stopped"}


class Ended:
    """How a command ended: its exit code (128 + the signal that ended it) and its last lines."""

    def __init__(self, code, lines):
        self.code, self.lines = code, lines

    @property
    def reason(self):
        """What matters first. `ValueError: y may not be negative (exit code 1)` where Python said so."""
        raised = _raised(self.lines)
        if raised:
            return f"{raised} (exit code {self.code})"
        if self.code - 128 in _SIGNALS:
            what = f"The command {_SIGNALS[self.code - 128]} (exit code {self.code})."
        else:
            what = f"The command ended with exit code {self.code}."
        # The last line is the one that says why, `sys.exit("..")` included; what went before stands in the log.
        tail = next((line.strip() for line in reversed(self.lines) if line.strip()), "")[:_MAX_TAIL]
        return what + (f" Its last output: {tail}" if tail else "")


def _raised(lines):
    """The exception with which Python ended, as far as its first line. One that was only logged, on the way, is not."""
    for at in range(len(lines) - 1, -1, -1):
        if not _HEADER.match(lines[at]):
            continue
        # Frames are indented, the exception is not; a message of many lines and a word at exit may follow.
        for line_at in range(at + 1, len(lines)):
            line = lines[line_at].rstrip()
            if line and not line.startswith(" "):
                return line if _RAISED.match(line) and len(lines) - line_at <= _MAX_AFTER else None
        break
    return next((line.rstrip() for line in lines[:-_MAX_AFTER - 1:-1] if _NAMED.match(line)), None)


def run(command, env, out, cwd=None, forward=False):
    """Runs it to its end; output goes to `out` (binary) as it comes.

    Signals to stop are the command's to answer. One that reaches a whole process group reaches it anyway; with
    `forward` the command gets a group of its own, which is passed what reaches us alone, as in a container.
    """
    program = command[0]
    if program in ("python", "python3") and shutil.which(program, path=env.get("PATH")) is None:
        command = [sys.executable, *command[1:]]
    signals = _Signals(forward)
    try:
        child = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=forward)
    except FileNotFoundError:
        return Ended(127, [f"{program}: not found"])
    except PermissionError:
        return Ended(126, [f"{program}: not executable"])
    signals.started(child)
    last = collections.deque(maxlen=_MAX_LINES)

    def copy():
        part = b""
        for chunk in iter(lambda: child.stdout.read1(65536), b""):
            out.write(chunk)
            out.flush()
            *whole, part = (part + chunk).split(b"\n")
            last.extend(line[:_MAX_LINE] for line in whole)
            if len(part) > 2 * _MAX_LINE:
                part = part[:_MAX_LINE]
        if part:
            last.append(part[:_MAX_LINE])

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    code = child.wait()
    # What the command left running may hold the pipe open; it is not waited for.
    copier.join(timeout=2)
    if not copier.is_alive():
        child.stdout.close()
    lines = [line.decode("utf-8", "replace").rstrip("\r") for line in list(last)]
    return Ended(128 - code if code < 0 else code, lines)


class _Signals:
    """Answers SIGTERM and SIGINT by passing them on, or by leaving them to the command."""

    def __init__(self, forward):
        self._forward, self._child, self._early = forward, None, []
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._answer)

    def started(self, child):
        self._child = child
        for number in self._early:
            self._answer(number)

    def _answer(self, number, _=None):
        if not self._forward:
            return
        if self._child is None:
            self._early.append(number)
        elif self._child.poll() is None:
            os.killpg(self._child.pid, number)
