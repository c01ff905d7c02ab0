"""Data sets: image folders, digits, CIFAR, tar files and timm's readers, with decoding, transforms and loaders."""
