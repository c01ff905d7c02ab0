"""Evaluation as usually written with timm: eager, NCHW, one batch at a time. Prints counts and throughput."""

import json
import sys
import time

import timm
import torch
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import wavenet_zoo  # noqa: F401  registers the models


@torch.inference_mode()
def main(model_name: str, weights: str, folder: str, workers: int) -> None:
    model = timm.create_model(model_name, checkpoint_path=weights).eval()
    dataset = ImageFolder(folder, create_transform(**resolve_model_data_config(model), is_training=False))
    synsets = ImageNetInfo().label_names()
    indices = torch.tensor([synsets.index(name) for name in dataset.classes])
    top1 = top5 = 0
    started = time.perf_counter()
    for images, targets in DataLoader(dataset, batch_size=64, num_workers=workers):
        hits = model(images).topk(5).indices == indices[targets][:, None]
        top1 += int(hits[:, 0].sum())
        top5 += int(hits.sum())
    seconds = time.perf_counter() - started
    print(json.dumps({"images_per_second": len(dataset) / seconds, "correct_top1": top1, "correct_top5": top5}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
