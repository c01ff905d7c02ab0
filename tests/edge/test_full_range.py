import pytest


@pytest.mark.parametrize("to", ["executorch"])
def test_full_range_requires_a_format_with_a_reduced_range(to, wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.edge.export.load_model")
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", to, "--int8", "--calibrate", "digits", "--full-range")
    assert finished.code == 2
    assert f"the quantizer of '{to}' uses 8 bits of the weights always (remove --full-range)" in finished.err
