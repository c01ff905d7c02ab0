import pytest
import torch
from torch import nn

from wavenet_zoo import export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.floor import FirstChannels, remove_projections, write_floor_file
from wavenet_zoo.deployment.fold import fold
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.loading import build_model


@pytest.mark.parametrize("model", ["mobilenetv2_100", "waveletnet_x1"])
@pytest.mark.parametrize("folded", [True, False])
def test_floor_has_no_projection_and_all_other_convolutions(model, folded):
    network = build_model(model).eval()
    before = fold(network) if folded else network
    floor = remove_projections(before)
    assert sum(isinstance(module, FirstChannels) for module in floor.modules()) == 17  # blocks of MobileNetV2
    convs = [module for module in floor.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 35  # of 52: stem, 16 expansions, 17 depthwise convolutions, head
    linear = [conv for conv in convs if conv.kernel_size == (1, 1) and conv.out_channels < conv.in_channels]
    assert not linear
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert floor(images).shape == before(images).shape == (1, 1000)


def test_network_without_linear_projections_is_refused():
    with pytest.raises(WavezooError, match="the baseline has no projections"):
        remove_projections(build_model("mobilenetv1_100"))  # its 1x1 convolutions have activations


@pytest.mark.long
@pytest.mark.reliability(6)
def test_full_disk_leaves_no_part_of_the_floor_of_a_file(full_folder, tmp_path):
    path = tmp_path / "m1.pt2"
    export("waveletnet_cifar_m1", "pt2", path, "none")
    _, _, metadata = open_exported_file(path)
    with pytest.raises(WavezooError, match=r"floor\.pt2: cannot be written: No space left"):
        write_floor_file(metadata, path, full_folder)
    assert [file.name for file in full_folder.iterdir()] == ["filler"]
