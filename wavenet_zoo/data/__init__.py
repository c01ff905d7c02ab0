"""Data sets: image folders, the digits, CIFAR; which classes they hold and how their images become tensors."""
