"""Debian's packages and qemu-aarch64 by apt, in a folder: nothing is installed, no root needed."""

import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

# One of these packages of Debian has an emulator that is linked statically, so runs alone.
QEMU_PACKAGES = ("qemu-user-static", "qemu-user")
QEMU = ("qemu-aarch64", "qemu-aarch64-static")

# For all that this apt knows nothing is installed yet, so dependencies come along.
APT_CONFIGURATION = """\
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; "arm64"; }};
APT::Sandbox::User "";
Acquire::http::Timeout "20";
Dir::State "{0}/state";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Unavailable(Exception):
    """Why there can be no Arm machine here, in one sentence."""


class Apt:
    """apt with the system's sources, for amd64 and arm64, and a state of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.updated = False

    def call(self, *words: str) -> None:
        configuration = self.folder / "apt.conf"
        options = ["--quiet", "--config-file", str(configuration)]
        if not configuration.is_file():
            for name in ("state/lists/partial", "cache/archives/partial"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / "status").touch()
            configuration.write_text(APT_CONFIGURATION.format(self.folder), encoding="utf-8")
        if not self.updated:
            call(["apt-get", *options, "update"])
            self.updated = True
        call(["apt-get", *options, *words], self.folder)


def find_qemu(apt: Apt, target: Path) -> Path:
    """qemu-aarch64 of this system, or the distribution's, unpacked as ``target``."""
    for name in QEMU:
        if found := shutil.which(name):
            return Path(found)
    if target.is_file():
        return target
    part = target.with_suffix(".part")
    for package in QEMU_PACKAGES:
        with contextlib.suppress(Unavailable):
            apt.call("download", package)
        for archive in apt.folder.glob(f"{package}_*.deb"):
            runs = _extract_qemu(archive, part) and _runs(part)
            archive.unlink()
            if runs:
                return part.rename(target)
    raise Unavailable("there is no qemu-aarch64 on PATH, and apt has none that runs alone")


def _extract_qemu(archive: Path, target: Path) -> bool:
    """Of the emulators in a package, which are half a gigabyte, the one; False if it has none."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    # It complains when nobody wants the rest.
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as content,
    ):
        for member in content:
            if member.isreg() and Path(member.name).name in QEMU:
                source = content.extractfile(member)
                assert source is not None, "a regular file has content"
                with target.open("wb") as stream:
                    shutil.copyfileobj(source, stream)
                target.chmod(0o755)
                return True
    return False


def _runs(program: Path) -> bool:
    """Whether it starts: one that is linked dynamically may lack libraries."""
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


def call(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """Run a program in ``folder``; Unavailable with its last line if it is missing or fails."""
    name = Path(command[0]).name
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except FileNotFoundError:
        raise Unavailable(f"there is no {name} here") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines() or ["failed"]
        raise Unavailable(f"{name}: {lines[-1]}") from None
