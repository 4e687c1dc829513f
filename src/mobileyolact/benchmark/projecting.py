"""Measures models and the reference networks here, in turn, and estimates times on phones."""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileyolact.benchmark.phones import published
from mobileyolact.benchmark.process import NetworksWorker
from mobileyolact.benchmark.projection import Host, Projection, project
from mobileyolact.benchmark.reference.catalogue import REFERENCES
from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError

ROUNDS = 12
_MILLION = 1e6
# ncnn's parameter 8 of a layer with weights says how it computes with integers, 0 that it does not.
_INT8 = re.compile(r"^(Convolution|ConvolutionDepthWise|InnerProduct) .* 8=[1-9]", re.MULTILINE)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Network:
    """An ncnn ``.param`` file under the ``name`` that reports call it by.

    ``size`` is (width, height) of pictures; ``None`` leaves it to the file.
    """

    name: str
    path: Path
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, name: str, path: Path, size: tuple[int, int] | None = None) -> "Network":
        """With the input size of its contract, if there is one beside it.

        Raises:
            OptionError: it computes with integers.
        """
        if _INT8.search(path.read_text(encoding="utf-8")):
            raise OptionError(
                f"'{name}' computes in int8, for which times on phones are not estimated; "
                "give its float file"
            )
        sidecar = path.with_suffix(".json")
        if sidecar.is_file():
            contract = ModelContract.from_json(sidecar.read_text("utf-8"), str(sidecar))
            size = (contract.input_size[1], contract.input_size[0])
        return cls(name, path, size)


def run_projection(
    networks: Sequence[Network],
    rounds: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Projection:
    """Estimate times of ``networks`` on phones.

    They and the reference networks take turns in one process, and the shortest processor time of
    each counts: what other programs do meanwhile only makes times longer.

    Args:
        networks: the models.
        rounds: turns of each; ``None`` is ``ROUNDS``.
        progress: told how many rounds are done.

    Raises:
        MobileYolactError: a model cannot be opened or run.
    """
    rounds = rounds or ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        files = [(network.path, network.size) for network in networks]
        for reference in REFERENCES:
            path = Path(folder) / f"{reference.name}.param"
            text, weights = reference.build().render()
            path.write_text(text, encoding="utf-8")
            path.with_suffix(".bin").write_bytes(weights)
            files.append((path, None))
        with NetworksWorker(files) as worker:
            taken = []
            for turn in range(rounds):
                progress(turn, rounds)
                taken.append(worker.time())
            values = worker.values
    shortest = [min(times) for times in zip(*taken, strict=True)]
    names = [network.name for network in networks] + [r.name for r in REFERENCES]
    hosts = {
        name: Host(round(ms, 4), round(count / _MILLION, 4))
        for name, ms, count in zip(names, shortest, values, strict=True)
    }
    return project(
        models={network.name: hosts[network.name] for network in networks},
        references={reference.name: hosts[reference.name] for reference in REFERENCES},
        families={reference.name: reference.family for reference in REFERENCES},
        tables=published(),
    )
