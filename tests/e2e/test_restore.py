"""restore, list and verify as a person or a script meets them."""
import shlex
import subprocess

import pytest

from box import COMMAND, add_rows, assert_same, contents, copy_replica, snapshot


@pytest.fixture
def replica(box):
    """A replica of six states, each with its image."""
    app = box.new_app(5)
    r = box.replicate("-interval", "1ms", "-levels", "1h,1h,1h")
    box.images = {}
    for _ in range(5):
        add_rows(app, 3)
        txid = box.wait_safe()["txid"]
        box.images[txid] = box.restore().read_bytes()
    r.stop()
    return box


def test_list_is_in_order_and_every_point_can_be_restored(replica):
    points = replica.list()
    assert [p["txid"] for p in points] == sorted(p["txid"] for p in points)
    for txid, image in replica.images.items():
        assert txid in [p["txid"] for p in points]
        assert_same(image, replica.restore("-txid", txid))
    said = replica.holdfast("list", replica.replica).out.splitlines()
    assert said[0].split() == ["TXID", "TIME", "LEVEL", "FROM", "BYTES"]
    assert len(said) == len(points) + 1


def test_list_says_what_leads_nowhere(replica):
    last = max(p["txid"] for p in replica.list())
    for n in range(1, 10):
        for above in replica.files(n):  # they would lead over it
            above.unlink()
    (replica.level(0) / f"{last - 1:016x}-{last - 1:016x}.ltx").unlink()
    assert replica.list()[-1]["txid"] == last - 2
    assert "and 1 objects that end where nothing can be restored" in replica.holdfast("list", replica.replica).out


def test_copy_without_times_is_restored_by_time(replica):
    """cp without -p: the headers still know when it was, and list shows what restore goes by."""
    points = {p["txid"]: p for p in replica.list()}
    copy = replica.places / "copy"
    copy_replica(replica.replica, copy, times=False)
    assert replica.list(copy) == replica.list()
    for txid in list(replica.images)[:-1]:
        after = points[txid + 1]["time"]  # strictly before
        if after != points[txid]["time"]:
            assert_same(replica.images[txid], replica.restore("-timestamp", after, to=copy))
    assert_same(list(replica.images.values())[-1], replica.restore("-timestamp", "0s ago", to=copy))


def test_json_is_one_object(replica):
    out = replica.path / "out.db"
    last = max(replica.images)
    done = replica.holdfast("restore", "-json", replica.replica, out).json
    assert done["restored"] is True and done["txid"] == last and done["sum_checked"] is True
    assert done["pages"] * done["page_size"] == out.stat().st_size
    done = replica.holdfast("restore", "-json", replica.replica, out, code=2).json
    assert done["restored"] is False and "out.db exists already" in done["error"]
    done = replica.holdfast("restore", "-json", "-if-db-not-exists", replica.replica, out).json
    assert done["restored"] is False and "error" not in done
    done = replica.holdfast("restore", "-json", "-if-replica-exists", replica.places / "none", replica.path / "o").json
    assert done["restored"] is False and "error" not in done
    assert replica.holdfast("verify", "-json", replica.replica).json["ok"] is True


@pytest.mark.file_only("the place is a directory that is not there")
def test_json_of_a_failure_has_one_name(replica):
    none = replica.places / "none"
    for command in (["list", "-json", none], ["verify", "-json", none], ["restore", "-json", none, replica.path / "o"]):
        assert "no backup at" in replica.holdfast(*command, code=3).json["error"]


def test_if_replica_exists_forgives_only_that(replica):
    none, out = replica.places / "none", replica.path / "o.db"
    assert "no backup at" in replica.holdfast("restore", "-if-replica-exists", none, out).out
    assert not out.exists() and not none.exists()
    replica.holdfast("restore", none, out, code=3)
    replica.holdfast("restore", "-if-replica-exists", replica.replica, replica.path / "nodir" / "o.db", code=1)
    replica.holdfast("restore", "-if-replica-exists", "-txid", 99, replica.replica, out, code=3)
    for first in list(replica.replica.rglob(f"{1:016x}-*.ltx")):
        first.unlink()
    replica.holdfast("restore", "-if-replica-exists", replica.replica, out, code=4)
    assert not out.exists()


@pytest.mark.file_only("objects are taken away by hand")
def test_fences_alone_are_no_backup(box):
    """The first shipment never came."""
    app = box.new_app()
    r = box.replicate()
    box.wait_safe()
    r.stop()
    for f in box.replica.glob("ltx/*/*.ltx"):
        if f.name != f"{1:016x}-{1:016x}.ltx":
            f.unlink()
    out = box.path / "o.db"
    for command in (["restore", box.replica, out], ["list", box.replica], ["verify", box.replica]):
        assert "no backup at" in box.holdfast(*command, code=3).err
    assert "no backup at" in box.holdfast("restore", "-if-replica-exists", box.replica, out).out
    assert not out.exists()
    status = box.status(code=2)
    assert status["class"] == "new" and status["txid"] == 0
    box.replicate()
    add_rows(app, 1)
    box.wait_safe()
    assert_same(snapshot(app), box.restore())


def test_if_db_not_exists(replica):
    out = replica.path / "o.db"
    replica.holdfast("restore", "-if-db-not-exists", replica.replica, out)
    before = out.read_bytes()
    out.write_bytes(b"mine")
    assert "exists already" in replica.holdfast("restore", "-if-db-not-exists", replica.replica, out).out
    assert out.read_bytes() == b"mine" and before != b"mine"
    replica.holdfast("restore", "-if-db-not-exists", "-fast-forward", replica.replica, out, code=2)


def test_bar_on_a_terminal_only(replica):
    out = replica.path / "o.db"
    assert replica.holdfast("restore", replica.replica, out).err == ""
    out.unlink()
    run = subprocess.run(
        ["script", "-qec", shlex.join([COMMAND, "restore", str(replica.replica), str(out)]), "/dev/null"],
        capture_output=True, env=replica.env(), stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0 and b"\r\033[K" in run.stdout and b"restored" in run.stdout


@pytest.mark.file_only("the copy is a directory")
def test_a_copy_from_a_bucket_is_read(box):
    """Its levels are named 000N; to write on there would mix two layouts."""
    app = box.new_app(20)
    r = box.replicate("-levels", "100ms,1h,1h", "-snapshot", "200ms")
    box.wait_safe()
    add_rows(app, 3)
    r.wait("compact", level=1)
    box.wait_safe()
    r.stop()
    for level in (box.replica / "ltx").iterdir():
        level.rename(box.replica / f"000{level.name}")
    (box.replica / "ltx").rmdir()
    box.forget_run()
    assert_same(app.serialize(), box.restore())
    assert "ok" in box.holdfast("verify", box.replica).out and box.list()
    box.holdfast("restore", "-if-replica-exists", box.replica, box.path / "again.db")
    assert (box.path / "again.db").exists()
    before = contents(box.replica)
    assert "levels are named 0000/" in box.refused(code=2)
    assert contents(box.replica) == before
