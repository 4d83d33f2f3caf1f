"""Two writers of one replica: one of them is told so, and stops, and its commits are never
acknowledged."""
import signal

from box import add_rows, assert_same, count_rows


def taken_over(box, *args):
    """A replicates app.db; B, a restored copy with a runtime directory of its own as on another
    machine, takes over. Both run."""
    app = box.new_app()
    a = box.replicate(*args)
    box.wait_safe()
    a.wait("ship")
    copy = box.restore()
    there = box.path / "there"
    there.mkdir()
    box.other = copy
    return app, a, lambda: box.replicate("-take-over", *args, db=copy, runtime=there)


def test_second_replicate_of_a_database_is_refused(box):
    box.new_app()
    first = box.replicate()
    words = box.start(to=box.places / "elsewhere").end(9)
    assert f"process {first.pid}" in words and str(box.db) in words
    assert not (box.places / "elsewhere").exists()


def test_loser_of_a_replica_is_fenced(box):
    app, a, take_over = taken_over(box)
    b = take_over()
    add_rows(app, 1)
    words = a.end(5)
    assert "another writer took over" in words
    assert str(box.other) in words and f"process {b.pid}" in words
    box.sql("INSERT INTO t(v) VALUES ('b')", db=box.other)
    box.wait_safe(db=box.other)
    b.stop()
    assert_same(box.other, box.restore())


def test_loser_is_a_fork_at_its_next_start(box):
    app, a, take_over = taken_over(box)
    b = take_over()
    box.sql("INSERT INTO t(v) VALUES ('b')", db=box.other)
    box.wait_safe(db=box.other)
    add_rows(app, 1)
    a.end(5)
    b.stop()
    words = box.refused(code=5)
    assert str(box.other) in words and "-adopt-replica" in words
    assert count_rows(box.restore()) == 11


def test_loser_does_not_take_it_back_by_starting_again(box):
    """The winner has shipped nothing yet but its fence."""
    app, a, take_over = taken_over(box)
    b = take_over()
    add_rows(app, 1)
    a.end(5)
    words = box.refused(code=5)
    assert str(box.other) in words and "-take-over" in words
    box.sql("INSERT INTO t(v) VALUES ('b')", db=box.other)
    box.wait_safe(db=box.other)
    b.stop()


def test_thawed_loser_never_acknowledges(box):
    """Stopped before the other came, thawed after its shipments were compacted and deleted: the fence
    is still in the loser's next slot."""
    app, a, take_over = taken_over(box, "-snapshot", "300ms")
    a.send(signal.SIGSTOP)
    b = take_over()
    fence = int(b.ready["txid"])
    gone = box.level(0) / f"{fence + 1:016x}-{fence + 1:016x}.ltx"
    while gone.exists() or not b.events("retention"):
        so_far = b.mark()
        box.sql("INSERT INTO t(v) VALUES ('b')", db=box.other)
        b.wait("compact", since=so_far, level=1)
    box.wait_safe(db=box.other)
    acknowledged = a.events("ship")
    add_rows(app, 1)
    a.send(signal.SIGCONT)
    words = a.end(5)
    assert a.events("ship") == acknowledged
    assert "another writer took over" in words and str(box.other) in words
    b.stop()
    assert_same(box.other, box.restore())
    box.holdfast("verify", box.replica)


def test_both_write_on(box):
    """Only the winner's commits reach the replica."""
    _, a, take_over = taken_over(box)
    b = take_over()
    here, there = box.writer(), box.writer(db=box.other)
    a.end(5)
    b.wait("ship", since=b.mark(), count=3)
    for w in (here, there):
        w.kill()
        w.wait()
    box.wait_safe(db=box.other)
    b.stop()
    assert_same(box.other, box.restore())
    box.holdfast("verify", "-source", box.other, box.replica)
