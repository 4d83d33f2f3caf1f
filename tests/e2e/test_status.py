"""holdfast status: is what this database holds durable? 0 safe, 1 late, 2 unsafe."""
import pathlib

import pytest

from box import add_rows, contents, quieten, until


def said(box, code, *args, db=None, to=None):
    """What status says to people, and its JSON; both end with this code."""
    told = box.holdfast("status", *args, db or box.db, to or box.replica, code=code).out
    s = box.holdfast("status", "-json", *args, db or box.db, to or box.replica, code=code).json
    word = ["safe", "late", "unsafe"][code]
    assert s["state"] == word and told.split("\n")[0].split(":")[0] == word
    return told, s


def test_safe_while_it_runs(box):
    box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    told, s = said(box, 0)
    assert s["commits_pending"] == 0 and s["bytes_pending"] == 0 and s["lag_seconds"] == 0
    assert s["replicator_pid"] == r.pid and f"process {r.pid}" in told
    assert s["txid"] == int(r.wait("ship")["txid"]) and f"TXID {s['txid']}" in told


def test_safe_without_a_run(box):
    box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    r.stop()
    told, s = said(box, 0)
    assert s["replicator_pid"] == 0
    assert "no holdfast replicates" in told


def test_closed_application_is_safe(box):
    """Its log was deleted at the close."""
    box.new_app(5).close()
    r = box.replicate()
    r.wait("ship")
    said(box, 0)
    r.stop()
    said(box, 0)


def test_quiet_database_is_safe(box):
    """All is checkpointed, and nothing happens."""
    app = box.new_app(5)
    r = box.replicate("-checkpoint-pages", "10")
    box.wait_safe()
    quieten(box, app, r)
    said(box, 0)


def test_late_without_a_run(box):
    app = box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    r.stop()
    add_rows(app, 7)
    told, s = said(box, 1)
    assert s["commits_pending"] == 7 and s["bytes_pending"] == 7 * (4096 + 24) and s["lag_seconds"] > 0
    assert "7 commits are not durable" in told and "holdfast replicate" in told


def test_late_when_the_destination_is_gone(box):
    """The process runs but cannot ship; -late says from when on that matters."""
    app = box.new_app(5)
    r = box.replicate("-drain", "0s", to=[box.replica])
    box.wait_safe()
    r.send(19)  # SIGSTOP: it cannot ship
    add_rows(app, 1)
    until(lambda: box.status(code=None)["commits_pending"] == 1, "one commit is pending")
    until(lambda: box.holdfast("status", "-late", "50ms", box.db, box.replica, code=None).code == 1, "late")
    said(box, 0, "-late", "1h")
    r.send(18)
    box.wait_safe()


def test_nothing_replicated_is_unsafe(box):
    box.new_app(5)
    told, s = said(box, 2)
    assert "nothing has been replicated" in told and "holdfast replicate" in told
    assert not box.replica.exists()


def test_fork_is_unsafe_and_says_what_goes_on(box):
    box.new_app(5).close()
    r = box.replicate()
    r.wait("ship")
    r.stop()
    other = box.path / "other.db"
    box.sql("PRAGMA journal_mode=WAL", "CREATE TABLE t(x)", "INSERT INTO t VALUES (1)", db=other)
    told, s = said(box, 2, db=other)
    assert s["class"] == "unproven" and "-adopt-local" in told


def test_no_database_is_unsafe(box):
    told, _ = said(box, 2, db=box.path / "none.db")
    assert "none.db" in told


@pytest.mark.file_only("a file in the place of the directory")
def test_no_replica_to_read_is_unsafe(box):
    box.new_app(5)
    box.replica.write_text("a file")
    told, _ = said(box, 2)
    assert str(box.replica) in told and "directory" in told


def test_verified_is_kept_beside_the_replica(box):
    box.new_app(5)
    r = box.replicate("-verify", "24h")
    box.wait_safe()
    told, s = said(box, 0)
    assert s["verified_ms"] == 0 and "never" in told
    r.stop()
    box.replicate("-verify", "100ms").wait("verify")
    told, s = said(box, 0)
    assert s["verified_ok"] is True and s["verified_ms"] > 0 and "BROKEN" not in told


def test_verified_broken_is_unsafe(box):
    """A replica whose proof failed is not safe, whatever has been shipped."""
    app = box.new_app(5)
    r = box.replicate("-verify", "1s", "-levels", "1h,1h,1h")
    box.wait_safe()
    slot = box.files(0)[1]
    image = bytearray(slot.read_bytes())
    image[150] ^= 1
    slot.write_bytes(image)
    add_rows(app, 1)
    failed = r.wait("verify.failed")
    assert slot.name in failed["err"]
    told, s = said(box, 2)
    assert s["verified_ok"] is False and "BROKEN" in told


def test_status_as_another_user_does_not_disturb(box):
    """Looking writes nothing, into neither side."""
    app = box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    r.stop()

    def both_sides():
        here = {name: sum for name, sum in contents(box.path).items() if not name.endswith("-shm")}
        return here, contents(box.replica)

    before = both_sides()
    said(box, 0)
    assert both_sides() == before


def test_memory_of_a_large_shipment_is_given_back(box):
    """It is made in memory, up to 8 MB."""
    c = box.new_app(1)
    c.execute("INSERT INTO t(v) VALUES (hex(randomblob(3000000)))")
    r = box.replicate()
    box.wait_safe()
    status = pathlib.Path(f"/proc/{r.pid}/status")

    def private_kb():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon:"))

    until(lambda: private_kb() < 5000, "less than 5 MB")
