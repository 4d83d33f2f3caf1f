"""Old and new SQLite around one database: Debian's, which has the WAL-reset bug, and one without it.

The application and Holdfast each bring their own; what they share is the file, its log and its locks.
"""
import os
import pathlib
import sqlite3
import subprocess
import sys

import pytest

import box as house
import parts
from box import assert_same

HERE = pathlib.Path(__file__).resolve().parent
BUILD = parts.fixed_sqlite()
SEED = int.from_bytes(os.urandom(3), "big")


def library(kind):
    return {"LD_LIBRARY_PATH": str(BUILD)} if kind == "new" else {}


class Writer:
    def __init__(self, box, kind, seed):
        argv = [sys.executable, HERE / "checkpointing_writer.py", box.db, str(seed)]
        self.process = subprocess.Popen(
            argv, env=os.environ | library(kind), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        box.stack.callback(self.process.wait)
        box.stack.callback(self.process.kill)
        self.version = self.process.stdout.readline().strip()

    def begin(self):
        print("go", file=self.process.stdin, flush=True)

    def done(self):
        return int(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(house.PATIENCE) == 0


@pytest.mark.parametrize(
    "holdfast, applications", [("old", ["new"]), ("new", ["old"]), ("new", ["new"]), ("old", ["old", "new"])]
)
def test_two_versions_of_sqlite_share_a_database(box, monkeypatch, holdfast, applications):
    if holdfast == "new":
        monkeypatch.setattr(house, "COMMAND", str(BUILD / "holdfast"))
    print(f"seed {SEED}")
    box.new_app(rows=1).close()
    writers = [Writer(box, kind, SEED + n) for n, kind in enumerate(applications)]
    assert [w.version != sqlite3.sqlite_version for w in writers] == [kind == "new" for kind in applications]

    def round_of_all():
        for w in writers:
            w.begin()
        return [w.done() for w in writers]

    options = ["-checkpoint-pages", "50"]
    r = box.replicate(*options)
    for _ in range(3):
        round_of_all()
    box.wait_safe()
    for w in writers:
        w.begin()
    r.kill()  # in the middle of a round
    for w in writers:
        w.done()
    r = box.replicate(*options)
    round_of_all()
    r.stop()
    round_of_all()  # without it
    r = box.replicate(*options)
    round_of_all()
    box.wait_safe()
    box.holdfast("verify", "-source", box.db, box.replica)
    r.stop()
    for w in writers:
        w.end()

    assert_same(pathlib.Path(f"{box.db}.image").read_bytes(), box.restore())
    restored = box.restore()
    assert_same(box.db, restored)
    assert house.count_rows(restored) > 100


@pytest.mark.file_only("about what loads the extension")
@pytest.mark.parametrize("extension", [pathlib.Path(house.COMMAND).parent, BUILD], ids=["old headers", "new headers"])
@pytest.mark.parametrize("kind", ["old", "new"])
def test_extension_loads_into_either_and_waits(box, kind, extension):
    """It was compiled with the headers of one, and calls the SQLite that loads it."""
    script = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.enable_load_extension(True)
c.load_extension(sys.argv[2])
print(sqlite3.sqlite_version)
for n in range(20):
    c.execute("INSERT INTO t(v) VALUES (?)", (f"row {n}",))
    assert c.execute("SELECT holdfast_wait(5000, 'flush')").fetchone() == (1,)
for sql in ("BEGIN; SELECT holdfast_wait()", "SELECT holdfast_wait(-1)", "INSERT INTO t(v) SELECT holdfast_wait()"):
    try:
        for part in sql.split(";"):
            c.execute(part).fetchall()
    except sqlite3.OperationalError as e:
        assert "usage: " in str(e), e
        if c.in_transaction:
            c.execute("ROLLBACK")
    else:
        raise AssertionError(sql)
"""
    box.new_app(rows=1).close()
    box.replicate()
    done = subprocess.run(
        [sys.executable, "-c", script, box.db, extension / "src/ext/holdfast.so"],
        env=box.env() | library(kind), capture_output=True, text=True, timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() != sqlite3.sqlite_version) == (kind == "new")
    assert house.count_rows(box.restore()) == 21
