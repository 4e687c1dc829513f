"""From a checkpoint to artefacts on the disk, which exist only if they passed their check."""

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileyolact import __version__
from mobileyolact.errors import OptionError
from mobileyolact.export import ncnn, onnx, torchscript  # noqa: F401  (they register their formats)
from mobileyolact.export.formats import EXPORTERS, Exporter, Write, get_exporter
from mobileyolact.export.parity import ParityBounds, ParityReport, compare
from mobileyolact.export.trace import build_graph
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.image import open_image


@dataclass(frozen=True)
class Artefact:
    """One exported model: ``files`` (first the one to open), and how near it is to its source."""

    format: str
    files: tuple[Path, ...]
    parity: ParityReport


def export_artefacts(
    checkpoint: Path,
    out_dir: Path,
    formats: Sequence[str],
    pictures: Sequence[Path],
    size: tuple[int, int] | None = None,
    bounds: ParityBounds | None = None,
) -> list[Artefact]:
    """Write a checkpoint in other formats, each compared with PyTorch on real pictures.

    Everything is made and checked in a temporary folder inside ``out_dir`` and moved at the
    end: after an error ``out_dir`` is as it was. Files are called as the checkpoint, with the
    input size added where ``size`` differs from the checkpoint's. Beside each model lies
    ``NAME.FORMAT.parity.json``, what was measured.

    Args:
        checkpoint: a ``.safetensors`` file.
        out_dir: made if it is missing.
        formats: names in ``EXPORTERS``.
        pictures: files to compare on, ideally with objects of the model's classes in them.
        size: (height, width) of the input in pixels; ``None`` is the checkpoint's own.
        bounds: what the artefacts must keep; ``None`` is ``ParityBounds()``.

    Raises:
        OptionError: an unknown format, no format, no picture, or a folder that cannot be made.
        ModelError: not a checkpoint, or a size that does not fit the network.
        ParityError: an artefact differs too much; nothing is written.
    """
    exporters = [get_exporter(name, EXPORTERS) for name in dict.fromkeys(formats)]
    if not exporters or not pictures:
        what = "picture to check the artefacts on" if exporters else "format to export to"
        raise OptionError(f"an export needs at least one {what}")
    bounds = bounds or ParityBounds()
    network, contract = load_checkpoint(checkpoint)
    own_size = contract.input_size
    contract = contract.at_size(size or own_size)
    graph = build_graph(network, contract)
    reference = TorchBackend(network, contract)
    stem = checkpoint.stem
    if contract.input_size != own_size:
        height, width = contract.input_size
        stem += f"-{height}" if height == width else f"-{width}x{height}"
    with _folder_inside(out_dir) as folder:
        artefacts = []
        for exporter in exporters:
            files = exporter.files(Path(folder), stem)
            exporter.write(graph, contract, files[0])
            report = _measure(reference, files[0], _open_all(pictures))
            report.check(bounds, f"the {exporter.name} export of '{checkpoint.name}'")
            note = Path(folder) / f"{stem}.{exporter.name}.parity.json"
            note.write_text(_describe(checkpoint, exporter, files, report, bounds))
            artefacts.append((exporter, (*files, note), report))
        _check_free(out_dir, [file.name for _, files, _ in artefacts for file in files])
        return [
            Artefact(exporter.name, _move(files, out_dir), report)
            for exporter, files, report in artefacts
        ]


def _folder_inside(out_dir: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".export-", dir=out_dir)
    except OSError as error:
        raise OptionError(
            f"cannot write to the folder '{out_dir}' ({error.strerror}); choose another with -o"
        ) from None


def _check_free(out_dir: Path, names: Iterable[str]) -> None:
    for name in names:
        if (out_dir / name).is_dir():
            raise OptionError(
                f"cannot write '{out_dir / name}', which is a folder; choose another with -o"
            )


def _open_all(pictures: Iterable[Path]) -> Iterable[NDArray[np.uint8]]:
    return (open_image(picture) for picture in pictures)


def _measure(
    reference: TorchBackend, path: Path, images: Iterable[NDArray[np.uint8]]
) -> ParityReport:
    candidate = open_backend(path, None, 1)
    try:
        return compare(reference, candidate, images)
    finally:
        candidate.close()


def _describe(
    checkpoint: Path,
    exporter: Exporter[Write],
    files: Sequence[Path],
    report: ParityReport,
    bounds: ParityBounds,
) -> str:
    content = {
        "checkpoint": checkpoint.name,
        "format": exporter.name,
        "mobileyolact": __version__,
        "bytes": {file.name: file.stat().st_size for file in files},
        "bounds": dataclasses.asdict(bounds),
        "parity": report.to_json(),
    }
    return json.dumps(content, indent=2) + "\n"


def _move(files: Sequence[Path], out_dir: Path) -> tuple[Path, ...]:
    """Rename into ``out_dir``, the file to open last: a model that can be opened is complete."""
    targets = tuple(out_dir / file.name for file in files)
    for file, target in reversed(list(zip(files, targets, strict=True))):
        file.replace(target)
    return targets
