"""What a database meets in its life while it is replicated: the end is always a restore that equals
it."""
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from box import NOBODY, add_rows, assert_same, count_rows, give, holds_mark_0, remove, snapshot, until


def watched(r, path):
    """Whether the replicator sleeps until this file changes."""
    inode = f" ino:{os.stat(path).st_ino:x} "
    try:
        return any(inode in f.read_text() for f in Path(f"/proc/{r.pid}/fdinfo").iterdir())
    except FileNotFoundError:  # a descriptor that was closed meanwhile
        return False


def settled(box, r, **where):
    """All is shipped, the run ends cleanly, the restore equals the database; the restored file."""
    box.wait_safe(**where)
    r.stop()
    out = box.restore()
    assert_same(where.get("db") or box.db, out)
    box.holdfast("verify", "-source", where.get("db") or box.db, box.replica)
    return out


@pytest.mark.on_disk
def test_killed_again_and_again(box):
    """kill -9 of the replicator, of the writer, or of both; a restore in between is whole; in the end
    nothing is missing."""
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    box.new_app(200).close()
    w, r = box.writer(), box.replicate("-checkpoint-pages", "30")
    for _ in range(6):
        r.wait("ship", since=r.mark(), count=rng.randint(1, 6))
        for p in rng.choice(([r], [w], [r, w], [w, r])):
            if p is r:
                r.kill()
            else:
                w.kill()
                w.wait()
        out = box.restore()
        assert count_rows(out) >= 200
        assert box.sql("PRAGMA integrity_check", db=out) == [("ok",)]
        if w.poll() is not None:
            modes = [["-checkpoint", m, "-every", "7"] for m in ("PASSIVE", "FULL", "RESTART", "TRUNCATE")]
            w = box.writer(*rng.choice([[], *modes]))
        if r.process.poll() is not None:
            r = box.replicate("-checkpoint-pages", "30")
    w.kill()
    w.wait()
    settled(box, r)


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_application_checkpoints(box, mode):
    """Right after a commit, in busy and in quiet times: none hangs behind us for more than a moment."""
    app = box.new_app(50, wal_autocheckpoint=0, busy_timeout=5000)
    r = box.replicate()
    for n in range(20):
        if n % 2:
            until(lambda: holds_mark_0(box, r) or mode == "PASSIVE", "quiet: mark 0")
        add_rows(app, 10)
        began = time.monotonic()
        app.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        took = time.monotonic() - began
        assert took < 2, f"a checkpoint took {took:.3f} s"
    settled(box, r)


def test_application_checkpoint_when_quiet_completes(box):
    app = box.new_app(50, wal_autocheckpoint=0)
    r = box.replicate()
    box.wait_safe()
    until(lambda: app.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0), "the log is emptied")
    add_rows(app, 3)
    settled(box, r)


def test_vacuum(box):
    app = box.new_app(300)
    r = box.replicate("-checkpoint-pages", "50")
    box.wait_safe()
    app.execute("DELETE FROM t WHERE id % 3")
    box.wait_safe()
    app.execute("VACUUM")
    assert app.execute("PRAGMA freelist_count").fetchone() == (0,)
    pages = app.execute("PRAGMA page_count").fetchone()[0]
    out = settled(box, r)
    assert out.stat().st_size == pages * 4096


def test_incremental_vacuum(box):
    app = box.new_app(0, auto_vacuum=2)
    add_rows(app, 300)
    r = box.replicate()
    app.execute("DELETE FROM t WHERE id > 20")
    box.wait_safe()
    app.execute("PRAGMA incremental_vacuum(5)").fetchall()
    box.wait_safe()
    app.execute("PRAGMA incremental_vacuum").fetchall()
    add_rows(app, 10)
    settled(box, r)


def test_auto_vacuum(box):
    app = box.new_app(0, auto_vacuum=1)
    add_rows(app, 300)
    r = box.replicate()
    box.wait_safe()
    app.execute("DELETE FROM t WHERE id > 20")
    settled(box, r)


def test_transaction_larger_than_the_cache(box):
    """Uncommitted pages are spilled to the log; a rollback of them is never shipped."""
    app = box.new_app(1, cache_size=10)
    r = box.replicate("-checkpoint-pages", "50")
    spilled = f"{box.db}-wal"
    for end in ("ROLLBACK", "COMMIT", "ROLLBACK"):
        app.execute("BEGIN")
        app.executemany("INSERT INTO t(v) VALUES (?)", [(os.urandom(2000).hex(),) for _ in range(300)])
        assert os.stat(spilled).st_size > 600_000
        app.execute(end)
    add_rows(app, 1)
    out = settled(box, r)
    assert count_rows(out) == 302


def test_long_write_lock(box):
    """A writer holds the write lock; what was committed before is durable meanwhile."""
    app = box.new_app()
    r = box.replicate("-checkpoint-pages", "10")
    add_rows(app, 50)
    app.execute("BEGIN IMMEDIATE")
    app.execute("INSERT INTO t(v) VALUES ('not yet')")
    box.wait_safe()
    assert count_rows(box.restore()) == 60
    app.execute("COMMIT")
    settled(box, r)


def test_long_reader(box):
    """A reader stays: the log grows, shipping goes on, and status says who is in the way."""
    app = box.new_app(20)
    reader = subprocess.Popen(
        ["sqlite3", "-readonly", str(box.db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        reader.stdin.write("BEGIN; SELECT count(*) FROM t;\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "20\n"
        r = box.replicate("-checkpoint-pages", "20")
        add_rows(app, 200)
        s = box.wait_safe()
        assert s["reader_pid"] == reader.pid and s["reader_name"] == "sqlite3"
        assert s["wal_frames"] > 200
        said = box.holdfast("status", box.db, box.replica).out
        assert f"process {reader.pid} (sqlite3)" in said
    finally:
        reader.communicate("COMMIT;\n", timeout=10)
    add_rows(app, 5)
    until(lambda: add_rows(app, 1) or box.status()["wal_frames"] < 50, "the log is short again")
    settled(box, r)


def test_replaced_by_a_restored_copy(box):
    """mv over it of a copy that is this replica's tip: it goes on."""
    box.new_app(20).close()
    r = box.replicate()
    r.wait("ship")
    until(lambda: watched(r, box.db), "the file is watched")
    out = box.restore()
    os.rename(out, box.db)
    remove(f"{box.db}-wal", f"{box.db}-shm")
    r.wait("database.replaced")
    r.wait("destination.ready", count=2)
    box.sql("INSERT INTO t(v) VALUES ('new')")
    out = settled(box, r)
    assert count_rows(out) == 21


def test_replaced_by_another_database(box):
    """mv over it of something that cannot be proven: it stops, ships nothing, says what goes on."""
    box.new_app(20).close()
    r = box.replicate()
    r.wait("ship")
    until(lambda: watched(r, box.db), "the file is watched")
    box.sql("CREATE TABLE other(x)", db=box.path / "other.db")
    r_mark = r.mark()
    os.rename(box.path / "other.db", box.db)
    remove(f"{box.db}-wal", f"{box.db}-shm")
    words = r.end(5)
    assert "UNPROVEN" in words and "-adopt-local" in words and "-adopt-replica" in words
    assert not r.events("ship", since=r_mark)
    assert count_rows(box.restore()) == 20


def test_the_log_of_a_replaced_database_is_not_taken_for_the_new_ones(box):
    """mv over it while the old log still lies there: SQLite would copy that into the new database. So nothing is
    opened before it is gone."""
    app = box.new_app(20)
    r = box.replicate("-checkpoint-pages", "30")
    add_rows(app, 200)
    box.wait_safe()
    app.close()
    until(lambda: watched(r, box.db), "the file is watched")
    box.sql("CREATE TABLE other(x)", db=box.path / "other.db")
    os.rename(box.path / "other.db", box.db)
    assert r.wait("database.old_log", patience=4)["log"] == f"{box.db}-wal"
    remove(f"{box.db}-wal", f"{box.db}-shm")
    assert "UNPROVEN" in r.end(5)
    assert box.sql("SELECT name FROM sqlite_schema") == [("other",)]


def test_deleted_and_restored(box):
    """The database is deleted: said; restored to its place: it goes on."""
    box.new_app(20).close()
    r = box.replicate()
    r.wait("ship")
    until(lambda: watched(r, box.db), "the file is watched")
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    r.wait("database.replaced")
    r.wait("database.gone", patience=4)
    box.holdfast("restore", box.replica, box.db)
    r.wait("destination.ready", count=2)
    box.sql("INSERT INTO t(v) VALUES ('new')")
    out = settled(box, r)
    assert count_rows(out) == 21


def test_deleted_while_it_has_unshipped_commits(box):
    """What was committed before the delete and not yet shipped is shipped from the deleted file."""
    app = box.new_app(20)
    r = box.replicate("-interval", "2s")
    box.wait_safe()
    add_rows(app, 20)
    image = snapshot(app)
    until(lambda: watched(r, box.db), "the file is watched")
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    r.wait("database.gone", patience=4)
    r.stop()
    assert_same(image, box.restore())


def test_deleted_right_after_a_commit_is_noticed(box):
    app = box.new_app(20)
    r = box.replicate()
    box.wait_safe()
    add_rows(app, 1)
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    r.wait("database.gone", patience=3)


def block(r, replica):
    """A file lies where the replica was; the replica, under another name."""
    moved = replica.with_name(f"{replica.name}-moved")
    with r.frozen():
        os.rename(replica, moved)
        replica.write_text("in the way")
    return moved


def retried(app, r):
    """Commits go on while the destination is away: nothing is lost, it is said and tried again."""
    for _ in range(3):
        mark = r.mark()
        add_rows(app, 20)
        said = r.wait("ship.retry", since=mark)["err"]
    return said


@pytest.mark.file_only("a file comes into the way of the directory")
def test_destination_goes_and_comes_back(box):
    app = box.new_app()
    r = box.replicate()
    box.wait_safe()
    moved = block(r, box.replica)
    assert str(box.replica) in retried(app, r)
    with r.frozen():
        box.replica.unlink()
        os.rename(moved, box.replica)
    settled(box, r)


@pytest.mark.file_only("about permissions of directories")
def test_destination_loses_and_regains_its_permissions(box):
    box.for_nobody()
    app = box.new_app()
    box.replica.mkdir()
    give(NOBODY, box.db, f"{box.db}-wal", f"{box.db}-shm", box.replica)
    r = box.replicate(user=NOBODY)
    box.wait_safe()
    directories = [d for d in (box.replica, *box.replica.rglob("*")) if d.is_dir()]
    give(0, *directories)
    assert str(box.replica) in retried(app, r)
    give(NOBODY, *directories)
    settled(box, r)


@pytest.mark.file_only("about a disk that is mounted later")
def test_unreachable_at_the_start(box):
    """The disk with the replica is mounted later."""
    app = box.new_app()
    r = box.start(to=box.path / "mount/file/replica")
    (box.path / "mount").mkdir(exist_ok=True)
    r.wait("destination.ready")
    add_rows(app, 1)
    box.wait_safe(to=box.path / "mount/file/replica")
    r.stop()


@pytest.mark.file_only("a file comes into the way of the directory")
def test_one_of_three_destinations_is_broken(box):
    """The others are not held up; at the end it is said which one lacks something."""
    app = box.new_app()
    urls = [box.path / "one", box.path / "two", box.path / "three"]
    r = box.start("-drain", "100ms", to=urls)
    for n in range(3):
        r.wait("destination.ready", to=f"file://{urls[n]}")
    block(r, urls[1])
    add_rows(app, 20)
    for good in (urls[0], urls[2]):
        box.wait_safe(to=good)
    r.wait("ship.retry", to=f"file://{urls[1]}")
    r.stop(7)
    left = r.events("stop.not_all_shipped")
    assert len(left) == 1 and str(urls[1]) in left[0]["left"]
    assert str(urls[0]) not in left[0]["left"] and str(urls[2]) not in left[0]["left"]
    for good in (urls[0], urls[2]):
        assert_same(box.db, box.restore(to=good))


def test_drain_ships_what_is_left(box):
    app = box.new_app()
    r = box.replicate("-interval", "1h")
    box.wait_safe()
    add_rows(app, 20)
    r.stop(0)
    assert_same(app.serialize(), box.restore())


def test_drain_under_a_writer_ends(box):
    """Commits go on while it stops: it still ends, and says the truth."""
    box.new_app().close()
    w = box.writer("-pause", "0")
    r = box.replicate("-drain", "300ms")
    r.wait("ship", count=3)
    r.send(signal.SIGTERM)
    code = r.process.wait(5)
    assert code in (0, 7)
    assert bool(r.events("stop.not_all_shipped")) == (code == 7)
    w.kill()


@pytest.mark.file_only("a file comes into the way of the directory")
def test_drain_is_cut_short_by_a_second_signal(box):
    """Also when both arrive before the process has looked at the first."""
    app = box.new_app()
    r = box.replicate("-drain", "1h")
    box.wait_safe()
    block(r, box.replica)
    add_rows(app, 1)
    r.wait("ship.retry")
    with r.frozen():
        r.send(signal.SIGTERM)
        r.send(signal.SIGINT)
    r.end(7)
    assert r.events("stop.not_all_shipped")


def test_runtime_directory_is_full(box):
    """The run file is a hint: without room for it the run goes on, and says so."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(box.runtime)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    try:
        (box.runtime / "ballast").write_bytes(bytes(4096))
        app = box.new_app()
        r = box.replicate()
        add_rows(app, 10)
        r.wait("run_file.failed")
        box.wait_safe()
        r.stop()
        assert_same(box.db, box.restore())
    finally:
        subprocess.run(["umount", "-l", str(box.runtime)], check=True)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_idle_run_costs_next_to_nothing(box):
    """From its first shipment to a compaction some seconds later: below a tenth of a core."""
    box.new_app()
    r = box.replicate("-levels", "2s,1h,1h")
    r.wait("ship")
    began, before = time.monotonic(), cpu_seconds(r.pid)
    r.wait("compact")
    if time.monotonic() - began < 1:  # it came at once: the next one
        box.sql("INSERT INTO t(v) VALUES ('more')")
        r.wait("compact", count=2)
    assert cpu_seconds(r.pid) - before < 0.1 * (time.monotonic() - began)


def test_one_database_by_two_names(box):
    """A symbolic link, and a second name of the same file: it is the same database."""
    box.new_app()
    r = box.replicate()
    for name, make in (("symbolic.db", os.symlink), ("hard.db", os.link)):
        make(box.db, box.path / name)
        assert f"process {r.pid}" in box.start(db=box.path / name, to=box.places / "elsewhere").end(9)
    assert not (box.places / "elsewhere").exists()


def test_locks_are_never_dropped(box):
    """A descriptor of ours on the database or its -shm would, when closed, drop all of SQLite's locks in
    the process. All that are open were opened by SQLite (with O_NOFOLLOW), and the locks stand after
    shipping, checkpoints, compactions, a snapshot, retention and a verification."""
    app = box.new_app()
    r = box.replicate("-checkpoint-pages", "20", "-snapshot", "300ms", "-verify", "300ms")
    for _ in range(10):
        add_rows(app, 10)
        box.wait_safe()
    r.wait("compact", level=9)
    r.wait("verify")
    add_rows(app, 1)
    box.wait_safe()
    opened = 0
    for fd in Path(f"/proc/{r.pid}/fd").iterdir():
        if os.readlink(fd).startswith(str(box.db)):
            flags = re.search(r"flags:\s*(\d+)", Path(f"/proc/{r.pid}/fdinfo/{fd.name}").read_text())[1]
            assert int(flags, 8) & os.O_NOFOLLOW, f"{os.readlink(fd)} is not opened by SQLite"
            opened += 1
    assert opened >= 3
    with open("/proc/locks") as f:
        held = [line.split()[-5:] for line in f if line.split()[-4] == str(r.pid)]
    db, shm = os.stat(box.db).st_ino, os.stat(f"{box.db}-shm").st_ino
    assert any(l[2].endswith(f":{db}") and l[3] == "1073741826" for l in held), held
    assert any(l[2].endswith(f":{shm}") and 123 <= int(l[3]) <= 127 for l in held), held
    settled(box, r)


def test_schema_and_tables_are_untouched(box):
    """Nothing of ours is in the database, and we never open it, its log or its index by ourselves."""
    app = box.new_app()
    app.execute("CREATE TABLE other(a PRIMARY KEY, b) WITHOUT ROWID")
    before = app.execute("SELECT * FROM sqlite_schema").fetchall(), app.execute("PRAGMA user_version").fetchall()
    image = snapshot(app)
    r = box.replicate("-checkpoint-pages", "10", "-verify", "200ms")
    r.wait("verify")
    r.stop()
    assert snapshot(app) == image
    after = app.execute("SELECT * FROM sqlite_schema").fetchall(), app.execute("PRAGMA user_version").fetchall()
    assert before == after
    assert {p.name for p in box.path.iterdir()} - {"replica"} == {"app.db", "app.db-wal", "app.db-shm", "run"}


@pytest.mark.file_only("about a directory that is moved")
def test_replica_that_is_moved_away_gets_no_successor(box):
    """An unmounted disk: what would be shipped into a new directory continues nothing."""
    app = box.new_app(20)
    r = box.replicate()
    box.wait_safe()
    away = box.path / "away"
    box.replica.rename(away)
    add_rows(app, 5)
    assert "gone" in r.wait("ship.retry")["err"]
    assert not box.replica.exists()
    away.rename(box.replica)
    settled(box, r)
    box.holdfast("verify", box.replica)
