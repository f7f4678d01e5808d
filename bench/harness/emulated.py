"""Other processors, by qemu's user mode: how a Python with ONNX Runtime is started on each. For Arm, with packages of Debian and wheels of
PyPI in a folder, beside those of this machine."""

import shutil
import sys
from pathlib import Path

from .measure import Command, run

INDEX = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
"""
"""What makes apt leave alone what it knows of this machine."""
SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
PACKAGES = (
    "libbz2-1.0 libc6 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal libpython3.11-stdlib libssl3 libstdc++6 libuuid1 "
    "python3.11-minimal zlib1g"
).split()
WHEELS = ("onnxruntime==1.32.0", "numpy==2.4.6")
CPUINFO = """\
processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""
"""ONNX Runtime reads this file, and dies of that of an x86-64; what qemu says of the processor counts for its kernels."""
X86_64 = ("Haswell", "SandyBridge")
AARCH64 = ("cortex-a72", "neoverse-n1")


def starts(tools: Path, python: Path) -> dict[str, list]:
    """By processor the words before those of a Python script; `python` is one for this machine. Without qemu there are none."""
    found: dict[str, list] = {}
    for emulator, processors in (("qemu-x86_64", X86_64), ("qemu-aarch64", AARCH64)):
        if shutil.which(emulator) is None:
            print(f"skipped: `{emulator}` is not installed (on Debian: apt-get install qemu-user)", file=sys.stderr)
            continue
        if emulator == "qemu-x86_64":
            found |= {cpu: [emulator, "-cpu", cpu, python] for cpu in processors}
        elif (root := _aarch64(tools)) is not None:
            variables = {"PYTHONHOME": root / "usr", "PYTHONPATH": root / "wheels", "OPENBLAS_NUM_THREADS": "1"}
            given = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
            found |= {
                cpu: [emulator, "-cpu", cpu, "-L", root, *given, root / "usr" / "bin" / "python3.11"] for cpu in processors
            }
    return found


def _aarch64(tools: Path) -> Path | None:
    """A folder like the root of an Arm machine that has Python and ONNX Runtime; `None` and a message without apt and dpkg."""
    missing = [program for program in ("apt-get", "dpkg") if shutil.which(program) is None]
    if missing:
        print(f"skipped: Arm's processors want packages of Debian, and `{missing[0]}` is not installed", file=sys.stderr)
        return None
    folder = tools / "aarch64"
    root = folder / "root"
    if (root / "complete").exists():
        return root
    shutil.rmtree(folder, ignore_errors=True)
    for path in ("state/lists/partial", "cache/archives/partial", "packages", "wheels", "root"):
        (folder / path).mkdir(parents=True)
    (folder / "state" / "status").touch()
    (folder / "sources.list").write_text(SOURCE)
    settings = folder / "apt.conf"
    settings.write_text(INDEX.format(folder=folder))
    apt = ["env", f"APT_CONFIG={settings}", "apt-get", "--quiet"]
    _quietly([*apt, "update"], folder)
    _quietly([*apt, "download", *PACKAGES], folder / "packages")
    for package in sorted((folder / "packages").glob("*.deb")):
        _quietly(["dpkg", "--extract", package, root], folder)
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
    wanted = ["--no-deps", "--only-binary=:all:", *platforms, "--python-version=3.11", "--implementation=cp"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    _quietly([*pip, *wanted, "--dest", folder / "wheels", *WHEELS], folder)
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        shutil.unpack_archive(wheel, root / "wheels", "zip")
    cpus = root / "sys" / "devices" / "system" / "cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    (root / "complete").touch()
    return root


def _quietly(argv: list, folder: Path) -> None:
    print(f"  {' '.join(map(str, argv[:6]))} …", file=sys.stderr, flush=True)
    run(Command(str(argv[0]), argv, folder))
