"""The pip prelude of KFP's Python components, without a shell and without touching the shared environment.

A component compiled from a function starts with `sh -c '... python3 -m pip install kfp==X --no-deps && "$0" "$@"' ...`.
Where kfp can be imported that install is left out. What `packages_to_install` names is left out too where it is there
already; otherwise it is installed once into a folder of its own, found by its packages and the environment below, and
laid over that environment for this job alone. Source: kubeflow/pipelines sdk/python/kfp/dsl/component_factory.py,
_get_packages_to_install_command.
"""
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys


class InstallFailed(Exception):
    """pip could not install what the component asks for; the text is for people."""


def split_prelude(command):
    """(pip's arguments, one list an install; the command without its prelude). A command without one stays."""
    if len(command) < 4 or command[:2] != ["sh", "-c"] or "pip install" not in command[2]:
        return [], command
    line = next((line for line in command[2].splitlines() if "pip install" in line), "")
    try:
        words = shlex.split(line)
    except ValueError:
        return [], command
    groups = [[]]
    for word in words:
        if word == "&&":
            groups.append([])
        else:
            groups[-1].append(word)
    if groups.pop() != ["$0", "$@"]:
        return [], command
    installs = []
    for group in groups:
        while group and "=" in group[0] and not group[0].startswith("-"):
            group.pop(0)
        if group[:4] != ["python3", "-m", "pip", "install"]:
            return [], command
        installs.append(group[4:])
    return installs, command[3:]


def is_there(install):
    """Whether all that one install names is importable in a fitting version already."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return _is_kfp_there(install)
    takes_value = ("--index-url", "--extra-index-url", "--trusted-host")
    words = iter(install)
    for word in words:
        if word in takes_value:
            next(words, None)
        elif not word.startswith("-"):
            try:
                wanted = Requirement(word)
                if wanted.marker is not None and not wanted.marker.evaluate():
                    continue
                if wanted.url or wanted.extras:
                    return False
                if not wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True):
                    # The SDK that compiled a component asks for its own version; ours runs it as well.
                    if not (wanted.name == "kfp" and "--no-deps" in install):
                        return False
            except (ValueError, importlib.metadata.PackageNotFoundError):
                return False
    return True


def _is_kfp_there(install):
    names = [word for word in install if not word.startswith(("-", "typing-extensions"))]
    return bool(names) and all(name.startswith("kfp==") for name in names) and importlib.util.find_spec("kfp") is not None


def lay_over(installs, env, scratch):
    """Installs what is missing and changes `env` so that the command finds it. Throws InstallFailed."""
    missing = [install for install in installs if not is_there(install)]
    if not missing:
        return
    shared = env.get("STILLFLOW_VENVS")
    if shared and sys.prefix != sys.base_prefix:
        folder = _child_venv(missing, shared, env)
        packages, programs = _site_packages(folder), os.path.join(folder, "bin")
    else:
        packages = os.path.join(scratch, "packages")
        programs = os.path.join(packages, "bin")
        _pip(sys.executable, missing, {**env, "PIP_TARGET": packages})
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [packages, env.get("PYTHONPATH")]))
    env["PATH"] = os.pathsep.join([programs, env.get("PATH", os.defpath)])


def _child_venv(installs, shared, env):
    """A venv that sees all of ours below its own packages; complete once its mark is there."""
    key = hashlib.sha256(repr((sys.prefix, sys.version, installs)).encode()).hexdigest()[:32]
    folder = os.path.join(shared, "children", key)
    mark = os.path.join(folder, "complete")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with _locked(f"{folder}.lock"):
        if not os.path.exists(mark):
            shutil.rmtree(folder, ignore_errors=True)
            _make_child(folder)
            own = {key: value for key, value in env.items() if key not in ("PIP_TARGET", "PYTHONPATH")}
            _pip(os.path.join(folder, "bin", "python3"), installs, own)
            with open(mark, "w", encoding="utf-8"):
                pass
    return folder


def _site_packages(folder):
    return os.path.join(folder, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")


def _make_child(folder):
    """As `python3 -m venv` does it, a hundred times faster: two folders, a link and two small files."""
    packages = _site_packages(folder)
    os.makedirs(packages)
    os.makedirs(os.path.join(folder, "bin"))
    os.symlink(os.path.realpath(sys.executable), os.path.join(folder, "bin", "python3"))
    shutil.copyfile(os.path.join(sys.prefix, "pyvenv.cfg"), os.path.join(folder, "pyvenv.cfg"))
    with open(os.path.join(packages, "_below.pth"), "w", encoding="utf-8") as file:
        file.write(f"import site; site.addsitedir({_site_packages(sys.prefix)!r})\n")


@contextlib.contextmanager
def _locked(path):
    import fcntl
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pip(python, installs, env):
    for install in installs:
        print(f"stillflow: pip install {shlex.join(install)}", flush=True)
        done = subprocess.run([python, "-m", "pip", "install", *install],
                              env={**env, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            text = done.stdout.decode("utf-8", "replace")
            print(text, flush=True)
            raise InstallFailed(f"pip could not install {shlex.join(install)}: {text.strip()[-600:]}")
