import pytest
import torch
import torch.nn.functional as F

from wavenet_zoo.layers import WConv2d


def algorithm_1(x, layer):
    """The paper's pseudo-code, line by line, indices and all."""
    D, k = layer.in_channels, layer.depth
    s, e = 0, D // 2
    y = [F.conv2d(x[:, s:e], layer.weight[0], padding=layer.padding)]
    for i in range(1, k):
        s = e
        e = e + D // 2 ** (i + 1)
        y.append(F.conv2d(x[:, s:e], layer.weight[i], padding=layer.padding))
    y.append(F.conv2d(x[:, D - D // 2**k : D], layer.weight[k], padding=layer.padding))
    return torch.cat(y, dim=1)


@pytest.mark.parametrize("kernel_size", [1, 3, 2, (1, 5)])
@pytest.mark.parametrize("kappa", [1, 2, 3])
def test_wconv_equals_algorithm_1(kappa, kernel_size):
    layer = WConv2d(32, 16, kernel_size=kernel_size, kappa=kappa)
    x = torch.randn(2, 32, 9, 7)
    torch.testing.assert_close(layer(x), algorithm_1(x, layer))


@pytest.mark.parametrize("kappa", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(32, 16), (96, 24), (48, 48), (6, 10), (7, 5)])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_dense_weight_gives_equal_outputs(in_channels, out_channels, kappa, kernel_size):
    layer = WConv2d(in_channels, out_channels, kernel_size, kappa=kappa, bias=True)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, in_channels, 5, 6)
    dense = F.conv2d(x, layer.dense_weight(), layer.bias, padding=layer.padding)
    torch.testing.assert_close(layer(x), dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kappa", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("D", "D_out"), [(16, 16), (96, 16), (64, 384)])
def test_number_of_weights_equals_the_specification(D, D_out, kappa):
    layer = WConv2d(D, D_out, kappa=kappa)
    expected = D * D_out * (kappa + 3) // 2 ** (kappa + 2) if kappa else D * D_out
    assert sum(p.numel() for p in layer.parameters()) == expected


def test_kappa_3_has_three_sixteenths_of_the_dense_weights():
    wconv, dense = WConv2d(384, 64, kappa=3), torch.nn.Conv2d(384, 64, 1, bias=False)
    assert 16 * sum(p.numel() for p in wconv.parameters()) == 3 * dense.weight.numel()


def test_weights_have_the_shapes_of_the_papers_pieces():
    assert [tuple(w.shape) for w in WConv2d(64, 32, kappa=3).weight] == [
        (4, 32, 1, 1),
        (4, 16, 1, 1),
        (8, 8, 1, 1),
        (16, 8, 1, 1),
    ]


def test_kappa_0_is_an_ordinary_convolution():
    layer = WConv2d(8, 12, 3, kappa=0)
    x = torch.randn(1, 8, 5, 5)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[0], padding=1))


def test_gradients_reach_every_piece_through_the_dense_weight():
    layer = WConv2d(16, 16, kappa=2).double()
    x = torch.randn(1, 16, 3, 3, dtype=torch.double)
    direct = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    composed = torch.autograd.grad(F.conv2d(x, layer.dense_weight()).square().sum(), list(layer.parameters()))
    for a, b in zip(direct, composed):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


def test_odd_kernels_keep_the_image_size():
    assert WConv2d(8, 8, 5)(torch.randn(1, 8, 6, 4)).shape == (1, 8, 6, 4)


def test_layer_supports_meta_and_bfloat16():
    assert WConv2d(8, 8, device="meta").weight[0].is_meta
    layer = WConv2d(8, 8, dtype=torch.bfloat16)
    assert layer(torch.randn(1, 8, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_dense_computation_keeps_output_and_gradients():
    torch.manual_seed(0)
    layer = WConv2d(24, 16, kernel_size=3, kappa=3, bias=True).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 24, 5, 5, dtype=torch.float64)
    factored = layer(x)
    gradients = torch.autograd.grad(factored.square().sum(), list(layer.parameters()))
    layer.dense = True
    torch.testing.assert_close(layer(x), factored)
    for a, b in zip(torch.autograd.grad(layer(x).square().sum(), list(layer.parameters())), gradients):
        torch.testing.assert_close(a, b)
