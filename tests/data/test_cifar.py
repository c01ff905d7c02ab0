import hashlib
import pickle

import numpy as np
import pytest
import torchvision.datasets

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A folder with an unpacked CIFAR-10 archive of few images, with their checksums in torchvision."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def write(name, value):
        (folder / name).write_bytes(pickle.dumps(value))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(images):
        return {
            "data": random.integers(0, 256, (images, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(images)],
        }

    train = [[f"data_batch_{i}", write(f"data_batch_{i}", batch(20))] for i in range(1, 6)]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", write("test_batch", batch(10))]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": write("batches.meta", {"label_names": names})}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", meta)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_cifar_opens_by_name_folder_or_parent_folder(cifar10, monkeypatch):
    monkeypatch.setenv("WAVEZOO_DATA", str(cifar10))
    for data in ("cifar10", cifar10, cifar10 / "cifar-10-batches-py"):
        test, train = open_data(data, "val"), open_data(data, "train")
        assert (test.name, test.split, len(test.targets), len(train.targets)) == ("cifar10", "test", 10, 100)
        assert test.classes[0] == "airplane"
        assert test.load(0).size == (32, 32)


@pytest.mark.filterwarnings("ignore")
def test_failed_cifar_download_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEZOO_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(WavezooError, match=f"cifar10: not found in {tmp_path}, and the download failed"):
        open_data("cifar10", "val")
