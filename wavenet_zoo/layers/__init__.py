"""The paper's two layers, as tensor functions and as modules; needs torch alone."""

from .connectivity import connectivity
from .dfwt import DFWT, dfwt, fold_dfwt, haar_matrix, halve
from .partition import dyadic_partition, usable_depth
from .wconv import WConv2d, wconv2d, wconv2d_dense_weight

__all__ = [
    "DFWT",
    "WConv2d",
    "connectivity",
    "dfwt",
    "dyadic_partition",
    "fold_dfwt",
    "haar_matrix",
    "halve",
    "usable_depth",
    "wconv2d",
    "wconv2d_dense_weight",
]
