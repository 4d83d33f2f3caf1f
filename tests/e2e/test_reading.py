"""Restore, list, verify and status beside a running 'replicate' that ships, compacts and deletes all the
time: each of them works, at any moment."""
import contextlib
import sqlite3

from box import add_rows, assert_same, count_rows, remove, until

def busily(box):
    """Nothing is there for long: for a reader of files some of its steps, for one of a bucket some of its
    requests."""
    if box.places == box.path:
        interval, levels, snapshot, keep = "5ms", "20ms,60ms,200ms", "100ms", "1ms"
    else:
        interval, levels, snapshot, keep = "50ms", "200ms,600ms,2s", "1s", "3s"
    return ["-interval", interval, "-levels", levels, "-snapshot", snapshot, "-keep-level0", keep, "-keep-snapshots", keep]


def rounds(box, count):
    return range(count if box.places == box.path else count // 5)


def busy(box):
    """A replica in which nothing stays where it is for long."""
    box.new_app(20).close()
    r = box.replicate(*busily(box))
    w = box.writer()
    r.wait("retention")
    return r, w


def test_restore_while_objects_come_and_go(box):
    r, w = busy(box)
    rows = 0
    for _ in rounds(box, 10):
        out = box.restore()
        assert box.sql("PRAGMA integrity_check", db=out) == [("ok",)]
        assert count_rows(out) >= rows
        rows = count_rows(out)
        remove(out)
    w.kill()
    w.wait()
    box.wait_safe()
    assert_same(box.db, box.restore())
    r.stop()


def test_verify_while_objects_come_and_go(box):
    r, w = busy(box)
    for _ in rounds(box, 10):
        box.holdfast("verify", box.replica)
        box.holdfast("verify", "-source", box.db, box.replica)
    r.stop(code=0)


def test_status_and_list_while_objects_come_and_go(box):
    r, w = busy(box)
    for _ in rounds(box, 20):
        s = box.status(code=None)
        assert s["state"] in ("safe", "late") and s["class"] == "continues", s
        assert s["replicator_pid"] == r.pid
        assert box.list()


def test_restore_points_of_a_run_are_what_was_there(box):
    """Every TXID that list shows restores, and each holds a prefix of what was committed."""
    app = box.new_app(1)
    r = box.replicate("-levels", "100ms,1h,1h", "-keep-level0", "1h")
    box.wait_safe()  # what was there has a TXID of its own
    for _ in range(15):
        add_rows(app, 1)
        box.wait_safe()
    r.wait("compact", level=1)
    r.stop()
    want = [row for row in app.execute("SELECT * FROM t ORDER BY id")]
    seen = []
    for txid in sorted({f["txid"] for f in box.list()})[1:]:
        out = box.restore("-txid", txid)
        with contextlib.closing(sqlite3.connect(out)) as c:
            rows = c.execute("SELECT * FROM t ORDER BY id").fetchall()
        assert rows == want[: len(rows)]
        seen.append(len(rows))
    assert seen == sorted(seen) and seen[-1] == len(want) and len(set(seen)) == 16


def test_by_time_gives_what_was_committed_before_it(box):
    app = box.new_app(1)
    r = box.replicate()
    for _ in range(10):
        add_rows(app, 1)
        box.wait_safe()
    r.stop()
    slots = [f for f in box.list() if f["level"] == 0]
    for before, at in zip(slots[1:], slots[2:]):
        out = box.restore("-timestamp", at["time"])
        assert out.read_bytes() == box.restore("-txid", before["txid"]).read_bytes()


def test_pruned_state_is_named(box):
    """Retention has taken it: the nearest that are kept are said."""
    app = box.new_app(1)
    r = box.replicate(*busily(box))

    def pruned():
        add_rows(app, 1)
        newest = box.wait_safe()["txid"]
        kept = {f["txid"] for f in box.list()}
        return [n for n in range(2, newest) if n not in kept]

    until(pruned, "a state is gone")
    r.stop()
    kept = {f["txid"] for f in box.list()}
    gone = next(n for n in range(2, max(kept)) if n not in kept)
    said = box.restore("-txid", gone, code=3).err
    assert f"TXID {gone} cannot be restored" in said
    near = [int(w.strip(";.,")) for w in said.split("nearest that can are")[1].split() if w.isdigit()]
    for n in near:
        box.restore("-txid", n)
