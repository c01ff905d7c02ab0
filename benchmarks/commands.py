"""Run commands that print JSON, and format rows of wavezoo bench as a Markdown table."""

import json
import os
import subprocess
import sys

WAVEZOO = [sys.executable, "-m", "wavenet_zoo"]


def run(command: list, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
    """Show a command on stderr and run it. Stop if it fails.

    Args:
        command: Program and arguments.
        stderr: ``subprocess.PIPE`` to return its stderr too, which is shown otherwise.
    """
    words = [str(word) for word in command]
    print("$", *(word.strip().partition("\n")[0] for word in words), file=sys.stderr)  # the first line of a program
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=stderr, text=True)


def json_of(command: list) -> dict:
    """Run a command. Return the JSON that it prints."""
    result: dict = json.loads(run(command).stdout)
    return result


def wavezoo(*arguments: object) -> dict:
    """Run a command of wavezoo. Return its result."""
    return json_of([*WAVEZOO, *arguments, "--json"])


def json_and_peak(command: list) -> tuple[dict, int]:
    """Run a command. Return the JSON that it prints, and its peak memory in bytes."""
    print("$", *command[:3], "...", file=sys.stderr)
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(text), usage.ru_maxrss * 1024


def bench_table(result: dict) -> str:
    """Return the rows of wavezoo bench as Markdown."""
    lines = [
        f"| {row['engine']} | {row['batch_size']} | {row['model']} | {row['form']} | {row['median_ms']:.2f} | "
        f"{row['p90_ms']:.2f} | {row['images_per_second']:,.1f} | {row['ratio']:.3f} | "
        f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f} | {_forms(row['forms'])} |"
        for row in result["rows"]
    ]
    head = (
        "| engine | batch | model | form | median, ms | p90, ms | images/s | ratio | quartiles | forms of the units |"
    )
    rules = "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    return "\n".join([head, rules, *lines, "", f"{result['threads']} threads; {versions_of(result)}."])


def versions_of(result: dict) -> str:
    """Return the versions of libraries and engines of a result of wavezoo bench."""
    versions = {**result["environment"]["versions"], **result["versions"]}
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _forms(forms: dict[str, str]) -> str:
    counts = {form: list(forms.values()).count(form) for form in sorted(set(forms.values()))}
    return ", ".join(f"{count} {form}" for form, count in counts.items()) or "-"
