"""The notebooks of the documentation: stored without outputs, and executed as a reader would."""

import json
import os
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
SECONDS = 120  # a documentation build executes both


def test_both_notebooks_are_found():
    assert [path.stem for path in NOTEBOOKS] == ["fine_tuning", "wavelet_convolution"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_outputs_and_named_cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


def _seconds_of_children() -> float:
    """Return the CPU time of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_two_minutes_and_writes_no_file(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("sklearn")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    temporary, working = tmp_path / "tmp", tmp_path / "docs"
    temporary.mkdir()
    working.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(working)}})
    started, used = time.monotonic(), _seconds_of_children()
    client.execute()  # ends the kernel too
    elapsed, used = time.monotonic() - started, _seconds_of_children() - used
    assert 0 < min(elapsed, used) < SECONDS  # beside other programs, the elapsed time is longer
    assert not list(working.iterdir())
    assert not list(temporary.glob("fine-tuning-*"))
