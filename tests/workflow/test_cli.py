"""The command line: verbs are frozen, load alone, and fail with one sentence."""

import argparse
import json
import signal
import subprocess
import sys
import types
from importlib import metadata

import pytest

from dtr import cli
from dtr.errors import BadConfig, Interrupted

EVERY_HELP = """
import json, os, sys
import jsonschema, pyarrow.parquet, scipy.optimize, scipy.stats, torch.distributed.fsdp  # take seconds: once for all, and nothing of ours
found = {}
for verb in sys.argv[1:]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1), os.dup2(write, 2), os.close(read)
        from dtr import cli
        try:
            cli.main([verb, "--help"])
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code)  # at once: to take torch apart takes longer than all that came before
    os.close(write)
    with open(read) as said:
        found[verb] = said.read()
    found[verb] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), found[verb]
print(json.dumps(found))
"""


def test_the_verbs_are_these():
    assert list(cli.VERBS) == [
        "fetch", "import", "export", "checkpoint", "demonstrate", "render", "score", "stability",
        "drop", "recover", "compress", "rollout", "serve", "canary", "cost", "latency",
        "cell", "table", "verdict", "pressure", "figure", "report", "estimate", "coverage", "parity", "assets",
        "check-data", "sim-check",
        "doctor", "bench", "suites", "store",
    ]  # fmt: skip


@pytest.mark.parametrize(("code", "ignored"), [(0, True), (2, False)])
def test_an_interruption_behind_the_end_does_not_undo_what_is_done(monkeypatch, code, ignored):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "run", lambda argv: code)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main([])
        assert (end.value.code, signal.getsignal(signal.SIGINT) is signal.SIG_IGN) == (code, ignored)
    finally:
        signal.signal(signal.SIGINT, before)


def test_source_that_is_bound_and_not_installed_knows_its_version(monkeypatch, capsys):
    """As in a container."""
    monkeypatch.setattr(cli, "version", lambda name: metadata.version("no such package"))
    with pytest.raises(SystemExit):
        cli.run(["--version"])
    assert capsys.readouterr().out == f"dtr {metadata.version('dtr')}\n"


@pytest.fixture(scope="module")
def helped():
    """Verb -> exit code and words of `dtr VERB --help`, each in a process that has loaded no other verb."""
    command = [sys.executable, "-c", EVERY_HELP, *cli.VERBS]
    return json.loads(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(helped, verb):
    code, said = helped[verb]
    assert code == 0, said
    assert f"dtr {verb}" in said
    wordless = [action.dest for action in actions(cli.parser([verb]), verb) if not (action.help or "").strip()]
    assert not wordless, f"`dtr {verb} --help` has no sentence for {wordless}"


def actions(parser, verb):
    """The arguments and options of one verb."""
    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return verbs.choices[verb]._actions


def test_help_says_where_to_go_on(capsys):
    for words, says in (
        (["--help"], "`dtr VERB --help` describes a verb"),
        (["recover", "--help"], "schemas/recipe.schema.json"),
        (["checkpoint", "--help"], "schemas/recipe.schema.json"),
        (["store", "--help"], "maintainers: write dvc.yaml, push what is here"),
    ):
        with pytest.raises(SystemExit):
            cli.run(words)
        assert says in " ".join(capsys.readouterr().out.split())


def test_an_unknown_verb_is_answered_with_the_nearest(capsys):
    assert cli.run(["recovery"]) == 2
    assert "did you mean 'recover'" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code", "says"), [
    (BadConfig("a sentence."), 2, "error: a sentence.\n"),
    (Interrupted("stopped at step 3."), 130, "error: stopped at step 3.\n"),
    (KeyboardInterrupt(), 130, "interrupted"),
])  # fmt: skip
def test_failures_are_one_sentence_and_a_code(monkeypatch, capsys, error, code, says):
    def add_parser(verbs):
        def run(_):
            raise error

        verbs.add_parser("cost").set_defaults(run=run)

    monkeypatch.setitem(sys.modules, "dtr.report.cost", types.SimpleNamespace(add_parser=add_parser))
    assert cli.run(["cost"]) == code
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def add_parser(verbs):
        verbs.add_parser("cost").set_defaults(run=lambda _: 1 / 0)

    monkeypatch.setitem(sys.modules, "dtr.report.cost", types.SimpleNamespace(add_parser=add_parser))
    with pytest.raises(ZeroDivisionError):
        cli.run(["cost"])


def test_help_imports_neither_torch_nor_the_simulator():
    code = "import sys, dtr.cli; dtr.cli.parser([]); sys.exit('torch' in sys.modules or 'mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
