"""The run file of a service, and of another user: status sees it, and nobody starts beside it."""
import os
import pathlib
import shutil

import pytest

from box import NOBODY, add_rows, give, holds_mark_0, quieten, until

pytestmark = pytest.mark.file_only("about the runtime directory")


@pytest.fixture(params=["/run/holdfast-test-{}", "/run/holdfast/test-{}", "/dev/shm/holdfast-test-{}"])
def service(request, box):
    """A runtime directory as a service manager makes it, of the user who has the database."""
    box.for_nobody()
    path = pathlib.Path(request.param.format(os.getpid()))
    path.mkdir(parents=True, mode=0o755)
    if path.parent.name == "holdfast":
        path.parent.chmod(0o755)  # as we and a service manager make it
    give(NOBODY, path)
    box.stack.callback(shutil.rmtree, path)  # after the replicators have ended
    return path


def start(box, service):
    app = box.new_app(5)
    give(NOBODY, box.db, f"{box.db}-wal", f"{box.db}-shm")
    r = box.replicate("-checkpoint-pages", "10", user=NOBODY, runtime=service)
    return app, r


def test_status_by_another_user_sees_the_replicator(box, service):
    app, r = start(box, service)
    until(lambda: box.status()["replicator_pid"] == r.pid, "seen by root")
    until(lambda: box.status()["commits_pending"] == 0, "shipped")
    quieten(box, app, r)
    assert holds_mark_0(box, r)
    s = box.status(code=0)
    assert s["replicator_pid"] == r.pid and s["reader_pid"] == 0
    assert (service / f"{os.stat(box.db).st_dev:x}-{os.stat(box.db).st_ino}.lock").stat().st_mode & 0o777 == 0o644


def test_status_after_it_has_ended_reads_what_it_left(box, service):
    """Without the run file this database is 'ahead': the log was reset after the last shipment."""
    app, r = start(box, service)
    until(lambda: box.status()["commits_pending"] == 0, "shipped")
    quieten(box, app, r)
    add_rows(app, 1)
    until(lambda: box.status()["commits_pending"] == 0, "shipped")
    r.kill()
    add_rows(app, 1)
    s = box.status(code=1)
    assert s["class"] == "continues" and s["commits_pending"] == 1 and s["replicator_pid"] == 0


def test_nobody_starts_beside_it(box, service):
    app, r = start(box, service)
    said = box.start().end(9)
    assert f"another holdfast replicates it (process {r.pid})" in said
    mark = r.mark()
    add_rows(app, 1)
    r.wait("ship", since=mark)


def test_directory_that_others_can_write_is_not_believed(box, service):
    app, r = start(box, service)
    service.chmod(0o777)
    assert box.status(code=None)["replicator_pid"] == 0
    service.chmod(0o755)
    os.chown(service, 12345, 12345)
    assert box.status(code=None)["replicator_pid"] == 0
    os.chown(service, NOBODY, NOBODY)
    assert box.status(code=None)["replicator_pid"] == r.pid
