"""The training loop: one process or several, resumable bit for bit.

Files of a run's folder: ``last.safetensors`` (all that the next iteration depends on),
``best.safetensors`` (the averaged weights, a model checkpoint), ``log.jsonl``, ``tensorboard/``.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from mobileyolact.contract import ModelContract
from mobileyolact.errors import OptionError, TrainingError
from mobileyolact.model.weights import save_checkpoint
from mobileyolact.stopping import StopSignals, TrainingStopped
from mobileyolact.train.checkpoint import (
    TrainingState,
    check_same_run,
    read_state,
    remove_leftovers,
    restore_state,
    save_state,
)
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.ema import Ema
from mobileyolact.train.log import Show, TrainingLog
from mobileyolact.train.parameters import parameter_groups, set_mode, set_trainable
from mobileyolact.train.prefetch import BatchSource, prefetch
from mobileyolact.train.processes import mean_over_processes
from mobileyolact.train.progress import TrainingProgress
from mobileyolact.train.pruned import keep_pruned
from mobileyolact.train.schedule import rate_factor

STATE_NAME = "last.safetensors"
BEST_NAME = "best.safetensors"

Losses = Callable[[Any, Any, Any, TrainConfig], dict[str, Tensor]]
Validate = Callable[[Any], float]


@dataclass(frozen=True)
class TrainResult:
    """``score`` is the best validation, ``None`` without one; ``best`` holds its weights."""

    iterations: int
    score: float | None
    best: Path


def train(
    network: Any,
    data: BatchSource,
    losses: Losses,
    config: TrainConfig,
    contract: ModelContract,
    directory: Path,
    *,
    started: frozenset[str] = frozenset(),
    run: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    validate: Validate | None = None,
    show: Show | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train ``network`` on ``data`` and keep the best averaged weights in ``directory``.

    If ``directory`` holds an unfinished run with the same ``config`` and ``run``, that run goes
    on; on the CPU the result then equals the uninterrupted run's bit for bit.

    Args:
        network: the network with its first weights; it is trained in place.
        data: gives the batch of each iteration.
        losses: weighted loss terms of (outputs, batch, network, config); their sum is minimised.
        config: the options of the run.
        contract: stored in ``best.safetensors``, with iterations and score as provenance.
        directory: the run's folder; it is made if missing.
        started: names of the state tensors that were loaded, see ``parameters``.
        run: what besides ``config`` must be equal on resuming, by option name.
        model: holds ``network`` and computes its outputs in training; by default ``network``
            itself does. Without parameters and buffers of its own, since none would be kept.
        validate: the score (higher is better) of a network in eval mode; without it the
            averaged weights of the last checkpoint are the best.
        show: makes pictures for TensorBoard: of the first batch, and at each validation.
        console: where progress goes; standard error by default.

    Raises:
        OptionError: ``directory`` holds a run with other options.
        TrainingError: a loss or gradient is not finite; the last good state stays on disk.
        TrainingStopped: after SIGINT or SIGTERM; the state has been saved.
    """
    with _flushed_denormals(), StopSignals() as stop:
        trainer = _Trainer(network, losses, config, contract, directory, started, run or {})
        trainer.resume()
        trainer.go(network if model is None else model, data, validate, stop, show, console)
    return TrainResult(trainer.state.iteration, trainer.state.best_score, trainer.best_path)


class _Trainer:
    def __init__(
        self,
        network: Any,
        losses: Losses,
        config: TrainConfig,
        contract: ModelContract,
        directory: Path,
        started: frozenset[str],
        run: Mapping[str, Any],
    ) -> None:
        from accelerate import (  # type: ignore[import-untyped]
            Accelerator,
            DistributedDataParallelKwargs,
        )

        self.accelerator = Accelerator(
            mixed_precision="bf16" if config.precision == "bfloat16" else "no",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        world = self.accelerator.num_processes
        if config.batch_size % world:
            raise OptionError(
                f"batch size {config.batch_size} cannot be shared among {world} processes; "
                f"give a multiple of {world}"
            )
        self.network, self.losses, self.config = network, losses, config
        self.contract, self.directory = contract, directory
        self.state_path, self.best_path = directory / STATE_NAME, directory / BEST_NAME
        self.state = TrainingState(0, None, config, run)
        network.to(self.accelerator.device, memory_format=torch.channels_last)
        set_trainable(network, config.freeze)
        keep_pruned(network)
        set_mode(network, config, started)
        self.ema = Ema(network, config.ema_decay)
        self.optimizer = torch.optim.AdamW(parameter_groups(network, config, started))

    def resume(self) -> None:
        """Take over the state in the folder, if there is one."""
        found = read_state(self.state_path) if self.state_path.exists() else None
        if found is None and self.best_path.exists():
            raise OptionError(
                f"{self.best_path} exists, but not the state of its run; "
                "choose another folder with -o"
            )
        if found and found.iteration:
            check_same_run(found, self.config, self.state.run, self.directory)
            restore_state(self.state_path, self.network, self.ema.network, self.optimizer)
            self.state = dataclasses.replace(found, config=self.config)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in (self.state_path, self.best_path):
                remove_leftovers(path)
        if not self.state.iteration:
            self._save()  # marks the folder as this run's, and tells at once if it is read-only

    def go(
        self,
        model: nn.Module,
        data: BatchSource,
        validate: Validate | None,
        stop: StopSignals,
        show: Show | None,
        console: Console | None,
    ) -> None:
        """Do the iterations that are left."""
        config, first = self.config, self.state.iteration
        main = self.accelerator.is_main_process
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        iterations = range(first, config.iterations)
        if not iterations:
            return
        with ExitStack() as stack:
            screen = console if main else Console(quiet=True)
            progress = stack.enter_context(TrainingProgress(config.iterations, first, screen))
            log = stack.enter_context(TrainingLog(self.directory, first, show)) if main else None
            batches = stack.enter_context(
                closing(prefetch(data, iterations, rank, world, config.workers))
            )
            if first:
                progress.say(f"going on after iteration {first} of {self.state_path}")
            model = self.accelerator.prepare_model(model)
            stack.callback(self.accelerator.unwrap_model, model, keep_fp32_wrapper=False)
            began = time.monotonic()
            for iteration, batch in zip(iterations, batches, strict=True):
                if log and not iteration:
                    log.add_augmented(batch)
                losses = self._step(model, batch, iteration)
                done = iteration + 1
                self.state = dataclasses.replace(self.state, iteration=done)
                pace, began = config.batch_size / (time.monotonic() - began), time.monotonic()
                progress.update(done, losses, pace)
                if log:
                    rate = self.optimizer.param_groups[0]["lr"]
                    log.add(done, {**losses, "rate": rate, "images_per_second": pace})
                stopping = self._any(stop.received is not None)
                last = done == config.iterations
                if validate and (done % config.validate_every == 0 or last):
                    score = self._validate(validate)
                    if log:
                        progress.say(f"iteration {done}: validation {score:.4f}")
                        log.add(done, {"validation": score})
                        log.add_predictions(self.ema.network, done)
                    self._save()
                elif done % config.checkpoint_every == 0 or last or stopping:
                    if not validate:
                        self._save_best()
                    self._save()
                if stopping and not last:
                    raise TrainingStopped(
                        f"stopped after iteration {done} of {config.iterations} and saved "
                        f"{self.state_path}; run the same command again to go on",
                        stop.received or Signals.SIGTERM,
                    )

    def _step(self, model: nn.Module, batch: Any, iteration: int) -> dict[str, float]:
        config = self.config
        factor = rate_factor(iteration, config.iterations, config.warmup_iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        batch = batch.to(self.accelerator.device)
        outputs = model(batch.images.contiguous(memory_format=torch.channels_last))
        terms = self.losses(outputs, batch, self.network, config)
        total = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        own = torch.stack([*terms.values(), norm])
        # One read of all figures: each makes the host wait for the device.
        *found, gradient = torch.stack([own, mean_over_processes(own)], 1).tolist()
        values = {name: mean for name, (_, mean) in zip(terms, found, strict=True)}
        if not all(math.isfinite(value) for value in values.values()):
            here = {name: value for name, (value, _) in zip(terms, found, strict=True)}
            raise self._not_finite(here, batch.names, iteration)
        if not math.isfinite(gradient[0]):
            raise self._not_finite({"gradient": gradient[0]}, batch.names, iteration)
        self.optimizer.step()
        self.ema.update(self.network, iteration)
        return {"loss": sum(values.values()), **values}

    def _not_finite(
        self, here: dict[str, float], names: list[str], iteration: int
    ) -> TrainingError:
        bad = [f"{name} {value}" for name, value in here.items() if not math.isfinite(value)]
        if not bad:
            return TrainingError("another process of this run met a loss that is not finite")
        return TrainingError(
            f"the loss is not finite ({', '.join(bad)}) in iteration {iteration + 1} on the "
            f"pictures {', '.join(names)}; check them and their labels "
            f"({self.state_path} keeps the last good state)"
        )

    def _any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process, so that all of them go the same way."""
        if self.accelerator.num_processes == 1:
            return flag
        count = torch.tensor([float(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(count).item())

    def _validate(self, validate: Validate) -> float:
        score = 0.0
        if self.accelerator.is_main_process:
            score = validate(self.ema.network)
            best = self.state.best_score
            # NaN, no instance to find, never beats a number; on a tie the later weights win.
            if best is None or math.isnan(best) or score >= best:
                self.state = dataclasses.replace(self.state, best_score=score)
                self._save_best()
        self.accelerator.wait_for_everyone()
        return score

    # The best weights are written before the state that knows of them: killed in between, the
    # run comes to the same validation again.
    def _save_best(self) -> None:
        if self.accelerator.is_main_process:
            made = {"iterations": self.state.iteration, "validation": self.state.best_score}
            provenance = {**self.contract.provenance, "training": made}
            contract = dataclasses.replace(self.contract, provenance=provenance)
            save_checkpoint(self.best_path, self.ema.network, contract)  # type: ignore[arg-type]

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_state(self.state_path, self.state, self.network, self.ema.network, self.optimizer)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Denormal numbers as zero: without it a forward pass on the CPU was 5 times slower."""
    before = (torch.tensor(1e-39) * 1).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
