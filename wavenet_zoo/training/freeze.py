"""Training of the classifier alone, with a frozen backbone."""

from torch import nn

from wavenet_zoo.errors import WavezooError

__all__ = ["freeze_backbone", "train_mode"]


def freeze_backbone(model: nn.Module) -> None:
    """Disable gradients for all parameters but those of the classifier.

    Raises:
        WavezooError: If the model has no classifier.
    """
    kept = {id(parameter) for part in _classifiers(model) for parameter in part.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in kept)


def train_mode(model: nn.Module, frozen: bool) -> None:
    """Set a model to training mode; with a frozen backbone, only what acts on its features.

    Then batch norm normalizes with its running statistics and does not change them, and stochastic depth is off.
    Dropout before the classifier is active: the modules that contain the classifier, the whole model among them, and
    their own dropout are in training mode, as in timm's models the classifier's dropout is in one of them.

    Args:
        model: The model.
        frozen: Whether :func:`freeze_backbone` was called.
    """
    model.train(not frozen)
    if not frozen:
        return
    classifiers = _classifiers(model)
    for module in model.modules():
        if any(part in classifiers for part in module.modules()):
            module.training = True
            for child in module.children():
                if isinstance(child, nn.Dropout):
                    child.train()


def _classifiers(model: nn.Module) -> list[nn.Module]:
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
    parts = classifier if isinstance(classifier, (tuple, list)) else [classifier]  # distilled models have two
    found = [part for part in parts if isinstance(part, nn.Module) and next(part.parameters(), None) is not None]
    if not found:
        raise WavezooError(
            "optimizer.freeze_backbone: the model has no classifier that could be trained",
            "--set optimizer.freeze_backbone=false",
        )
    return found
