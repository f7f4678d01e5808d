"""The programs compared with, and the `pipe` to compare: finds them, or installs the pinned version below the scratch folder."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .measure import Failed

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "bench" / "requirements.txt"
B3SUM = "1.8.2"


@dataclass(frozen=True)
class Program:
    """An executable and its version."""

    path: Path
    version: str


def pipe(given: Path | None) -> Program:
    """The `pipe` given, or the release build of this tree, built now if it is out of date."""
    if given is None:
        _succeed(["cargo", "build", "--release", "--package", "pipe", "--package", "pipe-data"], cwd=ROOT)
        given = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "pipe"
    given = given.resolve()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return Program(given, f"pipe {_version([given, '--version'])} ({commit.stdout.strip() or 'no commit'})")


def ninja() -> Program | None:
    """ninja from PATH; `None` and a message where there is none."""
    found = shutil.which("ninja")
    if found is None:
        print("skipped: `ninja` is not installed (on Debian: apt-get install ninja-build)", file=sys.stderr)
        return None
    return Program(Path(found), f"ninja {_version([found, '--version'])}")


def b3sum(tools: Path) -> Program:
    """b3sum, built by cargo into `tools` the first time."""
    path = tools / "bin" / "b3sum"
    if not path.exists() or _version([path, "--version"]) != B3SUM:
        _succeed(["cargo", "install", "--locked", "--root", tools, "--version", B3SUM, "b3sum"])
    return Program(path, f"b3sum {B3SUM}")


def dvc(tools: Path) -> Program:
    """dvc, installed by pip into a virtual environment in `tools` the first time."""
    path = _environment(tools / "dvc", REQUIREMENTS) / "dvc"
    return Program(path, f"dvc {_version([path, '--version'])}")


def onnxruntime(tools: Path) -> Program:
    """A Python with `onnx` and `onnxruntime`, in a virtual environment in `tools`, of the tests' versions."""
    path = _environment(tools / "onnxruntime", ROOT / "tests" / "peers" / "requirements.txt", "--no-deps") / "python"
    version = _version([path, "-c", "import onnxruntime; print(onnxruntime.__version__)"])
    return Program(path, f"onnxruntime {version} (Python)")


def torch(tools: Path) -> Program:
    """A Python with PyTorch, of libtorch's version, in a virtual environment in `tools`."""
    path = _environment(tools / "torch", ROOT / "bench" / "training-requirements.txt") / "python"
    return Program(path, f"PyTorch {_version([path, '-c', 'import torch; print(torch.__version__)'])}")


def wheels(tools: Path, name: str, *packages: str) -> Path:
    """The Python of a virtual environment with these packages, each as `NAME==VERSION`."""
    return _packages(tools / name, "".join(f"{package}\n" for package in packages)) / "python"


def onnxruntime_web(tools: Path, version: str) -> Path | None:
    """A folder with `onnxruntime-web` among its Node modules; `None` and a message where there is no Node of at least 20."""
    node = shutil.which("node")
    if node is None or int(_version([node, "--version"]).split(".")[0]) < 20 or shutil.which("npm") is None:
        print("skipped: `node` 20 or newer and `npm` are not installed (on Debian: apt-get install nodejs npm)", file=sys.stderr)
        return None
    folder = tools / f"onnxruntime-web-{version}"
    if not (folder / "node_modules" / "onnxruntime-web" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        _succeed(["npm", "install", *quiet, "--prefix", folder, f"onnxruntime-web@{version}"])
    return folder


def plugins(pipe: Program, *more: str) -> None:
    """The release build of the plugins beside `pipe`, where this tree's is the one measured."""
    if pipe.path.is_relative_to(ROOT):
        _succeed(["cargo", "build", "--release", *(f"--package={name}" for name in ("pipe-data", "pipe-onnx", *more))], cwd=ROOT)


def _environment(folder: Path, requirements: Path, *options: str) -> Path:
    """The programs of a virtual environment with what a file lists, which is made the first time."""
    return _packages(folder, requirements.read_text(), *options)


def _packages(folder: Path, wanted: str, *options: str) -> Path:
    """As `_environment`, with these packages, one a line."""
    stamp = folder / ".requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        _succeed([sys.executable, "-m", "venv", "--clear", folder])
        listed = folder / "requirements.txt"
        listed.write_text(wanted)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        _succeed([*pip, *options, "-r", listed])
        stamp.write_text(wanted)
    return folder / "bin"


def strace() -> Path | None:
    """strace from PATH; `None` and a message where there is none."""
    found = shutil.which("strace")
    if found is None:
        print("not checked by system calls: `strace` is not installed", file=sys.stderr)
    return Path(found) if found else None


def _version(argv: list) -> str:
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    if found is None:
        raise Failed(f"`{argv[0]} {argv[1]}` names no version")
    return found[0]


def _succeed(argv: list, cwd: Path | None = None) -> None:
    print(f"  {' '.join(map(str, argv))}", file=sys.stderr, flush=True)
    if subprocess.run(argv, cwd=cwd, stdout=sys.stderr, check=False).returncode != 0:
        raise Failed(f"`{argv[0]}` failed; its messages are above")
