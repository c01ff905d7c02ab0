"""The models, registered with timm on import; needs torch, timm and the layers beside it alone."""

from . import peers as peers
from . import waveletnet as waveletnet
from .waveletnet import WaveletNet, WaveletNetCfg, WaveletNetUnit

__all__ = ["WaveletNet", "WaveletNetCfg", "WaveletNetUnit"]
