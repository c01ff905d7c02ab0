"""Forms of WaveletNet's units by name: check, summarize, read and write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import UNFOLDED_FORMS, UNIT_FORMS
from wavenet_zoo.runtime.records import read_json, write_json

__all__ = ["check_form", "check_unfolded_form", "one_form", "read_forms", "save_forms", "summarize_forms"]

FORMS_HINT = "'wavezoo bench MODEL --batch 1 --save-forms FILE' writes a file of forms"


def check_form(form: str) -> None:
    """Check that a form is one of :data:`UNIT_FORMS`, ``auto``, or the path of a json file.

    Raises:
        WavezooError: If it is none of them.
    """
    choices = (*UNIT_FORMS, "auto")
    if form not in choices and not form.endswith(".json"):
        hint = did_you_mean(form, choices, f"use {', '.join(choices)} or a json file")
        raise WavezooError(f"unknown form '{form}'", hint)


def check_unfolded_form(form: str, when: str) -> None:
    """Check that units whose batch norms are not folded can compute in a form.

    Args:
        form: The form.
        when: When it is used, for the hint: ``without folding`` or ``for training``.

    Raises:
        WavezooError: If the form is unknown or requires folding.
    """
    if form not in UNFOLDED_FORMS:
        check_form(form)
        raise WavezooError(f"form '{form}' requires folding", f"{when} use {' or '.join(UNFOLDED_FORMS)}")


def one_form(forms: str | Mapping[str, str]) -> str:
    """Return the form of all units, ``mixed`` if they differ, or ``dense`` for a network without units."""
    if isinstance(forms, str):
        return forms
    different = set(forms.values())
    return different.pop() if len(different) == 1 else "mixed" if different else "dense"


def summarize_forms(forms: Mapping[str, str]) -> str:
    """Return the number of units in each form as text: ``13 dense, 4 split2``."""
    counts = {form: sum(value == form for value in forms.values()) for form in UNIT_FORMS}
    return ", ".join(f"{count} {form}" for form, count in counts.items() if count) or "no WaveletNet units"


def save_forms(path: Path, forms: Mapping[str, str], measured_on: Mapping[str, Any]) -> None:
    """Write the form of every unit, by name, as JSON.

    Args:
        path: The file.
        forms: Form of every unit.
        measured_on: What they were measured on; stored beside them.
    """
    write_json(path, {**measured_on, "forms": dict(forms)})


def read_forms(path: Path) -> dict[str, str]:
    """Read the forms that :func:`save_forms` wrote.

    Raises:
        WavezooError: If the file cannot be read, or does not contain forms.
    """
    forms = read_json(path, FORMS_HINT).get("forms")
    if not isinstance(forms, dict) or not all(isinstance(form, str) for form in forms.values()):
        raise WavezooError(f"{path}: not a file of forms", FORMS_HINT)
    return forms
