"""Print the lowest version of each dependency in pyproject.toml as a pip constraint."""

import re
from pathlib import Path

import tomllib  # requires Python 3.11

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirements in [project["dependencies"], *project["optional-dependencies"].values()]:
    for requirement in requirements:
        if floor := re.match(r"([A-Za-z0-9_-]+)(?:\[.*\])?>=([0-9.]+)", requirement):
            print(f"{floor[1]}=={floor[2]}")
