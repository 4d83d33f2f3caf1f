"""Who may append: every class of docs/design.md "start-up classes", reached by a real run.

A database that may not append ships nothing: the replica is byte for byte what it was, the command says
which side holds what and what goes on, and what it says then works.
"""
import json
import os
import shutil

import pytest

from box import ROOT, add_rows, assert_same, contents, copy_replica, count_rows, quieten, remove, snapshot, until, url, word


def shipped(box, *args, rows=10):
    """A database that has been replicated to its end; its connection is open, nothing else runs."""
    app = box.new_app(rows)
    r = box.replicate(*args)
    box.wait_safe()
    r.stop()
    return app


def lost_tail(box):
    """The state `before` of a database (a path), from a moment at which it was durable, and its replica,
    which went on. No run file, as after a power loss."""
    app = box.new_app(5)
    r = box.replicate("-keep-level0", "1h")  # no slot is gone before its successor is there
    box.wait_safe()
    before = box.copy("before.db")
    add_rows(app, 5)
    box.wait_safe()
    r.stop()
    app.close()
    box.after = box.restore()
    box.put_back(before)
    box.forget_run()
    return before


def newest(box):
    return max(f["txid"] for f in box.list())


def goes_on(box, klass, *args, **where):
    """A run with `args` is let in as `klass`; then the replica follows the database."""
    r = box.replicate(*args, **where)
    assert r.ready["class"] == klass
    box.sql("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t(v) VALUES ('after')")
    box.wait_safe()
    r.stop()
    assert_same(box.db, box.restore())
    box.holdfast("verify", box.replica)


def test_new_database_begins_a_replica(box):
    box.new_app()
    goes_on(box, "new")
    assert [f["txid"] for f in box.list() if f["level"] == 0][:1] == [1]


def test_restart_continues(box):
    shipped(box)
    goes_on(box, "continues")


def test_restart_continues_after_writes_in_between(box):
    app = shipped(box)
    add_rows(app, 20)
    goes_on(box, "continues")


def test_killed_run_continues(box):
    """kill -9 between commits; the application goes on."""
    app = box.new_app()
    r = box.replicate()
    box.wait_safe()
    r.kill()
    add_rows(app, 5)
    goes_on(box, "continues")


def test_killed_run_continues_over_a_reset_of_the_log(box):
    """kill -9 when all is checkpointed: the next commit begins the log anew."""
    app = box.new_app()
    r = box.replicate("-checkpoint-pages", "50")
    box.wait_safe()
    quieten(box, app, r)
    frames = box.status()["wal_frames"]
    r.kill()
    add_rows(app, 5)
    assert box.status()["wal_frames"] < frames
    goes_on(box, "continues")


def test_application_that_ran_alone_is_ahead(box):
    app = shipped(box)
    for _ in range(3):
        add_rows(app, 5)
        app.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    add_rows(app, 5)
    goes_on(box, "ahead")


def test_application_that_ran_alone_and_closed_is_ahead(box):
    app = shipped(box)
    app.close()
    for _ in range(3):
        box.sql("INSERT INTO t(v) VALUES ('alone')")
    goes_on(box, "ahead")


def test_ahead_is_not_fast_forwarded(box):
    app = shipped(box)
    app.close()
    for _ in range(3):
        box.sql("INSERT INTO t(v) VALUES ('alone')")
    before = contents(box.path)["app.db"]
    said = box.holdfast("restore", "-fast-forward", url(box.replica), box.db, code=5).err
    assert "commits that the replica" in said and contents(box.path)["app.db"] == before


def test_reboot_after_a_clean_end_continues_as_equal(box):
    shipped(box).close()
    box.forget_run()
    goes_on(box, "equal")


def test_restored_in_place_goes_on_as_equal(box):
    shipped(box).close()
    out = box.restore()
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    os.rename(out, box.db)
    goes_on(box, "equal")


def test_copy_elsewhere_is_refused_until_it_takes_over(box):
    shipped(box)
    other = box.restore()
    words = box.refused(db=other, runtime=box.path / "run", code=5)
    assert "FOREIGN" in words and str(box.db) in words and str(other) in words
    assert f"holdfast replicate -take-over {other} {word(box.replica)}" in words
    r = box.replicate("-take-over", db=other)
    assert r.ready["class"] == "equal"


def test_power_loss_is_behind(box):
    lost_tail(box)
    words = box.refused(code=6)
    assert "BEHIND" in words and str(box.db) in words and url(box.replica) in words
    assert f"holdfast restore -fast-forward {word(box.replica)} {box.db}" in words
    assert f"holdfast replicate -adopt-local {box.db} {word(box.replica)}" in words


def test_fast_forward_at_the_tip_leaves_nothing_behind(box):
    shipped(box).close()
    before = sorted(p.name for p in box.path.glob("app.db*"))
    assert before == ["app.db"]
    said = box.holdfast("restore", "-fast-forward", box.replica, box.db).out
    assert "at the replica's tip already" in said
    assert sorted(p.name for p in box.path.glob("app.db*")) == before


def test_behind_fast_forwards(box):
    lost_tail(box)
    box.holdfast("restore", "-fast-forward", url(box.replica), box.db)
    assert_same(box.after, box.db)
    goes_on(box, "equal")


def test_behind_adopted_keeps_the_old_tip(box):
    before = lost_tail(box)
    tip = newest(box)
    r = box.replicate("-adopt-local", "-snapshot", "300ms", "-keep-snapshots", "100ms")
    assert r.ready["class"] == "behind"
    box.wait_safe()
    r.wait("compact", level=9)
    r.stop()
    assert_same(before, box.restore())
    assert_same(box.after, box.restore("-txid", tip))


def test_backup_put_back_is_older(box):
    lost_tail(box)
    old_txid = [f["txid"] for f in box.list() if f["level"] == 0][1]
    older = box.restore("-txid", old_txid)
    box.put_back(older)
    words = box.refused(code=6)
    assert "OLDER" in words and f"is at TXID {old_txid} of" in words
    box.holdfast("restore", "-fast-forward", box.replica, box.db)
    assert_same(box.after, box.db)
    goes_on(box, "equal")


def test_older_adopted_keeps_the_old_tip(box):
    lost_tail(box)
    tip = newest(box)
    older = box.restore("-txid", [f["txid"] for f in box.list() if f["level"] == 0][1])
    box.put_back(older)
    goes_on(box, "older", "-adopt-local")
    assert_same(box.after, box.restore("-txid", tip))


def fork(box):
    """After a power loss the application commits before anybody looks, and dies: its log stays."""
    lost_tail(box)
    w = box.writer("-pause", 10)
    w.kill()
    w.wait()


def test_other_commits_after_a_power_loss_are_a_fork(box):
    fork(box)
    words = box.refused(code=5)
    assert "FORK" in words and str(box.db) in words and url(box.replica) in words
    assert f"'holdfast replicate -adopt-local {box.db} {word(box.replica)}'" in words
    assert f"'holdfast replicate -adopt-replica {box.db} {word(box.replica)}'" in words


def test_fork_is_not_fast_forwarded_and_stays_a_fork(box):
    fork(box)
    log = contents(box.path)["app.db-wal"]
    assert "FORK" in box.holdfast("restore", "-fast-forward", box.replica, box.db, code=5).err
    assert contents(box.path)["app.db-wal"] == log
    assert "FORK" in box.refused(code=5)


def test_backup_with_the_inode_of_the_deleted_database_is_older(box):
    """The run file of this boot is there; the file that it speaks of is not."""
    app = shipped(box)
    older = box.restore("-txid", newest(box))
    r = box.replicate()
    add_rows(app, 5)
    box.wait_safe()
    r.stop()
    app.close()
    box.put_back(older)
    assert "OLDER" in box.refused(code=6)


def test_backup_copied_over_the_database_is_older(box):
    """cp keeps the inode; the run file of this boot is there."""
    app = shipped(box)
    older = box.restore("-txid", newest(box))
    r = box.replicate()
    add_rows(app, 5)
    box.wait_safe()
    r.stop()
    app.close()
    box.db.write_bytes(older.read_bytes())
    remove(f"{box.db}-wal", f"{box.db}-shm")
    assert "OLDER" in box.refused(code=6)


def test_update_only_backup_copied_over_keeps_the_old_tip(box):
    """The change counter stands still, the state was no boundary: it cannot be told from an application that
    changed rows in place and closed. What was acknowledged stays restorable."""
    app = shipped(box)
    app.execute("UPDATE t SET v = 'older' WHERE rowid = 1")
    older = snapshot(app)
    app.execute("UPDATE t SET v = 'newer' WHERE rowid = 1")
    r = box.replicate()
    box.wait_safe()
    r.stop()
    app.close()
    tip, before = newest(box), box.restore()
    box.db.write_bytes(older)
    remove(f"{box.db}-wal", f"{box.db}-shm")
    goes_on(box, "ahead")
    assert [p["txid"] for p in json.loads((box.replica / "holdfast/pins.json").read_text())] == [tip]
    assert_same(before, box.restore("-txid", tip))


def test_backup_of_no_boundary_copied_over_is_unproven(box):
    """No object ends at its state. What tells it from a database that went on is an older change counter, which
    each connection moves."""
    app = shipped(box)
    add_rows(app, 200)
    older = snapshot(app)
    app.close()
    app = box.app()
    add_rows(app, 200)
    r = box.replicate()
    box.wait_safe()
    r.stop()
    app.close()
    box.db.write_bytes(older)
    remove(f"{box.db}-wal", f"{box.db}-shm")
    assert "UNPROVEN" in box.refused(code=5)


def test_application_that_closed_and_came_back_first_continues(box):
    """No log of before, but the state below the new one is the tail's: no upload of all."""
    app = shipped(box)
    app.close()
    app = box.app()
    add_rows(app, 5)
    goes_on(box, "continues")


def test_backup_copied_over_and_written_to_is_a_fork(box):
    app = shipped(box)
    older = box.restore("-txid", newest(box))
    r = box.replicate()
    app.execute("UPDATE t SET v = 'newer' WHERE rowid = 1")
    box.wait_safe()
    r.stop()
    app.close()
    box.db.write_bytes(older.read_bytes())
    remove(f"{box.db}-wal", f"{box.db}-shm")
    app = box.app()
    app.execute("UPDATE t SET v = 'other' WHERE rowid = 1")
    assert "FORK" in box.refused(code=5)


def test_fork_adopted_from_local(box):
    fork(box)
    tip = newest(box)
    goes_on(box, "fork", "-adopt-local")
    assert_same(box.after, box.restore("-txid", tip))


def test_fork_adopted_from_the_replica_saves_the_local_database(box):
    fork(box)
    rows = count_rows(box.db)
    goes_on(box, "equal", "-adopt-replica")
    saved = [f for f in box.path.glob("app.db.before-*") if not f.name.endswith(("-wal", "-shm"))]
    assert len(saved) == 1 and count_rows(saved[0]) == rows


def test_other_page_size_is_incompatible(box):
    shipped(box).close()
    box.sql("PRAGMA journal_mode=DELETE", "PRAGMA page_size=8192", "VACUUM", "PRAGMA journal_mode=WAL")
    words = box.refused(code=5)
    assert "INCOMPATIBLE" in words and "8192" in words and "4096" in words and "new URL" in words
    assert "INCOMPATIBLE" in box.refused("-adopt-local", code=5)
    assert "INCOMPATIBLE" in box.refused("-take-over", code=5)
    r = box.replicate(to=box.places / "new")
    assert r.ready["class"] == "new"
    r.stop()
    assert_same(box.db, box.restore(to=box.places / "new"))


def unproven(box):
    shipped(box).close()
    box.sql(f"VACUUM INTO '{box.path / 'vacuumed.db'}'")
    box.sql("PRAGMA journal_mode=WAL", "INSERT INTO t(v) VALUES ('unproven')", db=box.path / "vacuumed.db")
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    os.rename(box.path / "vacuumed.db", box.db)


def test_another_file_in_its_place_is_unproven(box):
    unproven(box)
    words = box.refused(code=5)
    assert "UNPROVEN" in words and str(box.db) in words
    assert f"'holdfast replicate -adopt-local {box.db} {word(box.replica)}'" in words
    assert f"'holdfast replicate -adopt-replica {box.db} {word(box.replica)}'" in words
    assert "UNPROVEN" in box.refused("-take-over", code=5)


def test_unproven_adopted_from_local(box):
    unproven(box)
    before, tip = box.restore(), newest(box)
    goes_on(box, "unproven", "-adopt-local")
    assert_same(before, box.restore("-txid", tip))


def test_unproven_adopted_from_the_replica(box):
    unproven(box)
    goes_on(box, "equal", "-adopt-replica")
    assert len(list(box.path.glob("app.db.before-*"))) == 1


@pytest.mark.file_only("a directory is taken away")
def test_replica_that_is_gone(box):
    """A disk that is not mounted: its mount point is an empty directory."""
    app = shipped(box)
    os.rename(box.replica, box.path / "disk")
    box.replica.mkdir()
    add_rows(app, 1)
    words = box.refused(code=5)
    assert "GONE" in words and f"'holdfast replicate -adopt-local {box.db} file://{box.replica}'" in words
    assert "GONE" in box.status(code=2)["reason"]
    box.replica.rmdir()
    os.rename(box.path / "disk", box.replica)
    goes_on(box, "continues")


@pytest.mark.file_only("a directory is taken away")
def test_replica_that_is_gone_is_begun_anew(box):
    shipped(box)
    shutil.rmtree(box.replica)
    box.replica.mkdir()
    box.refused(code=5)
    goes_on(box, "gone", "-adopt-local")
    goes_on(box, "continues")


@pytest.mark.file_only("a directory is taken away")
def test_replica_that_never_had_a_shipment_is_not_missed(box):
    """A run that could not write there, which the run file knows as well."""
    app = box.new_app()
    box.replica.mkdir()
    (box.replica / "ltx").mkdir()
    (box.replica / "ltx/0").write_text("in the way")
    r = box.start()
    r.wait("fence.retry")
    r.kill()
    shutil.rmtree(box.replica)
    goes_on(box, "new")


@pytest.mark.file_only("objects are taken away by hand")
def test_replica_without_its_base_names_a_way_on(box):
    """Neither -adopt-local can build on it."""
    shipped(box)
    for f in box.replica.glob(f"ltx/*/{1:016x}-*.ltx"):
        f.unlink()
    for args in ([], ["-adopt-local"]):
        words = box.refused(*args, code=4)
        assert "nothing to build on" in words and f"replicate {box.db} to a new URL" in words
    goes_on_elsewhere = box.replicate(to=box.path / "new")
    assert goes_on_elsewhere.ready["class"] == "new"


def test_one_refusing_destination_stops_all(box):
    """A fork at one destination: nothing goes to the other either."""
    fork(box)
    other = box.places / "other"
    other.mkdir()
    assert "FORK" in box.refused(to=[other, box.replica], code=5)
    assert contents(other) == {}


def test_one_that_refuses_after_another_was_let_in_stops_all(box):
    """It takes a look at its whole history, while the other's turn to put its fence has come."""
    other = box.places / "other"
    app = box.new_app(5)
    r = box.start(to=[box.replica, other])
    r.wait("ship", to=url(box.replica))
    box.wait_safe(to=box.replica)
    box.wait_safe(to=other)
    r.stop()
    r = box.replicate(to=other)
    add_rows(app, 5)
    box.wait_safe(to=other)
    r.stop()
    app.close()  # the last one, so that no log is left
    box.forget_run()
    words = box.refused(to=[box.replica, other], code=5)
    assert "UNPROVEN" in words and url(box.replica) in words


def test_replica_of_another_tool_is_taken_over(box):
    real = ROOT / "tests/fixtures/v05-real-l0/replica"
    copy_replica(real, box.replica)
    box.db.write_bytes(box.restore().read_bytes())
    box.sql("PRAGMA journal_mode=WAL")
    words = box.refused(code=5)
    assert "another tool" in words and f"'holdfast replicate -take-over {box.db} {word(box.replica)}'" in words
    goes_on(box, "unproven", "-take-over")


def test_level_that_retention_overtook_is_made_whole(box):
    """Level 2 stands still while snapshots come and level 1 goes: what it then lacks is in no file below."""
    app = box.new_app(400)
    often, rarely = "50ms,100ms,1h", "50ms,1h,1h"
    r = box.replicate("-levels", often, "-snapshot", "1h")
    r.wait("compact", level=9)
    app.execute("UPDATE t SET v = 'first' WHERE rowid = 200")
    r.wait("compact", level=2)
    pinned = box.wait_safe()["txid"]
    (box.replica / "holdfast/pins.json").write_text(json.dumps([{"txid": pinned}]))
    r.stop()
    r = box.replicate("-levels", rarely, "-snapshot", "200ms", "-keep-level0", "1ms", "-keep-snapshots", "1ms")
    app.execute("UPDATE t SET v = 'lost?' WHERE rowid = 1")
    changed = box.wait_safe()["txid"]

    def gone():
        add_rows(app, 1)
        return not any(o["level"] in (0, 1) and o["min_txid"] <= changed <= o["txid"] for o in box.list())

    until(gone, "level 1 has let the change go")
    r.stop()
    r = box.replicate("-levels", often, "-snapshot", "1h")
    add_rows(app, 1)
    r.wait("compact", level=2)
    box.wait_safe()
    r.stop()
    box.holdfast("verify", box.replica)
    assert_same(snapshot(app), box.restore())
