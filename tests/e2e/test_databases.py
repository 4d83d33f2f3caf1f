"""Databases of every make: each is replicated while it changes, and restored as it is."""
import os

import pytest

from box import add_rows, assert_same, count_rows, snapshot


def follow(box, r, c, statements):
    for s in statements:
        c.execute(s)
        box.wait_safe()
    image = snapshot(c)
    r.stop()
    out = box.restore()
    assert_same(image, out)
    box.holdfast("verify", "-source", box.db, box.replica)
    return out


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_page_size(box, size):
    app = box.new_app(20, page_size=size)
    assert app.execute("PRAGMA page_size").fetchone() == (size,)
    r = box.replicate("-checkpoint-pages", "20")
    out = follow(box, r, app, ["INSERT INTO t(v) SELECT v FROM t", "DELETE FROM t WHERE id % 2", "VACUUM"])
    assert box.list()[-1]["txid"] > 1
    assert box.sql("PRAGMA page_size", db=out) == [(size,)]


def test_frames_for_older_litestream(box):
    app = box.new_app(20)
    r = box.replicate("-frames")
    follow(box, r, app, ["INSERT INTO t(v) SELECT v FROM t"])


def test_attached_databases(box):
    """One transaction over two files, each replicated by itself."""
    two, there = box.path / "two.db", box.places / "replica-two"
    app = box.new_app()
    app.execute(f"ATTACH '{two}' AS two")
    app.execute("PRAGMA two.journal_mode=WAL")
    app.execute("CREATE TABLE two.t(id INTEGER PRIMARY KEY, v)")
    r1, r2 = box.replicate(), box.replicate(db=two, to=there)
    for n in range(20):
        app.execute("BEGIN")
        app.execute("INSERT INTO t(v) VALUES (?)", (n,))
        app.execute("INSERT INTO two.t(v) VALUES (?)", (n,))
        app.execute("COMMIT")
    box.wait_safe()
    box.wait_safe(db=two, to=there)
    r1.stop()
    r2.stop()
    assert_same(box.db, box.restore())
    assert_same(two, box.restore(to=there))


def test_empty_file(box):
    """0 bytes, as an application leaves it that has opened it and written nothing."""
    box.db.touch()
    r = box.replicate()
    app = box.app()
    follow(box, r, app, ["CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT INTO t(v) VALUES (1)"])


def test_empty_file_stays_empty(box):
    box.db.touch()
    r = box.replicate()
    r.stop()
    out = box.restore()
    assert box.sql("SELECT count(*) FROM sqlite_schema", db=out) == [(0,)]


def test_no_tables(box):
    app = box.app()
    app.execute("PRAGMA journal_mode=WAL")
    app.execute("PRAGMA user_version=7")
    r = box.replicate()
    out = follow(box, r, app, ["PRAGMA user_version=8"])
    assert box.sql("PRAGMA user_version", db=out) == [(8,)]


@pytest.mark.parametrize("mode", ["DELETE", "TRUNCATE", "PERSIST"])
def test_rollback_journal_is_switched_to_wal(box, mode):
    """It is said, and an application that has it open goes on."""
    app = box.app(journal_mode=mode)
    app.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
    add_rows(app, 5)
    r = box.replicate()
    r.wait("database.switched_to_wal", db=box.db)
    add_rows(app, 5)
    assert app.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    out = follow(box, r, app, ["INSERT INTO t(v) VALUES ('x')"])
    assert count_rows(out) == 11


def test_in_wal_mode_nothing_is_switched(box):
    box.new_app()
    r = box.replicate()
    assert not r.events("database.switched_to_wal")


