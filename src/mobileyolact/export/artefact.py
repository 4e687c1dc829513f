"""From a checkpoint to artefacts on the disk, which exist only if they passed their check."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileyolact.errors import OptionError
from mobileyolact.export import ncnn, onnx, torchscript  # noqa: F401  (they register their formats)
from mobileyolact.export.faster import faster
from mobileyolact.export.formats import EXPORTERS, get_exporter
from mobileyolact.export.parity import ParityBounds, ParityReport, compare
from mobileyolact.export.placing import deliver, name_of, workshop, write_note
from mobileyolact.export.trace import build_graph
from mobileyolact.model.backend import TorchBackend
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.runtime.backends import open_backend
from mobileyolact.runtime.backends.base import Backend
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
    network, own = load_checkpoint(checkpoint)
    contract = own.at_size(size or own.input_size)
    graph = faster(build_graph(network, contract))
    reference = TorchBackend(network, contract)
    stem = name_of(checkpoint, own, contract)
    with workshop(out_dir) as folder:
        made, reports = [], []
        for exporter in exporters:
            files = exporter.files(folder, stem)
            exporter.write(graph, contract, files[0])
            report = measure_parity(reference, files[0], pictures)
            report.check(bounds, f"the {exporter.name} export of '{checkpoint.name}'")
            note = folder / f"{stem}.{exporter.name}.parity.json"
            facts = {
                "format": exporter.name,
                "bounds": dataclasses.asdict(bounds),
                "parity": report.to_json(),
            }
            write_note(note, checkpoint, files, facts)
            made.append((*files, note))
            reports.append(report)
        placed = deliver(made, out_dir)
        return [
            Artefact(exporter.name, files, report)
            for exporter, files, report in zip(exporters, placed, reports, strict=True)
        ]


def measure_parity(reference: Backend, path: Path, pictures: Iterable[Path]) -> ParityReport:
    """Compare the model file ``path`` with ``reference`` on pictures, read one at a time."""
    candidate = open_backend(path, None, 1)
    try:
        return compare(reference, candidate, (open_image(picture) for picture in pictures))
    finally:
        candidate.close()
