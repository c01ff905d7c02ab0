import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
from pathlib import Path
from wavenet_zoo.runtime.figures import new_figure, save_figure
save_figure(new_figure(1, 1), Path("f.png"))
print(os.environ["MPLBACKEND"])
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_do_not_depend_on_the_backend_of_a_notebook(tmp_path, backend):
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**os.environ, "MPLBACKEND": backend}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert finished.stderr == "" and finished.stdout.split() == [backend]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
