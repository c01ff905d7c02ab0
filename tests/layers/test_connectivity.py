import itertools

import pytest
import torch

from wavenet_zoo.layers import DFWT, WConv2d, connectivity


def reacts(layer, channels):
    """Return the connectivity of a layer by gradient, without using its structure."""
    x = torch.zeros(1, channels, 1, 1, requires_grad=True)
    y = layer(x).flatten()
    rows = [torch.autograd.grad(value, x, retain_graph=True)[0].flatten() for value in y]
    return torch.stack(rows).ne(0).long()


@pytest.mark.parametrize("kappa", [0, 1, 2, 3])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (48, 8), (20, 12)])
def test_connectivity_agrees_with_the_gradient(in_channels, out_channels, kappa):
    wconv = WConv2d(in_channels, out_channels, kappa=kappa)
    assert torch.equal(connectivity(wconv), reacts(wconv, in_channels))
    for haar in ("halves", "neighbours"):
        dfwt = DFWT(in_channels, kappa, haar)
        assert torch.equal(connectivity(dfwt), reacts(dfwt, in_channels))


def test_wconv_of_8_channels_equals_equation_8():
    printed = ["11110000", "00001100", "00000010", "00000010", "00000001", "00000001", "00000001", "00000001"]
    assert connectivity(WConv2d(8, 8)).tolist() == [[int(digit) for digit in row] for row in printed]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8])
def test_wconv_is_fully_connected_only_after_dfwt(k):
    D = 2**k
    wconv, dfwt = connectivity(WConv2d(D, D, kappa=k)), connectivity(DFWT(D, kappa=k))
    assert (wconv @ dfwt > 0).all()
    assert not (wconv > 0).all()
    assert wconv.sum() == D + D // 4 * (k - 1)  # Claim 6.2


@pytest.mark.parametrize("D", [2, 4])
def test_no_sparser_matrix_makes_wconv_fully_connected(D):
    wconv = connectivity(WConv2d(D, D, kappa=D.bit_length() - 1)).float()
    dfwt = connectivity(DFWT(D, kappa=D.bit_length() - 1))
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D * D))).reshape(-1, D, D)  # 16 and 65,536
    full = (wconv @ every > 0).all(-1).all(-1)
    assert every[full].sum((1, 2)).min() == dfwt.sum()
    assert torch.equal(wconv @ dfwt.float() > 0, torch.ones(D, D, dtype=torch.bool))


@pytest.mark.parametrize("D", [8, 16])
def test_no_sparser_column_makes_wconv_fully_connected(D):
    k = D.bit_length() - 1
    wconv, dfwt = connectivity(WConv2d(D, D, kappa=k)).float(), connectivity(DFWT(D, kappa=k))
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D))).T  # a product is full column by column
    full = (wconv @ every > 0).all(0)
    assert every[:, full].sum(0).min() == k + 1
    assert (dfwt.sum(0) == k + 1).all()


@pytest.mark.parametrize("haar", ["halves", "neighbours"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8])
def test_dfwt_has_the_fewest_connections_possible(k, haar):
    D = 2**k
    wconv, dfwt = connectivity(WConv2d(D, D, kappa=k)), connectivity(DFWT(D, k, haar))
    assert (wconv @ dfwt > 0).all()
    different_rows = wconv.unique(dim=0)
    # rows that share no channel: to meet all of them, a column needs an entry for each
    assert (different_rows @ different_rows.T).fill_diagonal_(0).sum() == 0
    assert (dfwt.sum(0) == len(different_rows)).all() and len(different_rows) == k + 1
    assert DFWT(D, k, haar).adds_per_pixel == 2 * (D - 1)  # linear in D, the other half of Theorem 6.3


def test_zero_weights_are_still_connections():
    layer = WConv2d(8, 8, 3)
    for piece in layer.weight:
        torch.nn.init.zeros_(piece)
    assert torch.equal(connectivity(layer), connectivity(WConv2d(8, 8)))


def test_connectivity_of_grouped_and_depthwise_convolutions():
    assert connectivity(torch.nn.Conv2d(4, 4, 3, groups=4)).tolist() == torch.eye(4).long().tolist()
    assert connectivity(torch.nn.Conv2d(4, 2, 1, groups=2)).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_unsupported_layer_raises_with_its_name():
    with pytest.raises(TypeError, match="BatchNorm2d"):
        connectivity(torch.nn.BatchNorm2d(4))
