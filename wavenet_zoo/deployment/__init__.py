"""Inference on a device: folding, exported files, engines and benchmarks."""
