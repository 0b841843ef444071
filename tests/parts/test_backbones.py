import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.parts.backbones import backbone

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
