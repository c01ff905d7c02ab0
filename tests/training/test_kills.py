"""Thirty kills at moments that nobody chose."""

import json
import subprocess
import sys

import pytest

from wavenet_zoo import ablate, train

pytestmark = [pytest.mark.long, pytest.mark.reliability(1)]
KILLS = 30
EVERYTHING = [
    *("schedule.epochs=40", "batch_size=20", "optimizer.name=adamw", "optimizer.lr=1e-3", "accumulation=2"),
    *("ema.decay=0.9", "schedule.name=cosine", "augmentation.mixup=0.2", "augmentation.random_erasing=0.3"),
]

# imports everything once, then forks for every attempt, and kills it; what is done before the last kill begins anew
KILLER = """
import json, os, random, signal, sys, time
import timm, wavenet_zoo
from wavenet_zoo import ablate, train

settings = json.loads(sys.argv[1])
function = {"train": train, "ablate": ablate}[settings["function"]]
moments, kills, folders = random.Random(7), 0, 1
while kills < settings["kills"]:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        function(**settings["arguments"], out=f"{settings['out']}/{folders}")
        os._exit(0)
    time.sleep(moments.uniform(0.05, 0.9))
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        assert status == 0
        folders += 1
        continue
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
print(folders)
"""


def killed_30_times(function, out, **arguments):
    """Return the folders of what was killed, the last of them not yet done."""
    settings = {"function": function, "kills": KILLS, "out": out, "arguments": arguments}
    command = [sys.executable, "-c", KILLER, json.dumps(settings, default=str)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr
    return [out / str(number + 1) for number in range(int(finished.stdout.split()[-1]))]


def test_a_run_killed_30_times_at_random_ends_like_one_that_was_left_alone(small_digits, tmp_path, assert_same_outcome):
    settings = dict(recipe_path="digits", data=small_digits, overrides=EVERYTHING, workers=0)
    train(out=tmp_path / "whole", **settings)
    for folder in killed_30_times("train", tmp_path / "killed", checkpoint_minutes=0, **settings):
        train(out=folder, **settings)
        assert_same_outcome(tmp_path / "whole", folder)


def test_an_ablation_killed_30_times_at_random_ends_like_one_that_was_left_alone(small_digits, tmp_path):
    settings = dict(
        data=small_digits, overrides=["schedule.epochs=20", "batch_size=50"], no_dfwt=True, seeds=1, workers=0
    )
    whole = ablate(out=tmp_path / "whole", **settings)
    for folder in killed_30_times("ablate", tmp_path / "killed", **settings):
        killed = ablate(out=folder, **settings)
        for arm, other in zip(whole.arms, killed.arms, strict=True):
            assert arm.error == other.error
            assert [run["weights_sha256"] for run in arm.runs] == [run["weights_sha256"] for run in other.runs]
        assert not list(folder.rglob(".*.tmp"))
