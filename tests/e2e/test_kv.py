"""holdfast kv: a file of JSON into the key-value table and out of it, beside whoever else is there."""
import json
import os
import pty
import sqlite3
import subprocess

import pytest

from box import COMMAND
from places import NO_REPLICA

STATE = '{"node/1": {"ip":"10.0.0.1", "rx":12345678901234567890, "share":1.10},\n "hello": "w\\u00f6rld", "list":[1, 2]}'


def kv(box, *args, given=None, code=0):
    done = subprocess.run([COMMAND, "kv", *map(str, args)], input=given, env=box.env(), capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr.decode()
    return done


@NO_REPLICA
def test_what_goes_in_comes_out(box, tmp_path):
    (tmp_path / "in.json").write_text(STATE)
    said = kv(box, "import", box.db, tmp_path / "in.json").stdout.decode()
    assert said.startswith("imported 3 keys, ")
    kv(box, "export", box.db, tmp_path / "out.json")
    out = (tmp_path / "out.json").read_text()
    assert json.loads(out) == json.loads(STATE)
    assert '"rx":12345678901234567890, "share":1.10' in out and '"w\\u00f6rld"' in out
    again = kv(box, "export", box.db, "-").stdout.decode()
    assert again == out
    kv(box, "import", tmp_path / "copy.db", "-", given=again.encode())
    assert kv(box, "export", tmp_path / "copy.db", "-").stdout.decode() == out


@NO_REPLICA
def test_options_of_an_import(box):
    kv(box, "import", "-prefix", "a/", "-text", box.db, "-", given=b'{"k": "plain", "n": 1}')
    with sqlite3.connect(box.db) as c:
        assert c.execute("SELECT Key, Value FROM DBX ORDER BY Key").fetchall() == [("a/k", "plain"), ("a/n", "1")]
        c.execute("INSERT INTO DBX VALUES ('b', 2)")
    kv(box, "import", "-replace", "-prefix=a/", box.db, "-", given=b'{"new": 3}')
    assert kv(box, "export", box.db, "-").stdout == b'{\n"a/new": 3,\n"b": 2\n}\n'
    assert kv(box, "export", "-prefix", "a", box.db, "-").stdout == b'{\n"a/new": 3\n}\n'


@NO_REPLICA
@pytest.mark.parametrize("arguments, given, code, words", [
    ([], b"", 2, "kv needs import or export"),
    (["imprt", "DB", "-"], b"", 2, "kv needs import or export"),
    (["import", "DB"], b"", 2, "kv needs a database and a file"),
    (["import", "DB", "-", "x"], b"", 2, "one argument too many"),
    (["import", "-prefx", "a", "DB", "-"], b"", 2, "did you mean -prefix?"),
    (["export", "-replace", "DB", "-"], b"", 2, "-replace is an option of kv import"),
    (["export", "-text", "DB", "-"], b"", 2, "-text is an option of kv import"),
    (["import", "-prefix", "\udcff", "DB", "-"], b"{}", 2, "not UTF-8"),
    (["import", "NEW", "missing.json"], b"", 3, "missing.json"),
    (["import", "NEW", "."], b"", 2, "it is a directory"),
    (["import", "no/dir/a.db", "-"], b"{}", 3, "no/dir"),
    (["export", "NEW", "-"], b"", 3, "new.db"),
    (["export", "DB", "there.json"], b"", 5, "it exists already"),
    (["import", "DB", "-"], b'{"there": 1}', 5, "the key 'there' was there already"),
    (["import", "DB", "-"], b'{"a": 1, "a": 2}', 5, "standard input: byte 9: the key 'a' is twice in it"),
    (["import", "DB", "-"], b'{"a": 1', 4, "byte 7: it ends in the middle"),
    (["import", "DB", "-"], b"", 4, "byte 0: it is empty"),
    (["import", "-replace", "DB", "-"], b'{"a": tru}', 4, "byte 6: 'a': its value is not JSON"),
    (["import", "there.json", "-"], b"{}", 4, "not a database"),
])
def test_what_is_wrong_is_said_and_changes_nothing(box, tmp_path, monkeypatch, arguments, given, code, words):
    monkeypatch.chdir(tmp_path)
    kv(box, "import", box.db, "-", given=b'{"there": 0}')
    (tmp_path / "there.json").write_text("not a database, not even JSON " * 100)
    names = {"DB": box.db, "NEW": tmp_path / "new.db"}
    said = kv(box, *[names.get(a, a) for a in arguments], given=given, code=code)
    assert words in said.stderr.decode(errors="replace") and said.stdout == b""
    assert kv(box, "export", box.db, "-").stdout == b'{\n"there": 0\n}\n'
    assert not (tmp_path / "new.db").exists()


@NO_REPLICA
def test_an_output_that_cannot_be_written_is_a_failure(box):
    kv(box, "import", box.db, "-", given=b'{"a": 1}')
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, "kv", "export", box.db, "-"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 or done.returncode == 6 or b"No space" in done.stderr
    assert done.returncode != 0


@NO_REPLICA
def test_an_application_reads_on_while_keys_are_imported(box):
    app = box.new_app(10)
    reader = sqlite3.connect(box.db)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (10,)
    rows = ",".join(f'"k{i}": "{"x" * 1000}"' for i in range(2000))
    kv(box, "import", box.db, "-", given=f"{{{rows}}}".encode())
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (10,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM DBX").fetchone() == (2000,)
    app.execute("DELETE FROM DBX WHERE Key > 'k1'")


def test_a_running_replicator_ships_an_import_like_any_commit(box):
    box.new_app(10)
    r = box.replicate()
    box.wait_safe()
    kv(box, "import", box.db, "-", given=STATE.encode())
    out = kv(box, "export", box.db, "-").stdout
    box.wait_safe()
    assert not r.events("sync.retry")
    r.stop()
    assert kv(box, "export", box.restore(), "-").stdout == out


@NO_REPLICA
def test_progress_is_shown_on_a_terminal(box):
    """With a total and without one; the bar is gone at the end."""
    rows = ",".join(f'"k{i}": "{"x" * 1000}"' for i in range(60000))
    box.db.with_name("in.json").write_text(f"{{{rows}}}")
    for file, given in ((box.db.with_name("in.json"), None), ("-", f"{{{rows}}}".encode())):
        ours, theirs = pty.openpty()
        p = subprocess.Popen([COMMAND, "kv", "import", "-replace", box.db, file], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=theirs, env=box.env())
        os.close(theirs)
        out, _ = p.communicate(given, timeout=60)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:
            pass
        os.close(ours)
        assert p.returncode == 0 and out.startswith(b"imported 60000 keys, ")
        assert (b"of 60" in shown) == (given is None) and b"MB/s" in shown, shown
        assert shown.endswith(b"\r\x1b[K")
