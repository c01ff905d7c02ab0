"""``python -m wavenet_zoo`` is ``wavezoo``."""

from wavenet_zoo.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="wavezoo")
