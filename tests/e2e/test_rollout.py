"""examples/control.c goes from keys to a table while it serves: four releases, one after the other, each beside the one
before on the same database; and nothing that was answered is lost."""
import collections
import concurrent.futures
import contextlib
import http.client
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest

from box import COMMAND, ROOT, until
from test_examples import BUILD, GOOD, node, play, start_control

RELEASES = [BUILD / f"examples/control{suffix}" for suffix in ("-0", "-1", "-2", "")]
MIGRATIONS = ROOT / "examples/migrations"
NODE_KEYS = "SELECT count(*) FROM DBX WHERE Key >= 'node/' AND Key < 'node0'"

pytestmark = pytest.mark.file_only("a schema is of the database, not of the replica")


@pytest.fixture
def machine(box):
    if not RELEASES[0].exists():
        pytest.skip("the examples were not built")
    there = box.path / "machine"
    there.mkdir()
    return there


def start(box, machine, release):
    return start_control(box, machine, program=RELEASES[release])


class Clients:
    """Register machines, find them, and delete some, at any of the services that are named; a request that got no
    answer is sent again, to another. What was answered is kept, and whatever was not as it should be."""

    def __init__(self, services, count=6):
        self.services, self.over = list(services), threading.Event()
        self.there, self.gone, self.wrong, self.again, self.waiting = {}, set(), [], 0, collections.Counter()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(1000 * i,)) for i in range(count)]
        for t in self.threads:
            t.start()

    def ask(self, method, path, body=None):
        """(status, what was said, whether it may have been done before)"""
        again = False
        while not self.over.is_set():
            service = random.choice(self.services)
            self.count(service, 1)
            try:
                return (*service.ask(method, path, body), again)
            except (OSError, http.client.HTTPException):
                again = True
                self.again += 1
            finally:
                self.count(service, -1)
        raise InterruptedError

    def count(self, service, one):
        with self.lock:
            self.waiting[service.url] += one

    def expect(self, wanted, method, path, body=None):
        status, said, again = self.ask(method, path, body)
        if status != wanted and not (again and method == "DELETE" and status == 404):
            self.wrong.append((method, path, status, said))
        return status == wanted, said

    def run(self, first):
        rng, mine = random.Random(first), []
        with contextlib.suppress(InterruptedError):
            for n in range(first, first + 1000):
                record = {**node(n), "user": f"u{n % 7}", "os": {"name": "linux", "n": n}, "note": None}
                if self.expect(201, "POST", "/node", record)[0]:
                    mine.append(n)
                    with self.lock:
                        self.there[n] = record
                self.expect(201, "POST", "/node", record)  # the same again
                old = rng.choice(mine)
                for query in (f"name={node(old)['name']}", f"ip={node(old)['ip']}"):
                    ok, said = self.expect(200, "GET", f"/node?{query}")
                    if ok and said != [self.there[old]]:
                        self.wrong.append((query, said))
                if n % 5 == 4:
                    mine.remove(old)
                    with self.lock:  # it may be gone from when it was asked for
                        del self.there[old]
                    self.expect(204, "DELETE", f"/node?name={node(old)['name']}")
                    self.gone.add(old)
                if not mine:
                    return

    def more(self, count):
        """Until so many more have been registered."""
        most = len(self.there) + len(self.gone) + count
        until(lambda: len(self.there) + len(self.gone) >= most or self.wrong, f"{count} more", 60)
        assert not self.wrong, self.wrong[:5]

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join()
        assert not self.wrong, self.wrong[:5]


def holds(service, clients):
    """All that was answered is there, as it was put, and what was deleted is not."""
    for n, record in clients.there.items():
        assert service.ask("GET", f"/node?ip={record['ip']}") == (200, [record]), record
    for n in clients.gone:
        assert service.ask("GET", f"/node?name={node(n)['name']}")[0] == 404, n


def follows(box, machine):
    """The table is what the keys say, and the other way round."""
    assert box.sql("SELECT count(*) FROM node_differs", db=machine / "app.db") == [(0,)]
    assert box.sql("SELECT count(*) FROM holdfast_reject", db=machine / "app.db") == [(0,)]


def test_from_keys_to_a_table_while_it_serves(box, machine):
    service = start(box, machine, 0)
    clients = Clients([service])
    try:
        clients.more(40)
        for release in (1, 2, 3):
            following = start(box, machine, release)  # its migration is done, but for what the one before needs
            clients.services.append(following)  # changes that it is asked for wait: the other one replicates
            until(lambda: clients.waiting[following.url] >= 3, "three that wait for the new release")
            clients.services.remove(service)
            service.process.send_signal(signal.SIGTERM)
            service.end(0)
            service = following
            clients.more(30)
            if release < 3:
                follows(box, machine)
        # The last migration deletes the keys as soon as nobody lives who would write them.
        until(lambda: box.sql(NODE_KEYS, db=machine / "app.db") == [(0,)], "the keys are gone", 30)
        clients.more(20)
    finally:
        clients.end()
    assert len(clients.gone) >= 10 and len(clients.there) >= 80
    holds(service, clients)
    box.holdfast("schema", "drift", "-dir", MIGRATIONS, machine / "app.db")
    for release in (0, 1, 2):  # no release of before comes back
        there = machine / f"run-{release}"
        there.mkdir()
        done = subprocess.run(
            [RELEASES[release], machine / "app.db", "0"], env=box.env(there), capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0 and "newer" in done.stderr, done.stderr
    service.kill()
    shutil.rmtree(machine)
    machine.mkdir()
    service = start(box, machine, 3)
    holds(service, clients)
    assert box.sql(NODE_KEYS, db=machine / "app.db") == [(0,)]


def test_who_does_not_go_is_refused_what_it_would_write(box, machine):
    """-assume-gone: release 2 lives when the keys are deleted. It is refused each change, and told why; it reads."""
    for release in (0, 1):
        service = start(box, machine, release)
        if release == 0:
            play(service, GOOD)
        service.process.send_signal(signal.SIGTERM)
        service.end(0)
    service = start(box, machine, 2)
    assert service.ask("POST", "/node", node(7))[0] == 201
    command = ["schema", "apply", "-dir", MIGRATIONS, machine / "app.db"]
    said = box.holdfast(*command, code=11, runtime=machine / "run")
    assert "control 2" in said.out + said.err
    assert service.ask("POST", "/node", node(8))[0] == 201
    box.holdfast(*command[:2], "-assume-gone", *command[2:], runtime=machine / "run")
    for method, path, body in (("POST", "/node", node(9)), ("DELETE", "/node?name=n7", None), ("POST", "/policy", {"name": "p"})):
        status, error = service.ask(method, path, body)
        assert status == 503 and "newer" in error["error"], (status, error)
    for n in (7, 8):
        assert service.ask("GET", f"/node?name=n{n}") == (200, [node(n)])
    assert service.ask("GET", "/node?name=n9")[0] == 404
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(60)
    service = start(box, machine, 3)
    assert {n["name"] for n in service.ask("GET", "/node")[1]} == {"n2", "n3", "n7", "n8"}
    assert service.ask("POST", "/node", node(9))[0] == 201
    assert service.ask("POST", "/node", {"name": "n10", "ip": node(9)["ip"]})[0] == 409
    with pytest.raises(Exception, match="retired"):  # SQL of somebody who does not know
        box.sql("INSERT INTO DBX VALUES ('node/n11', '{}')", db=machine / "app.db")


def test_six_that_start_at_once_change_it_once(box, machine):
    """On a new database, and on one of release 0: one replicates and one changes the schema, perhaps another."""
    for old in (False, True):
        there = machine / str(old)
        there.mkdir()
        if old:
            service = start_control(box, there, box.path / f"replica-{old}", program=RELEASES[0])
            play(service, GOOD)
            service.process.send_signal(signal.SIGTERM)
            service.end(0)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            started = [pool.submit(start_control, box, there, box.path / f"replica-{old}", program=RELEASES[3]) for _ in range(6)]
            services = [s.result() for s in started]
        steps = box.sql("SELECT version, step, count(*) FROM holdfast_step GROUP BY 1, 2", db=there / "app.db")
        assert {n for _, _, n in steps} == {1} and len({v for v, _, _ in steps}) == 3, steps
        names = ["n2", "n3"] if old else []
        for service in services:
            assert [n["name"] for n in service.ask("GET", "/node")[1]] == names
        for service in services:  # each, in some order, comes to be the one that replicates
            service.process.send_signal(signal.SIGTERM)
        for service in services:
            service.end(0)
        assert box.sql("SELECT name FROM node ORDER BY 1", db=box.restore(to=box.path / f"replica-{old}")) == [(n,) for n in names]


def test_who_knew_nothing_yet_is_refused_as_well(box, machine):
    service = start(box, machine, 0)
    play(service, GOOD)
    command = ["schema", "apply", "-assume-gone", "-dir", MIGRATIONS, machine / "app.db"]
    box.holdfast(*command, runtime=machine / "run")
    for path, body in (("/node", node(9)), ("/policy", {"name": "p"})):
        status, error = service.ask("POST", path, body)
        assert status == 503 and "newer" in error["error"], (status, error)
    assert box.sql(NODE_KEYS, db=machine / "app.db") == [(0,)]


def test_each_release_does_what_the_first_lines_say(box, machine):
    for release in (0, 1, 2, 3):
        there = machine / str(release)
        there.mkdir()
        service = start_control(box, there, box.path / f"replica-{release}", program=RELEASES[release])
        play(service, GOOD)
        status, stats = service.ask("GET", "/stats")
        assert status == 200 and stats["records"] == {"key": 1, "node": 2, "policy": 1}
        if release in (1, 2):
            follows(box, there)
        service.process.send_signal(signal.SIGTERM)
        service.end(0)


def test_the_migrations_in_the_program_are_those_of_the_directory():
    """And those are what `promote write` writes, but for one index."""
    files = sorted(str(f.relative_to(ROOT / "examples")) for f in MIGRATIONS.glob("*.sql"))
    made = subprocess.run(["./embed", *files], cwd=ROOT / "examples", capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "examples/control_schema.h").read_text() and len(files) == 3


SPEC = """-- holdfast:promote node prefix=node/ key=node/{name}
-- col name TEXT key
-- col ip TEXT $.ip index
-- col user TEXT $.user index
-- rest extra
"""
INDEX = "-- The keys had an index that saw to this.\nCREATE UNIQUE INDEX node_ip ON node(ip);\n\n"
DOWN = "-- holdfast:down lossy\n"


def written(there):
    """What promote writes, with the index: by what follows the version in the file's name."""
    (there / "node.promote").write_text(SPEC)
    (there / "migrations").mkdir()
    for rung in ("shadow", "table", "retired"):
        subprocess.run([COMMAND, "promote", "write", "node.promote", rung], cwd=there, check=True, stdout=subprocess.DEVNULL)
    texts = {f.name.partition("_")[2]: f.read_text() for f in (there / "migrations").glob("*.sql")}
    texts["node_5_retired.sql"] = texts["node_5_retired.sql"].replace(DOWN, f"{INDEX}{DOWN}DROP INDEX node_ip;\n")
    return texts


def test_the_migrations_of_the_example_are_what_promote_writes(tmp_path):
    """But for an index. They are written anew by: python3 tests/e2e/test_rollout.py"""
    assert {f.name.partition("_")[2]: f.read_text() for f in MIGRATIONS.glob("*.sql")} == written(tmp_path)


def test_readme_says_how(box, machine):
    """Its lines, on the database of release 0, and what comes of them in release 3."""
    service = start(box, machine, 0)
    play(service, GOOD)
    service.process.send_signal(signal.SIGTERM)
    service.end(0)
    readme = (ROOT / "README.md").read_text()
    lines = re.search(r"^((?:    .*\n)+?    examples/embed .*\n)", readme, re.M)[1].replace("control.db", str(machine / "app.db"))
    (box.path / "examples").symlink_to(ROOT / "examples")
    (box.path / "bin").mkdir()
    (box.path / "bin/holdfast").symlink_to(COMMAND)
    env = {**box.env(machine / "run"), "PATH": f"{box.path / 'bin'}:{os.environ['PATH']}", "EDITOR": "true"}
    done = subprocess.run(["bash", "-ec", lines], cwd=box.path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{lines}{done.stdout}{done.stderr}"
    made = (box.path / "control_schema.h").read_text()
    assert made.count("_node_") == 3 and '"CREATE TABLE node(\\n"' in made
    assert box.sql("SELECT count(*) FROM sqlite_schema WHERE name = 'node'", db=machine / "app.db") == [(0,)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as new:
        for name, text in written(pathlib.Path(new)).items():
            next(MIGRATIONS.glob(f"*_{name}")).write_text(text)
    subprocess.run([COMMAND, "schema", "lint", "-write", "-dir", MIGRATIONS], check=True)
    subprocess.run("./embed migrations/*.sql >control_schema.h", shell=True, cwd=ROOT / "examples", check=True)
