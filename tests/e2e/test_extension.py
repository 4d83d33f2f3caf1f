"""The extension holdfast.so in an SQLite that knows nothing of Holdfast: Python's own."""
import contextlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from box import COMMAND, add_rows, count_rows, remove, until

EXTENSION = pathlib.Path(COMMAND).parent / "src/ext/holdfast.so"
LIBRARY = pathlib.Path(COMMAND).parent / "libholdfast.so.0"
SLOW = ["-interval", "1h"]
WAIT = "SELECT holdfast_wait()"

pytestmark = pytest.mark.skipif(not EXTENSION.exists(), reason="built without the extension")


@pytest.fixture(autouse=True)
def same_runtime(box, monkeypatch):
    """The extension looks where the command of this box does."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(box.runtime))
    monkeypatch.delenv("HOLDFAST_SOCKET", raising=False)


def load(c):
    c.enable_load_extension(True)
    c.load_extension(str(EXTENSION))
    return c


def asked(c, sql, *args):
    return c.execute(sql, args).fetchone()[0]


def refused(c, sql, *args):
    """What the error says."""
    with pytest.raises(sqlite3.OperationalError) as e:
        c.execute(sql, args).fetchall()
    return str(e.value)


def lock_away(box):
    """The replica takes nothing: what is waited for stays open."""
    box.replica.rename(box.path / "away")
    box.replica.write_text("in the way")


def come_back(box):
    box.replica.unlink()
    (box.path / "away").rename(box.replica)


# ---- what it is ----


@pytest.mark.file_only("about the file itself")
def test_it_links_no_sqlite_and_shows_one_name():
    def names(*options):
        done = subprocess.run(["nm", "-D", *options, EXTENSION], capture_output=True, text=True, check=True)
        return [line.split()[-1] for line in done.stdout.splitlines()]

    assert [n for n in names("--undefined-only") if n.startswith(("sqlite3", "hf_"))] == []
    assert names("--defined-only") == ["sqlite3_holdfast_init"]
    needed = subprocess.run(["ldd", EXTENSION], capture_output=True, text=True, check=True).stdout
    assert "libsqlite3" not in needed and "libcurl" not in needed and "libholdfast" not in needed


# ---- good ----


def test_wait_returns_1_when_the_row_is_in_the_replica(box):
    app = load(box.new_app())
    box.replicate()
    for n in range(5):
        add_rows(app, 1)
        assert asked(app, WAIT) == 1
        assert count_rows(box.restore()) == 11 + n


def test_wait_with_flush_does_not_wait_for_the_interval(box):
    app = load(box.new_app())
    box.replicate(*SLOW)
    for _ in range(3):
        add_rows(app, 1)
        assert asked(app, "SELECT holdfast_wait(5000, 'flush')") == 1
    assert asked(app, "SELECT holdfast_wait(0)") == 1
    assert asked(app, "SELECT holdfast_wait(NULL, NULL)") == 1
    assert count_rows(box.restore()) == 13


def test_position_can_be_waited_for_elsewhere(box):
    app = load(box.new_app())
    box.replicate()
    add_rows(app, 1)
    before = asked(app, "SELECT holdfast_position()")
    add_rows(app, 1)
    assert asked(app, "SELECT holdfast_position()") != before
    box.holdfast("wait", "-position", before, box.db)
    assert count_rows(box.restore()) >= 11


def test_status_is_json_of_the_replicator(box):
    app = load(box.new_app())
    box.replicate()
    asked(app, WAIT)
    status = json.loads(asked(app, "SELECT holdfast_status()"))
    assert status["database"] == str(box.db) and status["destinations"][0]["safe"]


def test_connection_that_has_not_read_yet_may_wait(box):
    box.new_app()
    box.replicate()
    c = load(box.app())
    assert asked(c, WAIT) == 1


def test_connection_may_come_by_another_name_of_the_file(box):
    box.new_app()
    box.replicate()
    (box.path / "link.db").symlink_to(box.db)
    c = load(box.app(db=box.path / "link.db"))
    assert asked(c, WAIT) == 1
    c = load(sqlite3.connect(f"file:{box.db}?mode=rw", uri=True))
    box.stack.callback(c.close)
    assert asked(c, WAIT) == 1


@pytest.mark.file_only("a directory is moved away")
def test_no_lock_is_held_while_it_waits(box):
    """But for that of an open -shm. What reads a table meanwhile holds one: this test would see it."""
    app = load(box.new_app())
    r = box.replicate()
    asked(app, WAIT)
    lock_away(box)
    add_rows(app, 1)
    inode, answers = os.stat(f"{box.db}-shm").st_ino, []

    def locks():
        with open("/proc/locks") as f:
            lines = [l.split()[-5:] for l in f]
        return sorted(l[3:] for l in lines if l[1] == str(os.getpid()) and l[2].endswith(f":{inode}"))

    def wait(sql):
        with contextlib.closing(load(sqlite3.connect(box.db))) as c:
            answers.append(c.execute(sql).fetchone())

    def start(sql, others):
        t = threading.Thread(target=wait, args=[sql])
        t.start()
        until(lambda: r.waiting() == others + 1, "it waits")
        return t

    before = locks()
    threads = [start(WAIT, 0)]
    assert locks() == before == [["128", "128"]]
    threads.append(start("SELECT holdfast_wait() FROM t LIMIT 1", 1))
    assert locks() != before
    box.sql("INSERT INTO t(v) VALUES ('another writer')")
    come_back(box)
    for t in threads:
        t.join(10)
    assert answers == [(1,), (1,)]


@pytest.mark.file_only("the replica is the same")
def test_source_in_the_process_is_asked_first(box):
    """No socket is there: only the library's source can have answered."""
    script = f"""
import ctypes, sqlite3, json
from ctypes import byref, c_char_p, c_void_p
hf = ctypes.CDLL({str(LIBRARY)!r}, mode=ctypes.RTLD_{{}})
hf.hf_errmsg.restype = c_char_p
def must(code): assert code == 0, hf.hf_errmsg()
store = c_void_p()
must(hf.hf_store_open(b"app.db", None, byref(store)))
c = sqlite3.connect("app.db", isolation_level=None)
c.enable_load_extension(True)
c.load_extension({str(EXTENSION)!r})
def ask(sql): return c.execute(sql).fetchone()[0]
try: ask("SELECT holdfast_wait()")
except sqlite3.OperationalError as e: assert "no replicator" in str(e), e
else: raise AssertionError("nobody replicates it")
must(hf.hf_store_replicate(store, (c_char_p * 2)(b"replica", None), None))
c.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v TEXT)")
for n in range(20):
    c.execute("INSERT INTO t(v) VALUES (?)", (n,))
    assert ask("SELECT holdfast_wait(5000, 'flush')") == 1
assert json.loads(ask("SELECT holdfast_status()"))["destinations"][0]["safe"]
assert ask("SELECT holdfast_wait(0)") == 1
import os; os.kill(os.getpid(), 9)
"""
    if not LIBRARY.exists():
        pytest.skip("built without the library")
    for mode in ("LOCAL", "GLOBAL"):
        argv = [sys.executable, "-c", script.replace("RTLD_{}", f"RTLD_{mode}").replace("{{}}", "{}")]
        done = subprocess.run(argv, cwd=box.path, env=box.env(), capture_output=True, text=True, timeout=30)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert count_rows(box.restore()) == 40


# ---- bad ----


@pytest.mark.file_only("arguments are not about replicas")
@pytest.mark.parametrize(
    "sql, words",
    [
        ("SELECT holdfast_wait('1000')", "0 to 86400000"),
        ("SELECT holdfast_wait(1.5)", "0 to 86400000"),
        ("SELECT holdfast_wait(-1)", "0 to 86400000"),
        ("SELECT holdfast_wait(86400001)", "0 to 86400000"),
        ("SELECT holdfast_wait(x'00')", "0 to 86400000"),
        ("SELECT holdfast_wait(1, 'now')", "'flush'"),
        ("SELECT holdfast_wait(1, 1)", "'flush'"),
        ("SELECT holdfast_wait(1, 'flush', 2)", "number of arguments"),
        ("SELECT holdfast_position(1)", "number of arguments"),
        ("SELECT holdfast_status(1)", "number of arguments"),
        ("INSERT INTO t(v) SELECT holdfast_wait()", "usage: inside of a statement that writes"),
        ("UPDATE t SET v = holdfast_wait() WHERE id = 1", "usage: inside of a statement that writes"),
        ("SELECT * FROM v", "unsafe use"),
        ("DELETE FROM t", "unsafe use"),
        ("SELECT holdfast_wait(1)", "no replicator: nobody"),
        ("SELECT holdfast_status()", "no replicator: nobody"),
    ],
)
def test_what_cannot_be_asked(box, sql, words):
    app = load(box.new_app())
    app.execute("CREATE VIEW v AS SELECT holdfast_wait()")
    app.execute("CREATE TRIGGER d AFTER DELETE ON t BEGIN SELECT holdfast_wait(); END")
    assert words in refused(app, sql)
    assert asked(app, "SELECT count(*) FROM t") == 10 and not app.in_transaction


def test_wait_inside_of_a_transaction_is_refused(box):
    app = load(box.new_app())
    box.replicate()
    for begin in ("BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT s"):
        app.execute(begin)
        assert "usage: inside of a transaction" in refused(app, WAIT)
        assert "usage: inside of a transaction" in refused(app, "SELECT holdfast_position()")
        app.execute("COMMIT" if begin != "SAVEPOINT s" else "RELEASE s")
    assert asked(app, WAIT) == 1


@pytest.mark.file_only("about databases that have no replica")
@pytest.mark.parametrize("name", [":memory:", ""])
def test_database_that_is_no_file(box, name):
    c = load(sqlite3.connect(name, isolation_level=None))
    box.stack.callback(c.close)
    c.execute("CREATE TABLE t(x)")
    for sql in (WAIT, "SELECT holdfast_position()", "SELECT holdfast_status()"):
        assert "usage: the main database is in memory" in refused(c, sql)


@pytest.mark.file_only("about databases that have no replica")
def test_database_that_is_not_in_wal_mode(box):
    c = load(box.app())
    c.execute("CREATE TABLE t(x)")
    assert "usage: " in refused(c, WAIT) and "WAL mode" in refused(c, WAIT)


def test_attached_database_is_not_the_one_that_is_waited_for(box):
    box.new_app()
    box.replicate()
    c = load(box.app(db=":memory:"))
    c.execute(f"ATTACH '{box.db}' AS other")
    c.execute("INSERT INTO other.t(v) VALUES ('x')")
    assert "in memory" in refused(c, WAIT)


def test_connection_to_a_database_that_was_replaced_is_not_told_that_it_is_safe(box):
    """What it commits goes into a file without a name."""
    app = load(box.new_app())
    r = box.replicate()
    asked(app, WAIT)
    new = box.restore()
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    new.rename(box.db)
    r.wait("destination.ready", count=2, patience=20)
    add_rows(app, 1)
    assert "not found: " in refused(app, "SELECT holdfast_wait(3000)")
    box.holdfast("wait", box.db)


@pytest.mark.file_only("a directory is moved away")
def test_timeout_says_so(box):
    app = load(box.new_app())
    box.replicate()
    asked(app, WAIT)
    lock_away(box)
    add_rows(app, 1)
    for sql in ("SELECT holdfast_wait(100)", "SELECT holdfast_wait(0)", "SELECT holdfast_wait(50, 'flush')"):
        words = refused(app, sql)
        assert words.startswith("timeout: ") and str(box.replica) in words
    come_back(box)
    assert asked(app, WAIT) == 1


def test_replicator_that_is_stopped(box):
    app = load(box.new_app())
    r = box.replicate()
    asked(app, WAIT)
    with r.frozen():
        assert refused(app, "SELECT holdfast_wait(100)").startswith("timeout: ")
    assert asked(app, WAIT) == 1


def test_fenced(box):
    app = load(box.new_app())
    r = box.replicate()
    asked(app, WAIT)
    copy, there = box.copy("copy.db"), box.path / "there"
    there.mkdir()
    with r.frozen():
        box.replicate("-take-over", db=copy, runtime=there)
        add_rows(app, 1)
    words = refused(app, "SELECT holdfast_wait(9000, 'flush')")
    assert words.startswith(("fenced: ", "no replicator: "))
    r.end(5)
    assert refused(app, WAIT).startswith("no replicator: ")


@pytest.mark.file_only("a directory is moved away")
def test_replicator_that_is_killed_meanwhile(box):
    app = load(box.new_app())
    r = box.replicate()
    asked(app, WAIT)
    lock_away(box)
    add_rows(app, 1)
    threading.Timer(0.2, r.kill).start()
    assert refused(app, WAIT).startswith("no replicator: ")


@pytest.mark.file_only("about the environment")
def test_socket_of_another_database_is_not_believed(box, monkeypatch):
    app = load(box.new_app())
    other = box.path / "other.db"
    box.sql("PRAGMA journal_mode=WAL", "CREATE TABLE t(x)", db=other)
    place = box.path / "s"
    box.replicate("-socket", place, db=other)
    monkeypatch.setenv("HOLDFAST_SOCKET", str(place))
    assert "is not the database" in refused(app, WAIT)


@pytest.mark.file_only("about the environment")
@pytest.mark.parametrize("place", ["none", "text", "/"])
def test_environment_that_names_no_socket(box, monkeypatch, place):
    app = load(box.new_app())
    (box.path / "text").write_text("no socket")
    monkeypatch.setenv("HOLDFAST_SOCKET", str(box.path / place))
    assert refused(app, WAIT).startswith("no replicator: ")
    box.replicate()
    assert asked(app, WAIT) == 1


# ---- what it is for ----

APPLICATION = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
c.enable_load_extension(True)
c.load_extension(sys.argv[2])
n = c.execute("SELECT count(*) FROM t").fetchone()[0]
while True:
    c.execute("INSERT INTO t(v) VALUES (?)", (f"row {n}",))
    c.execute(sys.argv[3]).fetchone()
    n += 1
    print(n, flush=True)
"""


@pytest.mark.on_disk
@pytest.mark.parametrize("seed", range(3))
def test_what_was_waited_for_survives_the_loss_of_everything(box, seed):
    """Both are killed and every local file goes, five times."""
    rng = random.Random(seed)
    box.new_app(rows=1).close()
    for n in range(5):
        replicator = box.replicate("-interval", rng.choice(["1ms", "50ms"]), "-take-over")
        wait = rng.choice([WAIT, "SELECT holdfast_wait(9000, 'flush')"])
        argv = [sys.executable, "-c", APPLICATION, box.db, EXTENSION, wait]
        app = subprocess.Popen(argv, env=box.env(), stdout=subprocess.PIPE, text=True)
        box.stack.callback(app.kill)
        acknowledged = [int(app.stdout.readline())]
        reader = threading.Thread(target=lambda: acknowledged.extend(int(l) for l in app.stdout))
        reader.start()
        time.sleep(rng.random() * 0.15)
        victims = [app.pid, replicator.pid]
        rng.shuffle(victims)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        app.wait()
        reader.join()
        app.stdout.close()
        replicator.kill()
        for f in box.path.glob("app.db*"):
            f.unlink()
        box.forget_run()
        out = box.restore()
        assert count_rows(out) >= acknowledged[-1], f"round {n}"
        out.rename(box.db)
