import pickle

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.networks.backbones import backbone, find_vgg_block, trunk
from crossview.networks.weight_files import as_timm

NAME = "test_convnext"


def test_a_backbone_gives_pooled_features_without_a_classifier():
    assert backbone(NAME, "none").eval()(torch.rand(2, 3, 64, 64)).shape == (2, 64)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_weights_fills_the_backbone_and_its_classifier_is_ignored(tmp_path, suffix):
    tensors = timm.create_model(NAME, num_classes=0).state_dict()
    path = tmp_path / f"weights.{suffix}"
    more = {**tensors, "head.fc.weight": torch.zeros(10, 64)}
    save_file(more, path) if suffix == "safetensors" else torch.save({"state_dict": more}, path)
    filled = backbone(NAME, str(path)).state_dict()
    assert all(torch.equal(filled[key], tensors[key]) for key in tensors)


def test_an_unreachable_hub_is_one_clear_sentence_and_no_random_start(monkeypatch):
    def unreachable(*_, **settings):
        assert settings["pretrained"]
        raise OSError("We couldn't connect\nto the hub\nand here is more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(WeightsUnavailable) as caught:
        backbone(NAME)
    first, second = str(caught.value).splitlines()
    assert "could not be had: OSError: We couldn't connect" in first
    assert "--weights FILE" in second


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"stem.0.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsUnavailable, match="tensors missing, 1 of another shape"):
        backbone(NAME, str(tmp_path / "w.safetensors"))


class Malicious:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(Malicious(), 2)])
def test_a_file_that_is_no_weights_is_refused_and_not_executed(tmp_path, content, capsys):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        backbone(NAME, str(tmp_path / "w.pth"))
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsUnavailable, match="absent.safetensors"):
        backbone(NAME, str(tmp_path / "absent.safetensors"))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InvalidValue, match="Near it: test_convnext"):
        backbone("test_convnxt", "none")


def test_a_name_may_ask_for_a_smaller_stride_with_the_same_tensors():
    plain, fine = (backbone(f"test_convnext{at}", "none") for at in ("", "@16"))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in fine.state_dict().items()
    }
    images = torch.zeros(1, 3, 64, 96)
    assert fine.forward_features(images).shape[2:] == (4, 6)
    assert plain.forward_features(images).shape[2:] == (2, 3)


def test_a_stride_that_cannot_be_is_refused():
    with pytest.raises(InvalidValue, match="Allowed after the @: 8, 16, 32"):
        backbone("test_convnext@5", "none")


def torchvisions(make):
    """A fresh network of torchvision whose blocks count.

    A fresh ConvNeXt scales what its blocks say by 1e-6, which would hide every error in them.
    """
    torch.manual_seed(0)
    network = make().eval()
    for key, value in network.state_dict().items():
        if key.endswith("layer_scale"):
            value.normal_()
        elif value.is_floating_point() and value.ndim == 1:
            value.add_(0.1 * torch.rand(value.shape))
    return network


def before_the_classifier(network, images):
    if isinstance(network, torchvision.models.ConvNeXt):
        norm, flatten, _ = network.classifier
        return flatten(norm(network.avgpool(network.features(images))))
    setattr(network, "fc" if hasattr(network, "fc") else "heads", torch.nn.Identity())
    return network(images)


def small_transformer():
    return torchvision.models.VisionTransformer(32, 16, 2, 3, 192, 768)


@pytest.mark.parametrize(
    ("make", "name", "settings"),
    [
        (torchvision.models.convnext_tiny, "convnext_tiny.fb_in1k", {}),
        (torchvision.models.resnet34, "resnet34.tv_in1k", {}),
        (small_transformer, "vit_tiny_patch16_224", {"depth": 2, "img_size": 32}),
    ],
)
def test_torchvisions_weights_give_torchvisions_vectors(tmp_path, make, name, settings):
    network = torchvisions(make)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    images = torch.randn(2, 3, 32, 32 if settings else 96)
    with torch.no_grad():
        expected = before_the_classifier(network, images)
        made = backbone(name, str(tmp_path / "w.pth"), **settings).eval()(images)
    assert float((made - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_torchvisions_vgg_has_timms_names_and_shapes():
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().state_dict()
        ours = timm.create_model("vgg16.tv_in1k").state_dict()
    made = as_timm(theirs)
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize("prefix", ["", "model.", "backbone.", "module.encoder."])
def test_a_backbone_is_found_below_a_prefix(tmp_path, prefix):
    tensors = timm.create_model(NAME, num_classes=0).state_dict()
    values = {f"{prefix}{k}": v for k, v in tensors.items()} | {"logit_scale": torch.zeros(())}
    torch.save(values, tmp_path / "w.pth")
    made = backbone(NAME, str(tmp_path / "w.pth")).state_dict()
    assert all(torch.equal(made[key], tensors[key]) for key in tensors)


def test_two_backbones_in_one_file_are_not_chosen_between(tmp_path):
    tensors = timm.create_model(NAME, num_classes=0).state_dict()
    values = {f"{part}{k}": v for k, v in tensors.items() for part in ("model_q.", "model_r.")}
    torch.save(values, tmp_path / "w.pth")
    with pytest.raises(WeightsUnavailable, match="2 times, below model_q, model_r"):
        backbone(NAME, str(tmp_path / "w.pth"))


def test_a_transformers_table_is_resampled_to_the_pictures_as_weights_of_the_hub_are(tmp_path):
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "w.pth")
    made = backbone("test_vit", str(tmp_path / "w.pth"), img_size=(64, 128))
    assert made.eval()(torch.zeros(1, 3, 64, 128)).shape == (1, 64)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    tensors = timm.create_model(NAME, num_classes=0).state_dict()
    tensors["stem.0.bias"][0] = float("nan")
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsUnavailable, match="stem.0.bias holds 1 values that are no finite"):
        backbone(NAME, str(tmp_path / "w.pth"))


def test_a_vgg_has_five_blocks_of_two_and_three_convolutions():
    with torch.device("meta"):
        cut = trunk("vgg16", "none", pooled=False)
    names = [f"ground.trunk.{name}" for name, value in cut.named_parameters() if value.ndim > 1]
    blocks = [find_vgg_block(name) for name in names]
    assert blocks == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    assert find_vgg_block("ground.reduction.weight") == 0
