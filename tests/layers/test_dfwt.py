import pytest
import torch
import torch.nn.functional as F

from wavenet_zoo.layers import DFWT, dfwt, fold_dfwt, haar_matrix


def kronecker_haar(k):
    """H of equation (7), with the signs of equation (9): rows [-1, 1] split in half, then H of half the size."""
    if k == 0:
        return torch.ones(1, 1)
    eye = torch.eye(2 ** (k - 1))
    return torch.cat(
        [torch.kron(torch.tensor([[-1.0, 1.0]]), eye), torch.kron(torch.ones(1, 2), kronecker_haar(k - 1))]
    )


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_matrix_equals_equations_7_and_9(k):
    torch.testing.assert_close(DFWT(2**k, kappa=k).matrix(), kronecker_haar(k))


def printed_haar(k):
    """H by equation (7) as it is printed, the identity times [1, 1]: neighbouring channels; signs of Algorithm 2."""
    if k == 0:
        return torch.ones(1, 1)
    eye = torch.eye(2 ** (k - 1))
    return torch.cat([torch.kron(eye, torch.tensor([[-1.0, 1.0]])), torch.kron(printed_haar(k - 1), torch.ones(1, 2))])


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_neighbours_equal_the_reshape_of_algorithm_2(k):
    H, halves = DFWT(2**k, kappa=k, haar="neighbours").matrix(), DFWT(2**k, kappa=k).matrix()
    torch.testing.assert_close(H, printed_haar(k))
    x = torch.randn(3, 2**k)
    t, differences = x, []
    for _ in range(k):
        t = t.reshape(3, -1, 2)
        differences.append(t[..., 1] - t[..., 0])
        t = t[..., 1] + t[..., 0]
    torch.testing.assert_close(x @ H.T, torch.cat([*differences, t], 1))
    reversed_bits = [int(f"{channel:0{k}b}"[::-1], 2) for channel in range(2**k)]
    assert sorted(H[:, reversed_bits].tolist()) == sorted(halves.tolist())


def test_unknown_haar_is_rejected():
    with pytest.raises(ValueError, match="'pairs'"):
        DFWT(8, haar="pairs")


def test_support_equals_the_printed_matrix_for_8_channels():
    printed = [
        "10001000", "01000100", "00100010", "00010001",
        "10101010", "01010101", "11111111", "11111111",
    ]  # fmt: skip
    expected = torch.tensor([[float(digit) for digit in row] for row in printed])
    torch.testing.assert_close(DFWT(8, kappa=3).matrix().abs(), expected)


@pytest.mark.parametrize("kappa", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 7, 12, 96, 144])
def test_dfwt_equals_its_matrix(channels, kappa):
    layer = DFWT(channels, kappa)
    x = torch.randn(2, channels, 3, 4)
    torch.testing.assert_close(layer(x), torch.einsum("oc,bchw->bohw", layer.matrix(), x), rtol=1e-4, atol=1e-5)


def test_matrix_has_orthogonal_rows_and_full_rank():
    H = DFWT(16, kappa=4).matrix()
    assert torch.equal(H @ H.T, torch.diag(torch.diag(H @ H.T)))
    assert torch.linalg.matrix_rank(H) == 16


@pytest.mark.parametrize("kappa", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [32, 96, 960])
def test_additions_equal_the_specification(channels, kappa):
    layer = DFWT(channels, kappa)
    assert layer.adds_per_pixel == channels * (2 - 2 ** (1 - layer.depth))


def test_dfwt_has_no_state_and_keeps_dtype_and_layout():
    layer = DFWT(16)
    assert not list(layer.parameters()) and not list(layer.buffers())
    x = torch.randn(2, 16, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_kappa_0_is_the_identity():
    x = torch.randn(1, 6, 2, 2)
    assert DFWT(6, kappa=0)(x) is x


@pytest.mark.parametrize("haar", ["halves", "neighbours"])
@pytest.mark.parametrize(("channels", "depth"), [(8, 0), (8, 3), (12, 2), (24, 3), (96, 5)])
def test_folded_kernel_equals_dfwt_then_convolution(channels, depth, haar):
    weight = torch.randn(7, channels, 3, 3, dtype=torch.float64)
    x = torch.randn(2, channels, 5, 5, dtype=torch.float64)
    folded = fold_dfwt(weight, depth, haar)
    torch.testing.assert_close(F.conv2d(x, folded), F.conv2d(dfwt(x, depth, haar), weight))
    torch.testing.assert_close(folded[:, :, 0, 0], weight[:, :, 0, 0] @ haar_matrix(channels, depth, haar).double())
