"""Properties of WConv, DFWT and the forms of a unit, for random channels, depths, types and layouts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavenet_zoo.layers import DFWT, WConv2d, dyadic_partition, fold_dfwt, usable_depth
from wavenet_zoo.models import UNIT_FORMS, WaveletNetUnit, set_form

CHANNELS = st.integers(1, 48)
KAPPA = st.integers(0, 6)
BATCH = st.integers(0, 3)  # a batch may be empty
SIDE = st.sampled_from([(1, 1), (1, 5), (4, 3), (7, 7)])
LAYOUT = st.sampled_from([torch.contiguous_format, torch.channels_last])
HAAR = st.sampled_from(["halves", "neighbours"])
SEED = st.integers(0, 2**16)


def images(seed, batch, channels, side, layout=torch.contiguous_format, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, *side, generator=generator, dtype=dtype).contiguous(memory_format=layout)


@given(KAPPA, CHANNELS, CHANNELS)
def test_usable_depth_is_the_largest_that_divides(kappa, channels, others):
    depth = usable_depth(kappa, channels, others)
    assert 0 <= depth <= kappa
    assert channels % 2**depth == others % 2**depth == 0
    if depth < kappa:
        assert channels % 2 ** (depth + 1) or others % 2 ** (depth + 1)
    assert sum(dyadic_partition(channels, depth)) == channels


@given(CHANNELS, CHANNELS, KAPPA, st.sampled_from([1, 3, (1, 3)]), BATCH, SIDE, LAYOUT, SEED)
def test_wconv_equals_its_dense_kernel_and_is_linear(D, D_out, kappa, kernel_size, batch, side, layout, seed):
    torch.manual_seed(seed)
    layer = WConv2d(D, D_out, kernel_size, kappa, dtype=torch.float64)
    x, y = (images(seed + i, batch, D, side, layout) for i in range(2))
    expected = torch.nn.functional.conv2d(x, layer.dense_weight(), padding=layer.padding)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(2 * x - 3 * y), 2 * layer(x) - 3 * layer(y))
    layer.dense = True
    torch.testing.assert_close(layer(x), expected)


@given(CHANNELS, KAPPA, HAAR, BATCH, SIDE, LAYOUT, SEED)
def test_dfwt_equals_its_matrix_is_linear_and_keeps_the_layout(D, kappa, haar, batch, side, layout, seed):
    layer = DFWT(D, kappa, haar)
    x, y = (images(seed + i, batch, D, side, layout) for i in range(2))
    matrix = layer.matrix(dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.einsum("ij,bjhw->bihw", matrix, x))
    torch.testing.assert_close(layer(2 * x - 3 * y), 2 * layer(x) - 3 * layer(y))
    assert torch.linalg.matrix_rank(matrix) == D  # nothing is lost
    assert layer(x).is_contiguous(memory_format=layout) or not x.numel()


@given(CHANNELS, CHANNELS, KAPPA, KAPPA, HAAR, SEED)
def test_gradients_equal_those_of_the_dense_kernel(D, D_out, kappa2, kappa3, haar, seed):
    torch.manual_seed(seed)
    dfwt, wconv = DFWT(D, kappa2, haar), WConv2d(D, D_out, kappa=kappa3, dtype=torch.float64)
    x = images(seed, 2, D, (2, 2)).requires_grad_()
    inputs = [x, *wconv.weight]
    cotangent = images(seed + 1, 2, D_out, (2, 2))
    layered = torch.autograd.grad(wconv(dfwt(x)), inputs, cotangent)
    kernel = fold_dfwt(wconv.dense_weight(), dfwt.depth, haar)
    dense = torch.autograd.grad(torch.nn.functional.conv2d(x, kernel), inputs, cotangent)
    torch.testing.assert_close(layered, dense)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@given(CHANNELS, KAPPA, SEED)
def test_layers_keep_the_dtype(dtype, D, kappa, seed):
    x = images(seed, 1, D, (3, 3), dtype=dtype)
    layer = WConv2d(D, D, kappa=kappa, dtype=dtype)
    assert layer(DFWT(D, kappa)(x)).dtype == dtype
    assert layer(x).shape == x.shape


@given(
    st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 2, 6]), st.tuples(KAPPA, KAPPA, KAPPA), HAAR,
    st.sampled_from(["depthwise", "expand"]), st.integers(1, 2), st.integers(1, 2), SIDE, SEED,
)  # fmt: skip
def test_every_form_of_a_unit_gives_equal_outputs(
    in_chs, out_chs, expand_ratio, kappas, haar, dfwt_after, stride, batch, side, seed
):
    torch.manual_seed(seed)
    unit = WaveletNetUnit(in_chs, out_chs, stride, expand_ratio, kappas, haar, dfwt_after)
    for module in unit.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    unit = unit.double().eval()
    x = images(seed, batch, in_chs, side)
    with torch.no_grad():
        expected = unit(x)
        for form in UNIT_FORMS:
            torch.testing.assert_close(unit.fuse(form)(x), expected)
        set_form(unit, "dense")
        torch.testing.assert_close(unit(x), expected)
