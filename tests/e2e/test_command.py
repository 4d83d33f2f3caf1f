"""The command line: help, options, and what is said about a wrong one."""
import re
import subprocess

import pytest

from box import COMMAND
from places import NO_REPLICA

COMMANDS = ["replicate", "restore", "list", "verify", "status"]


@NO_REPLICA
@pytest.mark.parametrize("dashes", ["-h", "-help", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_option_and_an_example(box, command, dashes):
    said = box.holdfast(command, dashes).out
    assert said.startswith(f"holdfast {command}") and re.search(rf"\n  holdfast {command} .*/backup/app", said)


@NO_REPLICA
def test_help_of_all(box):
    for ask in ("-h", "--help", "-help", "help"):
        said = box.holdfast(ask).out
        assert all(re.search(rf"^  holdfast {c} ", said, re.M) for c in COMMANDS)


@NO_REPLICA
def test_version(box):
    for ask in ("--version", "-version", "version"):
        assert re.fullmatch(r"holdfast \d+\.\d+\.\d+\n", box.holdfast(ask).out)


@NO_REPLICA
def test_every_option_of_the_help_is_taken(box):
    """With one dash and with two: the option is known, whatever else is wrong."""
    for command in COMMANDS:
        for name in re.findall(r"(?<=[ \[])-([a-z][a-z0-9-]+)", box.holdfast(command, "-h").out):
            for dashes in ("-", "--"):
                said = box.holdfast(command, f"{dashes}{name}", code=2).err
                assert "unknown option" not in said, f"{command} {dashes}{name}: {said}"


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_options_take_their_value_either_way(box, dashes):
    box.new_app(5)
    r = box.replicate(f"{dashes}snapshot", "1h", f"{dashes}keep-snapshots=2h", f"{dashes}log=logfmt")
    box.wait_safe()
    r.stop()
    box.restore(f"{dashes}txid=1", f"{dashes}json")
    box.restore(f"{dashes}txid", "0000000000000002")
    box.restore(f"{dashes}timestamp", "0s ago", f"{dashes}parallel=2")


WRONG = [
    ([], "holdfast COMMAND -h"),
    (["replicat"], "no command 'replicat': did you mean 'replicate'\\?.*holdfast replicate "),
    (["backup"], "no command 'backup' .*holdfast replicate "),
    (["replicate", "--intervall=5s", "app.db", "r"], "unknown option: --intervall=5s: did you mean -interval\\?"),
    (["restore", "-time-stamp", "x", "r", "o"], "unknown option: -time-stamp: did you mean -timestamp\\?"),
    (["replicate", "app.db", ""], "an argument is empty: replicate needs"),
    (["restore", "r", ""], "an argument is empty: restore needs a URL and an output"),
    (["list", "a", "b"], "'b' is one argument too many: list needs a URL"),
    (["status", "a", "b", "c"], "'c' is one argument too many"),
    (["replicate"], "a database and at least one URL"),
    (["replicate", "app.db"], "a database and at least one URL"),
    (["replicate", "-frobnicate", "app.db", "r"], "unknown option.*-frobnicate"),
    (["replicate", "-interval"], "-interval needs a value"),
    (["replicate", "-interval", "300y", "app.db", "r"], "-interval: '300y'"),
    (["replicate", "-drain", "99999999d", "app.db", "r"], "-drain: '99999999d'"),
    (["replicate", "-interval", "soon", "app.db", "r"], "-interval: 'soon' is not.* 250ms"),
    (["replicate", "-interval", "0", "app.db", "r"], "-interval: '0'"),
    (["replicate", "-interval", "-5s", "app.db", "r"], "-interval: '-5s'"),
    (["replicate", "-checkpoint-pages", "1", "app.db", "r"], "-checkpoint-pages: '1' is not.* from 10 "),
    (["replicate", "-levels", "1s,2s", "app.db", "r"], "-levels: '1s,2s'"),
    (["replicate", "-levels", "1s,2s,3s,4s", "app.db", "r"], "-levels: '1s,2s,3s,4s'"),
    (["replicate", "-log", "xml", "app.db", "r"], "-log: 'xml' is not.* human, logfmt or json"),
    (["replicate", "-adopt-local", "-adopt-replica", "app.db", "r"], "-adopt-local and -adopt-replica exclude"),
    (["restore"], "a URL and an output"),
    (["restore", "r"], "a URL and an output"),
    (["restore", "r", "a", "b"], "'b' is one argument too many: restore needs a URL and an output"),
    (["restore", "-txid", "0", "r", "out.db"], "-txid: '0'"),
    (["restore", "-txid", "many", "r", "out.db"], "-txid: 'many' is not.* 16 hex"),
    (["restore", "-timestamp", "yesterday", "r", "out.db"], "-timestamp: 'yesterday' is not.* ago"),
    (["restore", "-timestamp", "2026-13-01T00:00:00Z", "r", "out.db"], "-timestamp: '2026-13-01T00:00:00Z'"),
    (["restore", "-timestamp", "2026-02-30T00:00:00Z", "r", "out.db"], "-timestamp: '2026-02-30T00:00:00Z'"),
    (["restore", "-timestamp", "1970-01-01T00:00:00Z", "r", "out.db"], "-timestamp: '1970-01-01T00:00:00Z'"),
    (["restore", "-timestamp", "2026-02-20", "r", "out.db"], "-timestamp: '2026-02-20'"),
    (["restore", "-timestamp", "2026-02-20T10:00:00", "r", "out.db"], "-timestamp: '2026-02-20T10:00:00'"),
    (["restore", "-parallel", "0", "r", "out.db"], "-parallel: '0'"),
    (["restore", "-parallel", "3x", "r", "out.db"], "-parallel: '3x'"),
    (["restore", "-txid", "2", "-timestamp", "1m ago", "r", "out.db"], "-txid and -timestamp exclude"),
    (["restore", "-fast-forward", "-txid", "2", "r", "out.db"], "-fast-forward"),
    (["restore", "-frobnicate", "r", "out.db"], "unknown option.*-frobnicate"),
    (["list"], "needs a URL"),
    (["list", "-x", "r"], "unknown option.*-x"),
    (["verify"], "needs a URL"),
    (["verify", "-source"], "-source needs a value"),
    (["status", "app.db"], "a database and a URL"),
    (["status", "-late", "never", "app.db", "r"], "-late: 'never' is not.* 250ms"),
]


@NO_REPLICA
@pytest.mark.parametrize("args,words", WRONG, ids=[" ".join(a) or "nothing" for a, _ in WRONG])
def test_wrong_arguments(box, args, words):
    """Exit 2, the thing is named, and how it is used; nothing is made."""
    said = box.holdfast(*args, code=2).err
    assert re.search(words, said.replace("\n", " ")), said
    assert "-h" in said
    assert [p.name for p in box.path.iterdir()] == ["run"]


def test_log_formats(box):
    import json

    box.new_app(5)
    for form in ("json", "human"):
        r = box.start("-log", form)
        box.wait_safe()
        r.stop()
        lines = [e["words"] for e in r.log if e["event"] is None]
        if form == "json":
            assert {"time", "event", "db"} <= json.loads(lines[0]).keys()
            ships = [e for e in map(json.loads, lines) if e["event"] == "ship"]
            assert ships and all(type(e["txid"]) is int and type(e["to"]) is str for e in ships)
        else:
            assert re.match(r"\d\d:\d\d:\d\d\.\d\d\dZ start db=", lines[0])


def test_an_answer_that_cannot_be_written_is_an_error(box):
    box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    r.stop()
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [COMMAND, "list", str(box.replica)], stdout=full, stderr=subprocess.PIPE, text=True, env=box.env()
        )
    assert ended.returncode == 1 and "standard output" in ended.stderr
