from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save

from mobileyolact.contract import ClassInfo
from mobileyolact.errors import ModelError, OptionError
from mobileyolact.model.head import POSITION_START
from mobileyolact.model.network import MobileYolact, build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import save_checkpoint
from mobileyolact.train import start
from mobileyolact.train.start import default_start, make_start

N = get_preset("n-320")
S = get_preset("s-320")


def classes(*names: str) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(i, name, 10 + i) for i, name in enumerate(names))


@pytest.fixture(scope="module")
def source() -> MobileYolact:
    return build_network(get_preset("n-416"), 3, seed=1)


@pytest.fixture(scope="module")
def checkpoint(source: MobileYolact, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("start") / "model.safetensors"
    contract = build_contract(
        get_preset("n-416"), classes("person", "hot dog", "cat"), mask_threshold=0.35
    )
    save_checkpoint(path, source, contract)
    return str(path)


def test_none_loads_nothing() -> None:
    made = make_start(N, "none", classes("a", "b"))
    assert made.started == frozenset()
    assert made.new == ("a", "b")
    assert set(made.random) == set(made.network.state_dict())
    assert made.contract.class_names == ("a", "b")


def test_the_seed_alone_draws_the_weights() -> None:
    one, same, other = (make_start(N, "none", classes("a"), seed).network for seed in (1, 1, 2))
    a, b, c = (net.prototypes.out.weight for net in (one, same, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_classes_are_matched_by_name_and_row(source: MobileYolact, checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("Hot_Dog", "balloon", "person"))
    assert (made.matched, made.new) == (("Hot_Dog", "person"), ("balloon",))
    for level, old in zip(made.network.head.levels, source.head.levels, strict=True):
        assert torch.equal(level.scores.weight[0], old.scores.weight[1])
        assert torch.equal(level.scores.weight[2], old.scores.weight[0])
        assert torch.equal(level.boxes.weight, old.boxes.weight)
    assert set(made.partial) == {
        f"head.levels.{i}.scores.{kind}" for i in range(4) for kind in ("weight", "bias")
    }
    assert made.started == set(made.network.state_dict()) - set(made.partial)
    assert made.random == ()


def test_a_start_of_before_the_position_gets_its_coefficients(tmp_path: Path) -> None:
    old = replace(N, position_coefficients=0)
    source, path = build_network(old, 2, seed=1), tmp_path / "old.safetensors"
    save_checkpoint(path, source, build_contract(old, classes("a", "b")))
    made = make_start(N, str(path), classes("a", "b"))
    assert made.random == ()
    assert made.contract.position_coefficients == 8
    ours, theirs = (net.head.levels[1].coefficients for net in (made.network, source))
    assert torch.equal(ours.weight[:32], theirs.weight)
    assert torch.equal(ours.bias[:32], theirs.bias)
    assert not ours.weight[32:].any()
    assert torch.equal(ours.bias[32:], torch.tensor(POSITION_START))


def test_a_new_class_keeps_its_low_prior(checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("balloon", "person"))
    prior = make_start(N, "none", classes("balloon", "person")).network
    for level, fresh in zip(made.network.head.levels, prior.head.levels, strict=True):
        assert level.scores.bias[0] == fresh.scores.bias[0]


def test_a_new_class_scores_its_prior_everywhere(checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("balloon"))
    images = torch.randn(2, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = made.network.train()(images).scores.sigmoid()
    assert scores.min() > 0.005
    assert scores.max() < 0.02


def test_all_classes_known_means_all_started(checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("cat", "person"))
    assert made.new == made.partial == made.random == ()
    assert made.started == set(made.network.state_dict())


def test_no_class_known_leaves_the_scores_random(checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("almond"))
    assert made.partial == ()
    assert {name.split(".")[3] for name in made.random} == {"scores"}


def test_defaults_of_the_start_are_kept(checkpoint: str) -> None:
    made = make_start(N, checkpoint, classes("cat"))
    assert made.contract.mask_threshold == 0.35
    assert made.contract.input_size == (320, 320)


def write_imagenet(path: Path) -> None:
    """A backbone in torchvision's naming, convolutions as int8 and a scale per channel."""
    features = build_network(S, 1, seed=3).backbone
    stored = {}
    blocks = [*features.stride4, *features.stride8, *features.stride16, *features.stride32]
    layers = [("features.0.0", "features.0.1", features.stem)]
    for i, block in enumerate(blocks, 1):
        prefix, step = f"features.{i}.conv", 0
        if getattr(block, "expand", None) is not None:
            layers.append((f"{prefix}.0.0", f"{prefix}.0.1", block.expand))
            step = 1
        layers.append((f"{prefix}.{step}.0", f"{prefix}.{step}.1", block.dw))
        layers.append((f"{prefix}.{step + 1}", f"{prefix}.{step + 2}", block.project))
    for conv, norm, layer in layers:
        stored[f"{conv}.weight"] = torch.full(layer.conv.weight.shape, 3, dtype=torch.int8)
        stored[f"{conv}.weight.scale"] = torch.full((len(layer.conv.weight),), 0.5)
        for name in ("weight", "bias", "running_mean", "running_var"):
            stored[f"{norm}.{name}"] = torch.full(layer.norm.weight.shape, 2.0)
    path.write_bytes(save(stored))


def test_imagenet_loads_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "IMAGENET", tmp_path / "imagenet.safetensors")
    write_imagenet(start.IMAGENET)
    made = make_start(S, "imagenet", classes("a"))
    assert made.started == {n for n in made.network.state_dict() if n.startswith("backbone.")}
    assert (made.network.backbone.stem.conv.weight == 1.5).all()
    assert (made.network.backbone.stride32[-1].project.norm.running_var == 2.0).all()


def test_a_mobilenet_takes_neck_and_head_from_a_checkpoint(
    source: MobileYolact, checkpoint: str
) -> None:
    made = make_start(S, checkpoint, classes("cat"))
    imagenet = make_start(S, "imagenet", classes("cat"))
    for name in imagenet.started:  # the backbone, which the checkpoint does not have
        assert name in made.started
        assert torch.equal(made.network.state_dict()[name], imagenet.network.state_dict()[name])
    assert made.imagenet and any(name.startswith("neck.") for name in made.started)
    tower = "head.levels.0.tower.0.dw.conv.weight"
    assert tower in made.started
    assert torch.equal(made.network.state_dict()[tower], source.state_dict()[tower])


def test_norms_keep_no_statistics_of_another_convolution(
    source: MobileYolact, checkpoint: str
) -> None:
    with torch.no_grad():
        for name, value in source.state_dict().items():
            if name.endswith(("norm.weight", "running_var")):
                value.fill_(0.25)  # the fixture's file is written, so this tells the two apart
    path = str(Path(checkpoint).with_name("scaled.safetensors"))
    contract = build_contract(get_preset("n-416"), classes("person", "hot dog", "cat"))
    save_checkpoint(Path(path), source, contract)
    made = make_start(S, path, classes("cat"))
    for layer in (*made.network.neck.reduce, made.network.prototypes.detail):
        assert (layer.norm.weight == 0.25).all()  # what the layers behind it are used to
        assert (layer.norm.running_var == 1).all()
    left = {name for name in made.random if not name.endswith("num_batches_tracked")}
    assert left == {
        f"{layer}.{part}"
        for layer in ("neck.reduce.0", "neck.reduce.1", "neck.reduce.2", "prototypes.detail")
        for part in ("conv.weight", "norm.running_mean", "norm.running_var")
    }


PAPER = get_preset("paper-320")


def test_classes_with_anchors_are_matched_anchor_by_anchor(tmp_path: Path) -> None:
    old = build_network(PAPER, 2, seed=1)
    path = tmp_path / "paper.safetensors"
    save_checkpoint(path, old, build_contract(PAPER, classes("cat", "dog")))
    made = make_start(PAPER, str(path), classes("bird", "dog", "cat"))
    new_rows = made.network.head.scores.weight.unflatten(0, (3, 4))  # background, then classes
    old_rows = old.head.scores.weight.unflatten(0, (3, 3))
    for new, row in ((0, 0), (2, 2), (3, 1)):
        assert torch.equal(new_rows[:, new], old_rows[:, row])
    assert torch.equal(made.network.semantic.weight[1:], old.semantic.weight[[1, 0]])
    assert made.new == ("bird",)
    assert set(made.partial) == {
        f"{layer}.{part}" for layer in ("head.scores", "semantic") for part in ("weight", "bias")
    }
    assert made.random == ()


def test_networks_with_anchors_take_the_backbone_of_others(tmp_path: Path, checkpoint: str) -> None:
    path = tmp_path / "s.safetensors"
    network = build_network(S, 1, seed=1)
    save_checkpoint(path, network, build_contract(S, classes("cat"), nms_threshold=0.7))
    made = make_start(PAPER, str(path), classes("cat"))
    assert made.started == {n for n in made.network.state_dict() if n.startswith("backbone.")}
    assert made.matched == () and made.new == ("cat",)
    assert (made.contract.nms, made.contract.nms_threshold) == ("fast", 0.5)
    with pytest.raises(OptionError, match="paper-320 can take nothing from .* of preset n-416"):
        make_start(PAPER, checkpoint, classes("cat"))


@pytest.mark.parametrize(
    ("name", "init"), [("n-416", "coco"), ("s-320", "coco"), ("paper-320", "imagenet")]
)
def test_every_preset_has_a_start_by_default(name: str, init: str) -> None:
    assert default_start(get_preset(name)) == init


@pytest.mark.parametrize(
    ("preset", "init", "error", "message"),
    [
        (N, "imagenet", OptionError, "n-320 has no start 'imagenet'"),
        (PAPER, "coco", OptionError, "paper-320 has no start 'coco'; choose imagenet, none"),
        (N, "cocoo", OptionError, "no start 'cocoo'; give coco"),
        (N, "missing.safetensors", ModelError, "missing.safetensors"),
    ],
)
def test_a_wrong_start_is_one_sentence(
    preset: object, init: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_start(preset, init, classes("a"))  # type: ignore[arg-type]
