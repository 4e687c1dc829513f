import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rich.console import Console
from safetensors.torch import load_file
from toy_training import CONTRACT, ToyBatch, ToyData, ToyNetwork, toy_config, toy_losses

from mobileyolact.contract import CONTRACT_KEY, ModelContract
from mobileyolact.errors import OptionError, TrainingError
from mobileyolact.model.weights import read_tensors
from mobileyolact.stopping import TrainingStopped
from mobileyolact.train import loop
from mobileyolact.train.checkpoint import read_state
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.loop import TrainResult, train


def run(
    directory: Path, data: Any = None, config: TrainConfig | None = None, **more: Any
) -> TrainResult:
    more = {"console": Console(file=io.StringIO()), "losses": toy_losses, **more}
    network = more.pop("network", None) or ToyNetwork()
    return train(
        network,
        data or ToyData(4),
        more.pop("losses"),
        config or toy_config(),
        CONTRACT,
        directory,
        **more,
    )


def log_lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


class Stopping(ToyData):
    """Sends this process a signal while it makes the batch of iteration ``at``."""

    at: int
    number: int = signal.SIGINT

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> ToyBatch:
        if iteration == self.at:
            os.kill(os.getpid(), self.number)
        return super().batch(iteration, rank, world)


def stopping(at: int, number: int = signal.SIGINT) -> Stopping:
    data = Stopping(4)
    data.at, data.number = at, number
    return data


def test_it_learns(tmp_path: Path) -> None:
    result = run(tmp_path, config=toy_config(iterations=150, rate_new=1e-2, ema_decay=0.9))
    losses = [line["loss"] for line in log_lines(tmp_path)]
    assert result == TrainResult(150, None, tmp_path / "best.safetensors")
    assert sum(losses[-20:]) < 0.1 * sum(losses[:20])


def test_another_module_may_compute_the_outputs(tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> tuple[Any, Any]:
            first, second = self.network(images)
            return 2 * first, 2 * second

    class DoubledNetwork(ToyNetwork):
        def forward(self, images: Any) -> tuple[Any, Any]:
            first, second = super().forward(images)
            return 2 * first, 2 * second

    network = ToyNetwork()
    run(tmp_path / "outside", network=network, model=Doubled(network))
    run(tmp_path / "inside", network=DoubledNetwork())
    run(tmp_path / "plain")
    outside, inside, plain = (
        (tmp_path / name / "best.safetensors").read_bytes()
        for name in ("outside", "inside", "plain")
    )
    assert outside == inside != plain


def test_without_validation_best_is_the_average_at_the_end(tmp_path: Path) -> None:
    run(tmp_path)
    state = load_file(tmp_path / "last.safetensors")
    best, metadata = read_tensors(tmp_path / "best.safetensors")
    for name, value in best.items():
        assert torch.equal(value, state[f"ema.{name}"])
    contract = ModelContract.from_json(metadata[CONTRACT_KEY])
    assert contract.provenance["training"] == {"iterations": 12, "validation": None}


@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(tmp_path: Path, stop_after: int) -> None:
    run(tmp_path / "whole")
    with pytest.raises(TrainingStopped, match=f"after iteration {stop_after} of 12"):
        run(tmp_path / "halves", stopping(at=stop_after - 1))
    assert read_state(tmp_path / "halves/last.safetensors").iteration == stop_after
    run(tmp_path / "halves")
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halves" / name).read_bytes()
    whole, halves = log_lines(tmp_path / "whole"), log_lines(tmp_path / "halves")
    assert [(x["iteration"], x["loss"]) for x in whole] == [
        (x["iteration"], x["loss"]) for x in halves
    ]


def test_workers_change_nothing(tmp_path: Path) -> None:
    run(tmp_path / "0")
    run(tmp_path / "1", config=toy_config(workers=1))
    assert (tmp_path / "0/best.safetensors").read_bytes() == (
        tmp_path / "1/best.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_restores_the_handlers(tmp_path: Path, number: int, code: int) -> None:
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    with pytest.raises(TrainingStopped, match="run the same command again") as caught:
        run(tmp_path, stopping(at=4, number=number))
    assert caught.value.exit_code == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert read_state(tmp_path / "last.safetensors").iteration == 5


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    class Impatient(Stopping):
        def batch(self, iteration: int, rank: int = 0, world: int = 1) -> ToyBatch:
            if iteration == self.at:
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(iteration, rank, world)

    data = Impatient(4)
    data.at = 4
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, data)
    assert read_state(tmp_path / "last.safetensors").iteration == 3


def test_a_loss_that_is_not_finite_names_the_pictures(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"class inf.* iteration 8 .*picture-7-3\.jpg"
    ) as caught:
        run(tmp_path, ToyData(4, poison=7))
    assert "last.safetensors" in str(caught.value)
    assert read_state(tmp_path / "last.safetensors").iteration == 6
    assert all(v.isfinite().all() for v in load_file(tmp_path / "last.safetensors").values())


def test_a_bad_loss_of_another_process_stops_this_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infinite = torch.tensor([torch.inf, 0.0, 1.0])
    monkeypatch.setattr(loop, "mean_over_processes", lambda own: own + infinite)
    with pytest.raises(TrainingError, match="another process .* a loss that is not finite"):
        run(tmp_path)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    def losses(outputs: Any, batch: Any, network: Any, config: Any) -> dict[str, Any]:
        # sqrt has value 0 and an infinite slope at 0
        return {"class": (outputs[0] * 0).abs().sqrt().sum() + outputs[1].sum()}

    network = ToyNetwork()
    with pytest.raises(TrainingError, match=r"gradient .*iteration 1 .*picture-0-0\.jpg"):
        run(tmp_path, network=network, losses=losses)
    assert all(p.isfinite().all() for p in network.parameters())


def scores(*values: float) -> Callable[[Any], float]:
    left = list(values)
    return lambda network: left.pop(0)


@pytest.mark.parametrize(
    ("values", "best"),
    [((0.1, 0.3, 0.2), 8), ((0.0, 0.0, 0.0), 12), ((float("nan"), 0.1, 0.05), 8)],
)
def test_validation_keeps_the_best(tmp_path: Path, values: tuple[float, ...], best: int) -> None:
    result = run(tmp_path, validate=scores(*values))
    _, metadata = read_tensors(tmp_path / "best.safetensors")
    made = ModelContract.from_json(metadata[CONTRACT_KEY]).provenance["training"]
    assert made == {"iterations": best, "validation": result.score}
    assert result.score == max(v for v in values if v == v)
    validations = [x["iteration"] for x in log_lines(tmp_path) if "validation" in x]
    assert validations == [4, 8, 12]


def test_validation_sees_the_average_in_eval_mode(tmp_path: Path) -> None:
    seen = []

    def validate(network: Any) -> float:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        assert not network.training
        return len(seen)

    run(tmp_path, validate=validate)
    state = load_file(tmp_path / "last.safetensors")
    assert all(torch.equal(v, state[f"ema.{k}"]) for k, v in seen[-1].items())
    assert not torch.equal(state["ema.head.weight"], state["network.head.weight"])


def test_the_best_score_survives_resuming(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path, stopping(at=5), validate=scores(0.5))
    assert run(tmp_path, validate=scores(0.2, 0.3)).score == 0.5
    _, metadata = read_tensors(tmp_path / "best.safetensors")
    assert ModelContract.from_json(metadata[CONTRACT_KEY]).provenance["training"]["iterations"] == 4


def test_the_log_has_each_iteration_once_after_a_kill(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path, stopping(at=5))
    log = tmp_path / "log.jsonl"
    # As after a kill two iterations past the checkpoint, within a line.
    log.write_text(log.read_text() + '{"iteration": 7, "loss": 1.0}\n{"iteration": 8, "lo')
    run(tmp_path)
    assert [x["iteration"] for x in log_lines(tmp_path)] == list(range(1, 13))
    assert set(log_lines(tmp_path)[0]) == {
        "iteration", "loss", "class", "mask_bce", "rate", "images_per_second",
    }  # fmt: skip


def test_another_option_in_a_used_folder_is_named(tmp_path: Path) -> None:
    run(tmp_path, run={"preset": "n-416"})
    with pytest.raises(OptionError, match="iterations 12, but this command says 20"):
        run(tmp_path, config=toy_config(iterations=20), run={"preset": "n-416"})
    with pytest.raises(OptionError, match="preset n-416, but this command says n-320"):
        run(tmp_path, run={"preset": "n-320"})


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.glob("*") if p.is_file()}
    assert run(tmp_path) == first
    assert {p: p.read_bytes() for p in tmp_path.glob("*") if p.is_file()} == before


def test_a_model_of_another_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"precious")
    with pytest.raises(OptionError, match=r"best\.safetensors exists"):
        run(tmp_path)
    assert (tmp_path / "best.safetensors").read_bytes() == b"precious"


def test_frozen_layers_keep_their_bits(tmp_path: Path) -> None:
    before = ToyNetwork().state_dict()
    run(tmp_path, config=toy_config(freeze="detector"))
    after = load_file(tmp_path / "best.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prototypes.weight", "prototypes.bias"}


def test_the_callers_state_is_left_alone(tmp_path: Path) -> None:
    network = ToyNetwork()
    before = torch.get_rng_state()
    run(tmp_path, network=network)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.tensor(1e-39) * 1).item() > 0  # denormals are back
