"""Models, registered with timm on import: WaveletNet and the peers of its paper that timm does not have.

This package and ``layers`` depend on torch and timm only, so both folders can be copied into another project.
"""

from . import peers as peers
from . import waveletnet as waveletnet
from ._folded_unit import UNIT_FORMS, FoldedUnit, HalvedUnit
from ._pretrained import (
    WEIGHTS_FILE,
    cached_file,
    check_hash,
    check_reachable,
    read_manifest,
)
from .waveletnet import UNFOLDED_FORMS, WaveletNet, WaveletNetCfg, WaveletNetUnit, set_form

__all__ = [
    "UNFOLDED_FORMS",
    "UNIT_FORMS",
    "WEIGHTS_FILE",
    "FoldedUnit",
    "HalvedUnit",
    "WaveletNet",
    "WaveletNetCfg",
    "WaveletNetUnit",
    "cached_file",
    "check_hash",
    "check_reachable",
    "read_manifest",
    "set_form",
]
