import time

from wavenet_zoo.runtime import progress
from wavenet_zoo.runtime.progress import Progress


def test_work_done_before_counts_as_done_and_not_as_speed(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("training", 1000, done=900) as bar:
        time.sleep(0.1)
        bar.advance(10, "loss 1.0")
    line = capsys.readouterr().err
    assert line.startswith("training: 910/1000 images  loss 1.0")
    speed = int(line.split(" images/s")[0].split()[-1])
    assert 1 <= speed <= 100  # 10 images in at least 0.1 s


def test_speed_is_that_of_the_last_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("training", 10**6, enabled=False) as bar:
        for _ in range(10):
            now[0] += 1
            bar.advance(100)
        now[0] += 600  # a machine that slept
        for _ in range(100):
            now[0] += 1
            bar.advance(50)
        assert round(bar._rate()) == 50
