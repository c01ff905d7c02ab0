"""Help texts: every command has examples that parse, and the words are those of the field."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from wavenet_zoo.cli._options import WORKERS_HELP
from wavenet_zoo.cli.main import cli
from wavenet_zoo.data.workers import MAX_WORKERS, default_workers
from wavenet_zoo.errors import WavezooError

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PACKAGE = REPOSITORY / "wavenet_zoo"

# words of a private dialect, and what the field says (CONTRIBUTING.md has the glossary)
DIALECT = {
    r"\bgo(es|ing)? on\b": "resume, continue",
    r"\bin (the )?place of\b": "override, instead of, default",
    r"\bwhat there is\b|\bthat there are\b|\bthere (is|are) no\b": "available, not supported, not found",
    r"\bat hand\b|\bnot here\b": "cached, not downloaded, on this machine",
    r"\bsays? of (it)?self\b|\bof themselves\b": "metadata",
    r"\bknown of\b": "metadata, provenance",
    r"\bstands here\b": "duplicate key",
    r"\b(left|leaves?|leave) out\b": "skip, ignore",
    r"\bmade? again\b|\bmake again\b": "reproduce",
    r"\bother systems?\b": "baseline, peer",
    r"\bby heart\b": "regularization",
    r"\bthe one before it\b": "previous checkpoint",
    r"\bothers wait\b": "barrier",
    r"\b(is|are) another\b": "mismatch",
    r"\bhas to be\b|\bhave to be\b": "must be",
    r"\brides? in\b|\blies? in\b|\bcomes? to\b": "is shipped with, is in, is",
    r"\btells? apart\b|\bgoes? without saying\b|\bgo without saying\b": "distinguishes, is the default",
}


def commands(command, path=()):
    """Yield every command below a group with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


ALL = {" ".join(path): command for path, command in commands(cli)}
RUNNABLE = [name for name, command in ALL.items() if not isinstance(command, click.Group)]


def help_of(name):
    context = None
    for word, part in zip(["wavezoo", *name.split()], [cli, *parents(name)]):
        context = click.Context(part, info_name=word, parent=context, terminal_width=10_000, max_content_width=10_000)
    return context.command.get_help(context)


def parents(name):
    words = name.split()
    return [ALL[" ".join(words[: i + 1])] for i in range(len(words))]


def parse(line):
    """Parse an example as the shell and click would, without running it."""
    words = shlex.split(line, comments=True)
    if words[0] == "torchrun":
        words = ["wavezoo", *words[words.index("wavenet_zoo") + 1 :]]
    assert words[0] == "wavezoo", line
    command, context, rest = cli, cli.make_context("wavezoo", words[1:]), words[1:]
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
        rest = rest if not isinstance(command, click.Group) else rest[:]
    return context


@pytest.mark.parametrize("name", list(ALL))
def test_help_has_examples_that_parse(name):
    command, text = ALL[name], f"{help_of(name)}\n"
    assert command.examples and "Examples:" in text
    for example in command.examples:
        assert f"  {example}\n" in text and f" {name}" in example
        parse(example.rpartition("| ")[2])  # the command of a pipe


def test_example_with_a_wrong_option_does_not_parse():
    with pytest.raises(WavezooError, match="no option '--no-such-option'"):
        parse("wavezoo eval waveletnet_x1 --no-such-option")


@pytest.mark.parametrize("name", RUNNABLE)
def test_help_of_every_option_is_one_line(name):
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert len(parameter.help or "") <= 140, (parameter.name, parameter.help)


def test_help_of_workers_states_the_default_of_the_code(monkeypatch):
    assert f"at most {MAX_WORKERS}" in WORKERS_HELP
    assert all(WORKERS_HELP in help_of(name) for name in ("eval", "train", "ablate"))
    monkeypatch.setattr("wavenet_zoo.data.workers.available_cpus", lambda: 64)
    assert default_workers(in_memory=False) == MAX_WORKERS and default_workers(in_memory=True) == 0
    monkeypatch.setattr("wavenet_zoo.data.workers.available_cpus", lambda: 4)
    assert [default_workers(False, processes) for processes in (1, 2, 8)] == [4, 2, 1]


def words_of_the_package():
    """Yield (place, text) of help texts, docstrings, errors and log messages."""
    for name, command in ALL.items():
        yield f"wavezoo {name} --help", help_of(name) if name else cli.get_help(click.Context(cli))
        if not isinstance(command, click.Group):
            yield from ((f"{name}: {p.name}", getattr(p, "help", None) or "") for p in command.params)
    for path in sorted(PACKAGE.rglob("*.py")):
        if "layers" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield f"{path}: {getattr(node, 'name', 'module')}", ast.get_docstring(node) or ""
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called.endswith(("Error", "BadParameter")) or called.startswith(("logger.", "output.info")):
                    for constant in ast.walk(node):
                        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                            yield f"{path}:{constant.lineno}", constant.value


def dialect_in(texts):
    found = []
    for place, text in texts:
        text = " ".join(text.split())
        for pattern, better in DIALECT.items():
            if match := re.search(pattern, text, re.IGNORECASE):
                around = text[max(0, match.start() - 40) : match.end() + 40]
                found.append(f"{place}: '{match[0]}' in '{around}': {better}")
    return found


def test_texts_use_the_words_of_the_field():
    assert not dialect_in(words_of_the_package())


DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "results/*.md")
    for path in REPOSITORY.glob(pattern)
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_use_the_words_of_the_field(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    text = re.sub(r"## Glossary.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
    assert not dialect_in((f"{name}:{i}", line) for i, line in enumerate(re.split(r"\n\n|\n- ", text)))


def command_lines(text):
    """Yield the wavezoo commands in the shell blocks of a document, continued lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r".*(&&|\|) (?=wavezoo )", "", line)
            if line.startswith(("wavezoo ", "torchrun ")):
                yield line


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_documents_parse(name):
    for line in command_lines((REPOSITORY / name).read_text(encoding="utf-8")):
        parse(line)


def test_command_with_a_wrong_option_in_a_document_is_found():
    lines = list(command_lines("```sh\ncd x && wavezoo eval m \\\n    --no-such-option\n```\n"))
    assert lines == ["wavezoo eval m      --no-such-option"]
    with pytest.raises(WavezooError, match="no option '--no-such-option'"):
        parse(lines[0])
