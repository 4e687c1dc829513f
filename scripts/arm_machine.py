"""An aarch64 Python with the wheels of the engines under qemu, unpacked in a folder without root.

Everything comes by the clients that are there: apt, with a state of its own, for Debian's Python
and qemu; pip, by constraints.txt, for the aarch64 wheels.
"""

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from arm_packages import QEMU, Apt, Unavailable, call, find_qemu

INSIDE = Path(__file__).with_name("arm_inside.py")
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
PYTHON = ("python3:arm64", "libstdc++6:arm64", "libgomp1:arm64")  # and what they depend on
WHEELS = ("numpy", "onnxruntime", "ncnn")
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 26, 27, 28)]

# Without it qemu shows the file of the processor that it runs on itself, and onnxruntime, which
# looks for Arm's in it, crashes when it is imported.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""


@dataclass(frozen=True)
class Machine:
    """``run`` calls its Python."""

    command: tuple[str, ...]
    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> str:
        """What a program prints; CalledProcessError if it fails."""
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout


def prepare(folder: Path, cpu: str) -> tuple[Machine, str]:
    """Unpack into ``folder`` what is not there yet, about 300 MB.

    Args:
        folder: made if it is missing.
        cpu: a name that qemu-aarch64 knows, such as cortex-a76.

    Returns:
        The machine, and what it is with all versions.

    Raises:
        Unavailable: no apt, no network, no qemu, or no wheels for this Python.
    """
    if platform.machine() != "x86_64":
        raise Unavailable(f"files are compared with x86_64, and this is {platform.machine()}")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    apt = Apt(folder / "apt")
    root, wheels = folder / "root", folder / "wheels"
    if not root.is_dir():
        _unpack_python(apt, root)
    python = next(root.glob("usr/bin/python3.[0-9]*"))
    if not wheels.is_dir():
        _unpack_wheels(python.name.removeprefix("python"), wheels)
    qemu = find_qemu(apt, folder / QEMU[0])
    version = call([qemu, "--version"]).splitlines()[0]
    environment = {
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(wheels),
        "OMP_NUM_THREADS": "1",
    }
    machine = Machine((str(qemu), "-cpu", cpu, "-L", str(root), str(python)), environment)
    try:
        inside = machine.run(INSIDE).strip()
    except subprocess.CalledProcessError as error:
        reason = f"{version} -cpu {cpu} does not run the engines, exit code {error.returncode}"
        raise Unavailable(reason) from None
    return machine, f"{inside} in {version} -cpu {cpu}"


def _unpack_python(apt: Apt, root: Path) -> None:
    apt.call("install", "--yes", "--download-only", "--no-install-recommends", *PYTHON)
    part = _empty(root.with_suffix(".part"))
    for package in sorted(apt.folder.glob("cache/archives/*_arm64.deb")):
        call(["dpkg-deb", "--extract", package, part])
    devices = part / "sys" / "devices" / "system" / "cpu"
    files = {part / "proc" / "cpuinfo": CPUINFO}
    files |= {devices / name: "0\n" for name in ("possible", "present", "kernel_max")}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    part.rename(root)


def _unpack_wheels(python: str, wheels: Path) -> None:
    part = _empty(wheels.with_suffix(".part"))
    options = ["--no-deps", "--no-compile", "--only-binary=:all:", "--python-version", python]
    options += [word for name in PLATFORMS for word in ("--platform", name)]
    options += ["--target", str(part), "--constraint", str(CONSTRAINTS)]
    call([sys.executable, "-m", "pip", "install", "--quiet", *options, *WHEELS])
    part.rename(wheels)


def _empty(folder: Path) -> Path:
    """``folder``, new: what an interrupted run left is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
