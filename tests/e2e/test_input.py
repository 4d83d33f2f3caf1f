"""Bad input: a clear error that names the thing, its exit code; nothing lost, nothing half-written."""
import json
import os
import re
import subprocess

import pytest

from box import COMMAND, NOBODY, add_rows, assert_same, contents, give, shown
from places import NO_REPLICA


def replicated(box, slots=4):
    """A replica of some level-0 slots, nothing compacted; everything is stopped."""
    app = box.new_app(20)
    r = box.replicate("-levels", "1h,1h,1h")
    box.wait_safe()
    for _ in range(slots - 2):
        app.execute("INSERT INTO t(v) SELECT hex(randomblob(40)) FROM t LIMIT 20")
        box.wait_safe()
    r.stop()
    app.close()


# ---- databases ----


def text(box):
    box.db.write_text("This is not the database that you are looking for. " * 100)


def encrypted(box):
    box.db.write_bytes(os.urandom(8192))


def damaged(offset, value):
    def damage(box):
        box.new_app(50).close()
        image = bytearray(box.db.read_bytes())
        image[offset : offset + len(value)] = value
        box.db.write_bytes(image)

    return damage


def cut_short(box):
    box.new_app(200).close()
    os.truncate(box.db, 4096 * 3)


BAD = {
    "text": (text, 4, "not an SQLite database"),
    "encrypted": (encrypted, 4, "not an SQLite database, or encrypted"),
    "magic": (damaged(0, b"SQLite format 4\0"), 4, "not an SQLite database"),
    "page size": (damaged(16, b"\x03\x01"), 4, "not an SQLite database"),
    "too new": (damaged(18, b"\x09\x09"), 4, "not an SQLite database"),
    "cut short": (cut_short, 4, "malformed|cut short|shorter"),
    "directory": (lambda box: box.db.mkdir(), 2, "a directory"),
    "missing": (lambda box: None, 3, "No such file"),
    "name too long": (lambda box: setattr(box, "db", box.path / ("n" * 300)), 1, "too long"),
    "fifo": (lambda box: os.mkfifo(box.db), 2, "not a regular file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_no_database(box, kind):
    make, code, words = BAD[kind]
    make(box)
    before = contents(box.path)
    said = box.start().end(code)
    assert str(box.db) in said and re.search(words, said), said
    assert not box.replica.exists() or contents(box.replica) == {}
    after = contents(box.path)
    assert {k: v for k, v in after.items() if k in before} == before
    assert str(box.db) in box.holdfast("status", box.db, box.replica, code=2).out


def test_database_that_may_not_be_read(box):
    box.for_nobody()
    box.new_app(5).close()
    os.chmod(box.db, 0o600)
    said = box.start(user=NOBODY).end(1)
    assert str(box.db) in said and "permission" in said.lower()


def test_database_that_may_not_be_written(box):
    box.for_nobody()
    box.new_app(5).close()
    os.chmod(box.db, 0o644)
    said = box.start(user=NOBODY).end(1)
    assert str(box.db) in said and "permission" in said


def test_directory_that_may_not_be_written(box):
    """The database may be, but SQLite cannot make -wal and -shm beside it."""
    box.for_nobody()
    home = box.path / "home"
    home.mkdir(mode=0o755)
    box.db = home / "app.db"
    box.new_app(5).close()
    give(NOBODY, box.db)
    said = box.start(user=NOBODY).end(1)
    assert str(box.db) in said


def test_locked_exclusively(box):
    app = box.new_app(5)
    app.execute("PRAGMA locking_mode=EXCLUSIVE")
    add_rows(app, 1)
    said = box.start().end(9)
    assert str(box.db) in said and "locked" in said
    app.execute("PRAGMA locking_mode=NORMAL")
    add_rows(app, 1)
    assert not box.replica.exists()


def test_rollback_journal_in_use(box):
    """Not in WAL mode, and somebody reads: it cannot be switched now."""
    app = box.app()
    app.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
    add_rows(app, 5)
    app.execute("BEGIN")
    app.execute("SELECT * FROM t").fetchone()
    said = box.start().end(9)
    assert str(box.db) in said and "WAL" in said
    app.execute("COMMIT")
    assert app.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# ---- URLs ----

URLS = [
    ("fiel:///backup/app", 2, "fiel.*did you mean.*file"),
    ("s4://bucket/app", 2, "s4.*did you mean.*s3"),
    ("gopher://host/app", 2, "gopher"),
    ("file:///backup/app?region=eu", 2, "region"),
    ("", 2, "empty"),
]


@NO_REPLICA
@pytest.mark.parametrize("url,code,words", URLS, ids=[u[0] or "empty" for u in URLS])
def test_url(box, url, code, words):
    box.new_app(5)
    for args in (["replicate", box.db, url], ["restore", url, "out.db"], ["list", url], ["verify", url]):
        said = box.holdfast(*args, code=code).err
        assert re.search(words, said), said
    assert not (box.path / "out.db").exists()


@NO_REPLICA
def test_bucket_without_an_endpoint_is_amazons_by_https(box, monkeypatch):
    """A proxy that is not there keeps it on this machine."""
    for name, value in {"https_proxy": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    said = box.holdfast("list", "s3://bucket/app?region=eu-north-1", code=None, patience=30).err
    assert "https://bucket.s3.eu-north-1.amazonaws.com: Failed to connect to 127.0.0.1 port 1" in said


@pytest.mark.file_only("a file in the place of the directory")
def test_replica_that_is_a_file(box):
    box.new_app(5)
    box.replica.write_text("a file")
    for args in (["replicate", box.db, box.replica], ["restore", box.replica, "out.db"], ["list", box.replica]):
        said = box.holdfast(*args, code=2).err
        assert str(box.replica) in said and "not a directory" in said


@pytest.mark.file_only("about permissions of directories")
def test_replica_that_may_not_be_read(box):
    box.for_nobody()
    replicated(box)
    for d in (box.replica, box.replica / "ltx", box.replica / "ltx/0"):
        os.chmod(d, 0o700)
    for args in (["restore", box.replica, "out.db"], ["list", box.replica], ["verify", box.replica]):
        said = box.holdfast(*args, code=1, user=NOBODY).err
        assert str(box.replica) in said and "permission" in said.lower()


@pytest.mark.file_only("about permissions of directories")
def test_replica_that_may_not_be_written(box):
    """It is said, and tried again: whoever mends it need not start it anew."""
    box.for_nobody()
    box.new_app(5)
    give(NOBODY, box.path, box.db, f"{box.db}-wal", f"{box.db}-shm")
    box.replica.mkdir(mode=0o755)
    r = box.start(user=NOBODY)
    said = r.wait("fence.retry")["err"]
    assert str(box.replica) in said and "permission" in said.lower()
    give(NOBODY, box.replica)
    r.wait("destination.ready")
    box.wait_safe()
    r.stop()


# ---- the output of a restore ----


@pytest.mark.parametrize("what", ["", "-wal", "-shm", "-journal"])
def test_output_in_the_way(box, what):
    replicated(box)
    out = box.path / "out.db"
    there = box.path / f"out.db{what}"
    there.write_text("mine")
    said = box.holdfast("restore", box.replica, out, code=2).err
    assert str(there) in said
    assert there.read_text() == "mine"
    assert [p.name for p in box.path.glob("*out.db*")] == [there.name]


def test_output_that_is_a_directory(box):
    replicated(box)
    (box.path / "out.db").mkdir()
    said = box.holdfast("restore", box.replica, box.path / "out.db", code=2).err
    assert str(box.path / "out.db") in said


def test_output_in_no_directory(box):
    replicated(box)
    said = box.holdfast("restore", "-if-replica-exists", box.replica, box.path / "none/out.db", code=1).err
    assert f"{box.path / 'none'}: No such file or directory" in said
    assert not (box.path / "none").exists()


@pytest.mark.file_only("about permissions of directories")
def test_output_in_a_directory_that_may_not_be_written(box):
    box.for_nobody()
    replicated(box)
    give(NOBODY, box.replica, *box.replica.rglob("*"))
    (box.path / "home").mkdir(mode=0o755)
    said = box.holdfast("restore", box.replica, box.path / "home/out.db", code=1, user=NOBODY).err
    assert str(box.path / "home") in said and "permission" in said.lower()


def test_options_that_make_nothing_of_it(box):
    replicated(box)
    out = box.path / "out.db"
    none = box.places / "none"
    said = box.holdfast("restore", "-if-replica-exists", none, out).out
    assert shown(none) in said and not out.exists()
    box.holdfast("restore", "-if-db-not-exists", box.replica, out)
    before = out.read_bytes()
    assert "exists" in box.holdfast("restore", "-if-db-not-exists", box.replica, out).out
    assert out.read_bytes() == before


# ---- targets ----


def test_no_backup(box):
    (box.places / "empty").mkdir()
    for url in (box.places / "none", box.places / "empty"):
        for args in (["restore", url, "out.db"], ["list", url], ["verify", url]):
            said = box.holdfast(*args, code=3).err
            assert shown(url) in said and "no backup" in said
    assert not (box.places / "none").exists() and not (box.path / "out.db").exists()


def test_txid_beyond_the_end(box):
    replicated(box)
    said = box.restore("-txid", "1000", code=3).err
    assert "1000" in said and "the last that can is 4" in said


def test_time_before_the_first_backup(box):
    replicated(box)
    said = box.restore("-timestamp", "2001-01-01T00:00:00Z", code=3).err
    assert f"the first is of {box.list()[0]['time']}" in said


def test_time_of_a_middle_state(box):
    replicated(box)
    slots = [f for f in box.list() if f["level"] == 0]
    assert_same(box.restore("-txid", 3).read_bytes(), box.restore("-timestamp", slots[3]["time"]))


# ---- disks that are full ----


@pytest.fixture
def small_disk(box):
    """4 MB."""
    disk = box.path / "small"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_disk_full_at_restore(box, small_disk):
    app = box.new_app(1)
    app.execute("BEGIN")
    app.executemany("INSERT INTO t(v) VALUES (?)", ((os.urandom(3000).hex(),) for _ in range(1000)))
    app.execute("COMMIT")
    r = box.replicate()
    box.wait_safe()
    r.stop()
    said = box.holdfast("restore", box.replica, small_disk / "out.db", code=1).err
    assert "space" in said and str(small_disk) in said
    assert list(small_disk.iterdir()) == []


@pytest.mark.file_only("the disk of the replica is full")
def test_disk_full_at_the_replica(box, small_disk):
    """It is said and tried again; with room it goes on, and nothing half-written stays."""
    app = box.new_app(20)
    to = small_disk / "replica"
    ballast = small_disk / "ballast"
    r = box.replicate("-levels", "1h,1h,1h", to=to)
    box.wait_safe(to=to)
    with open(ballast, "wb") as f:
        f.write(bytes(3 << 20))
    before = set(contents(to))
    for _ in range(20):
        app.execute("BEGIN")
        app.executemany("INSERT INTO t(v) VALUES (?)", ((os.urandom(3000).hex(),) for _ in range(30)))
        app.execute("COMMIT")
    said = r.wait("ship.retry")["err"]
    assert "space" in said and str(to) in said
    ballast.unlink()
    box.wait_safe(to=to)
    r.stop()
    assert_same(box.db, box.restore(to=to))
    assert all(name in before or re.search(r"[0-9a-f]{16}\.ltx$", name) for name in contents(to))


def test_disk_of_the_database_full(box, small_disk):
    """The application's writes fail; what was committed is safe."""
    box.db = small_disk / "app.db"
    app = box.new_app(20)
    r = box.replicate()
    with pytest.raises(Exception, match="full|disk I/O"):
        for _ in range(1000):
            app.execute("INSERT INTO t(v) VALUES (?)", (os.urandom(10000).hex(),))
    box.wait_safe()
    r.stop()
    assert_same(app.serialize(), box.restore())


# ---- words that are no text ----


def test_an_answer_in_json_is_one_whatever_a_path_holds(box):
    """Of words that are not UTF-8 it has what comes before."""
    replicated(box)
    odd = os.fsdecode(b"odd-\xff")
    for code, *args in (
        (0, "restore", "-json", box.replica, odd),
        (3, "restore", "-json", odd + "/none", "out"),
        (3, "list", "-json", odd + "/none"),
        (3, "verify", "-json", odd + "/none"),
        (2, "status", "-json", odd + "/none", box.replica),
        (0, "doctor", "-json", odd + "-too/replica"),
    ):
        done = subprocess.run([COMMAND, *map(str, args)], env=box.env(), capture_output=True, cwd=box.path)
        assert done.returncode == code and b"odd-" in done.stdout and json.loads(done.stdout), (args, done)
