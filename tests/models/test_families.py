"""One small network of each of timm's families: it is built, learns a step, is exported, or is refused in one line."""

import copy
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from src.competition.auto_config import usual_pool
from src.core.errors import Problem
from src.inference.backends.torch_export import traced
from src.losses.arcface import COSINE_SCALE
from src.models.factory import build, only_size, try_size
from src.models.features import without_head
from src.models.freezing import at_most, freeze
from src.models.heads.cosine import Cosine
from src.models.pools import POOLS
from src.models.pools.gem import GeM
from src.models.pools.root import RootMean
from src.models.quick_steps import QuickSteps
from src.models.zoo import register_networks
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import assert_error, raises
from tests.fixtures.hub_cache import own_cache, put
from tests.models.test_hub import tensors
from tests.models.test_networks import model, pictures
from tests.models.test_quick_steps import learned, of_both, rested

SIZE, CLASSES = 64, 3

# Networks that differ in kind, made small, and what may take the place of their parts: gem, cosine, a fitted layer.
KINDS = {
    "a residual network": ("test_resnet", {}, "gem cosine probe"),
    "convolutions, then linear layers": ("vgg11_bn", {"mlp_ratio": 0.05}, "gem cosine probe"),
    "depthwise convolutions": ("test_efficientnet", {}, "gem cosine probe"),
    "a norm in its head": ("test_convnext", {}, "gem cosine probe"),
    "no batch norms": ("test_nfnet", {}, "gem cosine probe"),
    "a head that is a convolution": ("dla46x_c", {}, "gem cosine probe"),
    "a pool that keeps its dimensions": ("mobilenetv3_small_050", {}, "gem cosine probe"),
    "channels last": ("test_mambaout", {}, "cosine probe"),
    "a transformer": ("test_vit", {}, "cosine probe"),
    "two heads": ("deit_tiny_distilled_patch16_224", {"depth": 1}, "cosine"),
    "a mixer": ("mixer_s32_224", {}, "cosine probe"),
    "convolutions before a transformer": ("vit_tiny_r_s16_p8_224", {"depth": 1}, "cosine probe"),
    "class attention, no pool": ("cait_xxs24_224", {"depth": 1, "depth_token_only": 1}, "cosine probe"),
    "two heads of a norm and a layer": ("levit_128s", {"depth": (1, 1, 1)}, "cosine"),
}

# The smallest of each family, for the whole catalogue.
SMALLEST = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_so150m2_patch16_reg1_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
OTHER_SIZES = {
    "byoanet": 256,
    "crossvit": 120,
    "deepseek_vit": 126,
    "efficientformer": 224,
    "inception_resnet_v2": 96,
    "inception_v3": 96,
    "inception_v4": 96,
}


def learns_and_is_exported(name: str, args: dict, size: int) -> None:
    torch.manual_seed(0)
    network = build(model(name=name, args=args, stem="stock"), CLASSES, size)
    images, truth = pictures(size, 3), torch.tensor([0, 2, 1])
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    loss = F.cross_entropy(network.train()(images), truth)
    loss.backward()
    assert torch.isfinite(loss) and any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # a deep network that begins may learn all at once
    optimizer.step()
    assert any(not torch.equal(before[key], value) for key, value in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        expected = network(images)
        found = traced(network, size).module()(images)
    assert expected.shape == (3, CLASSES) and torch.isfinite(expected).all()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


FAST = ("a residual network", "no batch norms", "a transformer")  # the others go the same way through our code


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in FAST else pytest.mark.slow) for kind in KINDS])
def test_a_network_of_each_kind_learns_and_is_exported(kind):
    name, args, _ = KINDS[kind]
    learns_and_is_exported(name, args, SIZE)


def begins_with_a_file_of_its_own(name: str, args: dict, size: int, file: Path) -> None:
    """Whatever its last layer is called, and though the file has 1,000 classes. At its own size, if it must be."""
    register_networks()
    trained = timm.create_model(name, **args).state_dict()
    save_file({key: value.clone() for key, value in trained.items()}, file)
    asked = model(name=name, args=args, weights=str(file), stem="stock")
    try:
        network = build(asked, CLASSES, size).eval()
    except Problem as problem:
        size = timm.get_pretrained_cfg(name).input_size[-1]
        assert problem.code == "bad-image-size" and f"images.size={size}" in str(problem)
        network = build(asked, CLASSES, size).eval()
    with torch.no_grad():
        assert network(pictures(size)).shape == (2, CLASSES)
    found = network.backbone.state_dict()
    alike = [key for key in trained if key in found and found[key].shape == trained[key].shape]
    assert len(alike) > 0.8 * len(trained) and all(torch.equal(found[key], trained[key]) for key in alike)


@pytest.mark.parametrize("name", ["levit_128s", "efficientvit_b0", "inception_next_atto", "mobilenetv3_small_050"])
def test_a_network_whose_last_layer_has_a_name_of_its_own_begins_with_a_file(tmp_path, name):
    begins_with_a_file_of_its_own(name, {}, SIZE, tmp_path / "own.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_its_parts_are_exchanged_or_that_is_refused(kind):
    name, args, parts = KINDS[kind]
    for part, choice, layer in (
        ("gem", {"pool": "gem"}, GeM),
        ("gem", {"pool": "root"}, RootMean),
        ("cosine", {"head": "cosine"}, Cosine),
    ):
        asked = model(name=name, args=args, stem="stock", **choice)
        if part not in parts:
            with raises("unfit-network", name):
                build(asked, CLASSES, SIZE)
            continue
        network = build(asked, CLASSES, SIZE).eval()
        assert any(isinstance(module, layer) for module in network.modules())
        with torch.no_grad():
            answers = network(pictures(SIZE))
        assert answers.shape == (2, CLASSES) and (part == "gem" or answers.abs().max() <= COSINE_SCALE)
    network = build(model(name=name, args=args, stem="stock"), CLASSES, SIZE).eval()
    with torch.no_grad():
        expected = network(pictures(SIZE))
    if "probe" not in parts:
        with raises("no-linear-head"):
            without_head(network)
        return
    head = without_head(network)
    with torch.no_grad():
        features = network(pictures(SIZE))
        assert features.shape == (2, head.width)
        weight, bias = head.layer.weight.reshape(CLASSES, -1), head.layer.bias
        torch.testing.assert_close(F.linear(features, weight, bias), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "stages", "frozen"),
    [
        ("test_resnet", True, 3),
        ("hrnet_w18_small", False, 3),
        ("rdnet_tiny", False, "nothing"),
        ("pit_ti_224", False, "nothing"),
        ("convmixer_768_32", True, 3),
    ],
)
def test_stages_and_groups_of_layers_are_there_or_that_is_told(name, stages, frozen):
    stages_and_groups(name, {}, frozen)
    assert usual_pool(model(name=name)) == ("stages" if stages else "stock")


def stages_and_groups(name: str, args: dict, frozen: str | int | None = None) -> None:
    """frozen: what comes of three groups of layers that are to rest."""
    backbone = timm.create_model(name, num_classes=CLASSES, **args)
    fits = at_most(3, backbone)
    assert fits == (fits if frozen is None else frozen)
    freeze(backbone, fits)
    if fits == "nothing":
        with raises("no-layer-groups"):
            freeze(backbone, 1)
    if usual_pool(model(name=name, args=args)) == "stock":
        with raises("unfit-network"):
            POOLS.get("stages")(backbone, name)


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALLEST)
def test_stages_and_groups_of_every_family(family):
    stages_and_groups(SMALLEST[family], {"depth": 2} if family == "deepseek_vit" else {})


def test_every_family_of_timm_is_in_the_catalogue():
    register_networks()
    modules = {timm.models.model_entrypoint(name).__module__ for name in timm.list_models()}
    assert set(SMALLEST) == {name.removeprefix("timm.models.") for name in modules if name.startswith("timm.")}


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALLEST)
def test_a_network_of_every_family_learns_and_is_exported(family):
    args = {"depth": 2} if family == "deepseek_vit" else {}  # 412 M parameters
    learns_and_is_exported(SMALLEST[family], args, OTHER_SIZES.get(family, SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALLEST)
def test_a_network_of_every_family_learns_the_same_quickly(family):
    args = {"depth": 2} if family == "deepseek_vit" else {}
    size = OTHER_SIZES.get(family, SIZE)
    torch.manual_seed(0)
    network = learned(build(model(name=SMALLEST[family], args=args, stem="stock"), CLASSES, size))
    quick = QuickSteps(network, (3, size, size))
    quick.rest(rested(network))
    plain, quickly = (torch.cat([one.flatten() for one in each]) for each in of_both(network, pictures(size, 2), quick))
    assert float((plain - quickly).norm()) <= 1e-2 * float(plain.norm())


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALLEST)
def test_a_network_of_every_family_begins_with_a_file_of_its_own(tmp_path, family):
    args = {"depth": 2} if family == "deepseek_vit" else {}
    begins_with_a_file_of_its_own(SMALLEST[family], args, OTHER_SIZES.get(family, SIZE), tmp_path / "own.safetensors")


# Sizes other than a network's own


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("size", [64, 96])
def test_a_network_of_one_size_is_made_for_the_size_asked_for(name, size):
    args = {"depths": (1, 1, 1, 1)} if "swin" in name else {"depth": 1}
    network = build(model(name=name, args=args), CLASSES, size).eval()
    with torch.no_grad():
        assert network(pictures(size)).shape == (2, CLASSES)
    with raises("bad-image-size"):
        try_size(network, name, size + 32, CLASSES)


@pytest.mark.parametrize("name", ["halonet_h1", "crossvit_tiny_240"])
def test_a_size_that_a_network_cannot_take_is_refused_with_its_own(name):
    own = timm.get_pretrained_cfg(name).input_size[-1]
    with raises("bad-image-size", f"made for {own}"):
        build(model(name=name), CLASSES, 64)


@pytest.mark.slow
def test_the_only_size_of_a_network_whose_weights_fit_no_other(tmp_path):
    for name, args, expected in (
        ("mixer_s32_224", {"num_blocks": 1}, 224),
        ("vit_tiny_patch16_224", {"depth": 1}, None),
    ):
        save_file(timm.create_model(name, **args).state_dict(), tmp_path / "own.safetensors")
        assert (
            only_size(model(name=name, args=args, weights=str(tmp_path / "own.safetensors")), CLASSES, 96) == expected
        )


@pytest.mark.parametrize("source", ["file", "hub"])
def test_position_embeddings_are_resampled_wherever_weights_come_from(tmp_path, monkeypatch, source):
    torch.manual_seed(2)
    trained = timm.create_model("test_vit", num_classes=5)
    with torch.no_grad():
        trained.pos_embed.normal_()
    if source == "file":
        save_file(trained.state_dict(), tmp_path / "vit.safetensors")
        choice = {"weights": str(tmp_path / "vit.safetensors")}
    else:
        put(
            own_cache(monkeypatch, tmp_path / "hub"),
            timm.get_pretrained_cfg("test_vit").hf_hub_id,
            model=tensors(trained),
        )
        choice = {"pretrained": True}
    network = build(model(name="test_vit", **choice), CLASSES, 96)
    before = trained.pos_embed.shape[1] - trained.patch_embed.num_patches  # tokens that are no part of the picture
    expected = timm.layers.resample_abs_pos_embed(trained.pos_embed, (6, 6), num_prefix_tokens=before)
    torch.testing.assert_close(network.backbone.pos_embed, expected)
    torch.testing.assert_close(network.backbone.patch_embed.proj.weight, trained.patch_embed.proj.weight)


# Gray


def test_a_network_of_one_channel_sees_the_gray(tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model("test_resnet", num_classes=CLASSES)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    asked = {"name": "test_resnet", "weights": str(tmp_path / "w.safetensors"), "stem": "stock"}
    network = build(model(channels=1, **asked), CLASSES, SIZE).eval()
    kernels = trained.conv1[0].weight if isinstance(trained.conv1, torch.nn.Sequential) else trained.conv1.weight
    first = (
        network.backbone.conv1[0] if isinstance(network.backbone.conv1, torch.nn.Sequential) else network.backbone.conv1
    )
    torch.testing.assert_close(first.weight, kernels.sum(1, keepdim=True))
    images = pictures(SIZE)
    red, green, blue = images.float().unbind(1)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), network.backbone((gray - network.mean) / network.std), atol=1e-4, rtol=1e-4
        )
        # A picture without colours is the same to both, where the normalisation is that of one gray.
        colourless = gray.round().expand(-1, 3, -1, -1).to(torch.uint8)
        in_colour = build(model(mean=[0.5] * 3, std=[0.25] * 3, **asked), CLASSES, SIZE).eval()
        in_gray = build(model(mean=[0.5] * 3, std=[0.25] * 3, channels=1, **asked), CLASSES, SIZE).eval()
        torch.testing.assert_close(in_gray(colourless), in_colour(colourless), atol=1e-3, rtol=1e-3)


# A network without a pool, and memory


@pytest.mark.parametrize(("name", "args"), [("test_vit", {"global_pool": ""}), ("test_convnext", {"global_pool": ""})])
def test_a_network_without_a_pool_is_refused(name, args):
    with raises("unfit-network", "no pool"):
        build(model(name=name, args=args), CLASSES, SIZE)


@pytest.mark.parametrize(
    ("name", "pool"),
    [(name, "stock") for name in ("test_resnet", "test_vit", "test_efficientnet")]
    + [(name, "stages") for name in ("test_resnet", "test_efficientnet")],
)
def test_activations_computed_again_give_the_same_gradients(name, pool):
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        network = build(model(name=name, pool=pool, stem="stock", drop_rate=0.1), CLASSES, SIZE).train()
        if again:
            network.save_memory(name)
        torch.manual_seed(1)
        F.cross_entropy(network(pictures(SIZE, 4)), torch.tensor([0, 1, 2, 0])).backward()
        found.append({key: p.grad for key, p in network.named_parameters()})
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-7) for key in found[0])


def test_a_network_that_cannot_compute_again_is_refused():
    network = build(model(name="vgg11_bn", args={"mlp_ratio": 0.05}), CLASSES, SIZE)
    with raises("no-checkpointing"):
        network.save_memory("vgg11_bn")


WORDS = ["config=tiny", "fold=0", "train.epochs=1", "model.pretrained=false", "model.stem=stock"]
SMALL = ["images.size=32", "images.load_size=32"]
ONE_SIZE = ["model.name=vit_tiny_patch16_224", "model.args={depth: 1}"]


@pytest.mark.parametrize("name", ["test_resnet", pytest.param("test_vit", marks=pytest.mark.slow)])
def test_a_run_that_computes_again_ends_with_the_same_weights(tiny, name):
    """The statistics of batch norms too, which the second way forward would move once more."""
    for run, again in (("kept", "false"), ("again", "true")):
        words = [*WORDS, f"model.name={name}", *SMALL, f"run={run}", f"train.checkpointing={again}"]
        assert train(words) == 0
    kept, again = (load_file(tiny / f"runs/tiny/{run}/seed0/fold0/model.safetensors") for run in ("kept", "again"))
    assert kept.keys() == again.keys()
    for key, tensor in kept.items():
        torch.testing.assert_close(again[key], tensor, atol=1e-6, rtol=1e-5, msg=key)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["model.name=vgg11_bn", "model.args={mlp_ratio: 0.05}", "train.checkpointing=true"], "no-checkpointing"),
        ([*ONE_SIZE, "train.stages=[{epochs: 1, size: 48}]"], "bad-image-size"),
        (["model.name=test_vit", "model.pool=gem"], "unfit-network"),
    ],
)
def test_what_a_network_cannot_do_is_told_before_training(tiny, capsys, words, code):
    assert train([*WORDS, *SMALL, *words, "--json"]) in (1, 2)
    assert_error(capsys.readouterr().out, code)
    assert not list(tiny.glob("runs/tiny/*/seed*"))


def test_another_size_at_prediction_is_refused_by_a_network_of_one_size(tiny, capsys):
    assert train([*WORDS, *SMALL, *ONE_SIZE, "run=v"]) == 0
    capsys.readouterr()
    assert predict(["run=v", "predict.size=48", "--json"]) == 1
    assert_error(capsys.readouterr().out, "bad-image-size", "vit_tiny_patch16_224")
    assert predict(["run=v", "--export", "--tta"]) == 0
