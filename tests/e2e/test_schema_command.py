"""holdfast schema: each verb from the command line, as one uses it who has never seen it, and each kind of bad input: a
clear error, an exit code, and the database as it was."""
import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from box import COMMAND, NOBODY, ROOT, until
from places import NO_REPLICA

EXTENSION = Path(COMMAND).parent / "src/ext/holdfast.so"
MANUAL = (ROOT / "docs/schema.md").read_text()
SPLIT = re.search(r"^```sql\n(.*?)^```$", MANUAL, re.M | re.S).group(1)  # what the manual shows is what is run
V1, V2 = 20260820090000, 20260901120000
USERS = "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
NO_POINT = "-no-restore-point"


@pytest.fixture
def dir_(box):
    """migrations/ with the table of users."""
    d = box.path / "migrations"
    d.mkdir()
    (d / f"{V1}_users.sql").write_text(USERS)
    return d


@pytest.fixture
def users(box, dir_):
    """The same, applied, with a thousand rows; and the migration of the manual, pending."""
    schema(box, "apply", "-create", box.db)
    box.sql("BEGIN", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
            " INSERT INTO user SELECT i, 'First' || i || ' Last' || i FROM n", "COMMIT")
    (dir_ / f"{V2}_split_name.sql").write_text(SPLIT)
    return dir_


def schema(box, *args, **how):
    return box.holdfast("schema", *args, **how)


def is_json(box, *args, code=0):
    verb, *rest = args
    return schema(box, verb, "-json", *rest, code=code).json


def picture(box):
    """All bytes of the database, which nobody has open."""
    wal = Path(f"{box.db}-wal")
    assert not wal.exists() or wal.stat().st_size == 0
    return hashlib.sha256(box.db.read_bytes()).hexdigest()


def columns(box):
    return [row[1] for row in box.sql("PRAGMA table_info(user)")]


# ---- a first day with it ----


@NO_REPLICA
def test_a_first_migration_from_nothing(box):
    made = schema(box, "new", "Users of the service")
    path = box.path / made.out.strip()
    assert re.fullmatch(r"migrations/\d{14}_users_of_the_service\.sql", made.out.strip())
    assert "holdfast schema lint -write" in made.err
    path.write_text("CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n-- holdfast:down\nDROP TABLE user;\n")
    said = schema(box, "apply", "-create", box.db, code=4)
    assert path.name in said.err and "lint -write" in said.err and not box.db.exists()
    assert "holdfast.sum is written" in schema(box, "lint", "-write").out
    plan = schema(box, "plan", box.db, code=3)
    assert "no such database" in plan.err
    said = schema(box, "apply", "-create", box.db).out
    assert re.search(r"^MIGRATION +STEP +LOCK", said, re.M) and "1 step applied to" in said
    assert "nothing to apply" in schema(box, "apply", box.db).out
    status = schema(box, "status", box.db).out
    assert re.search(r"_users_of_the_service +done +\d{4}-\d\d-\d\d ", status) and "up to date" in status
    assert "up to date" in schema(box, "plan", box.db).out
    assert "is what the migrations say" in schema(box, "drift", box.db).out
    assert "_users_of_the_service" in schema(box, "history", box.db).out
    assert "next: holdfast schema status" in schema(box, "down", NO_POINT, box.db).out
    assert box.sql("SELECT count(*) FROM sqlite_master WHERE name = 'user'") == [(0,)]
    assert re.fullmatch(r"[0-9.]{3,12}", re.search(r'"lock_ms":([^,]+),', schema(box, "history", "-json", box.db).out)[1])
    more = schema(box, "new", "-json", "more")
    assert (box.path / more.json["file"]).name.endswith("_more.sql") and not more.err


@NO_REPLICA
def test_who_stops_at_a_phase_is_not_told_to_wait_for_others(box, users):
    (users / "20260902000000_more.sql").write_text("CREATE TABLE more(x);\n")
    said = schema(box, "apply", NO_POINT, "-phase", "expand", box.db, code=11).out
    assert "next: the same line without -phase\n" in said and "again" not in said
    assert "next: the same line again" in schema(box, "apply", NO_POINT, box.db, code=11).out


@NO_REPLICA
def test_the_migration_of_the_manual_step_by_step(box, users):
    plan = schema(box, "plan", box.db).out
    for word in ["expand", "sync", "backfill", "verify", "contract", "ALTER TABLE user ADD COLUMN first TEXT"]:
        assert word in plan
    assert "holdfast schema rehearse" in plan

    before = picture(box)
    rehearsal = schema(box, "rehearse", "-from", "live", box.db).out
    assert "schema and contents are what they were before" in rehearsal and "all of it works" in rehearsal
    assert picture(box) == before

    said = schema(box, "apply", NO_POINT, "-phase", "expand", box.db).out
    assert "expand" in said and "backfill" not in said
    assert columns(box) == ["id", "name", "first", "last"]
    said = schema(box, "apply", NO_POINT, box.db, code=11).out
    assert re.search(rf"^{V2}_split_name +backfill .* 1,000 ", said, re.M)
    assert re.search(rf"^{V2}_split_name waits: it soaks for another (1 h|59 min)", said, re.M), said
    assert box.sql("SELECT first, last FROM user WHERE id = 7") == [("First7", "Last7")]

    box.sql("INSERT INTO user(name) VALUES ('Old Program')", "UPDATE user SET name = 'New Name' WHERE id = 7")
    assert box.sql("SELECT first FROM user WHERE id IN (7, 1001) ORDER BY id") == [("New",), ("Old",)]
    status = schema(box, "status", box.db).out
    assert re.search(rf"_split_name +verified +\S+ \S+ +contract", status) and "waits" in status

    said = schema(box, "apply", NO_POINT, "-no-soak", box.db).out
    assert "contract" in said and columns(box) == ["id", "first", "last"]
    assert box.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'") == []
    assert is_json(box, "status", box.db)["databases"][0]["min_version"] == V2
    steps = [s["step"] for s in is_json(box, "history", box.db)["steps"] if s["version"] == V2]
    assert [s.split()[0] for s in steps if not s.startswith("backfill")] == ["expand", "sync", "verify", "contract"]

    assert "lossy" in schema(box, "down", NO_POINT, box.db, code=2).err
    schema(box, "down", NO_POINT, "-accept-lossy", box.db)
    assert box.sql("SELECT name FROM user WHERE id = 7") == [("New Name",)]


@NO_REPLICA
def test_revert_brings_back_what_was(box, users):
    before = box.sql("SELECT sql FROM sqlite_master WHERE name = 'user'"), box.sql("SELECT * FROM user")
    schema(box, "apply", NO_POINT, box.db, code=11)
    schema(box, "revert", NO_POINT, box.db)
    assert (box.sql("SELECT sql FROM sqlite_master WHERE name = 'user'"), box.sql("SELECT * FROM user")) == before
    assert box.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'") == []
    assert re.search(r"_split_name +- +", schema(box, "status", box.db).out)


# ---- clients ----


CLIENT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.enable_load_extension(True)
db.load_extension(sys.argv[2])
try:
    db.execute("SELECT holdfast_schema_join('control 40', ?)", (int(sys.argv[3]),)).fetchall()
    print("joined", flush=True)
except sqlite3.OperationalError as e:
    print(e, flush=True)
for line in sys.stdin:
    try:
        print(db.execute(line).fetchall(), flush=True)
    except sqlite3.OperationalError as e:
        print(e, flush=True)
"""


@contextlib.contextmanager
def client(box, version):
    """Another program, in another language, which knows this version; its first line."""
    argv = [sys.executable, "-c", CLIENT, str(box.db), str(EXTENSION), str(version)]
    p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        p.said = p.stdout.readline().strip()
        yield p
    finally:
        p.communicate(timeout=10)


def ask(p, sql):
    p.stdin.write(sql + "\n")
    p.stdin.flush()
    return p.stdout.readline().strip()


with_extension = pytest.mark.skipif(not EXTENSION.exists(), reason="built without the extension")


@with_extension
@NO_REPLICA
def test_a_contract_waits_for_an_older_program_by_name(box, users):
    with client(box, V1) as old, client(box, V2):
        assert old.said == "joined"
        said = schema(box, "apply", NO_POINT, "-no-soak", box.db, code=11).out
        assert f"_split_name waits: control 40 (pid {old.pid} on {os.uname().nodename}) knows only {V1}" in said
        listed = schema(box, "clients", box.db).out
        assert re.search(rf"^control 40 +{V1} +{old.pid} ", listed, re.M) and len(listed.splitlines()) == 3
        waits = is_json(box, "apply", NO_POINT, "-no-soak", box.db, code=11)["waits"]
        assert [w["version"] for w in waits] == [V2] and "control 40" in waits[0]["why"]
        old.send_signal(signal.SIGKILL)
        old.wait()
        assert "contract" in schema(box, "apply", NO_POINT, "-no-soak", box.db).out
    assert "no program" in schema(box, "clients", box.db).out


@with_extension
@NO_REPLICA
def test_an_older_program_is_refused_before_its_first_write_and_while_it_runs(box, users):
    with client(box, V1) as old:
        schema(box, "apply", NO_POINT, "-no-soak", "-assume-gone", box.db)
        said = ask(old, f"SELECT holdfast_schema_join('control 40', {V1})")
        assert said.startswith("unfit: app.db: its schema is newer: 20260901120000 was contracted; this program ('control 40')")
        ask(old, "BEGIN IMMEDIATE")
        assert ask(old, f"SELECT holdfast_schema_join('control 40', {V1})").startswith("unfit: ")
    before = picture(box)
    with client(box, V1) as late:
        assert late.said.startswith("unfit: app.db: its schema is newer") and "start a newer one" in late.said
    assert picture(box) == before
    with client(box, V2) as new:
        assert new.said == "joined" and ask(new, f"SELECT holdfast_schema_join('control 40', {V2})") == "[(1,)]"


@with_extension
@NO_REPLICA
@pytest.mark.parametrize("sql, words", [
    ("SELECT holdfast_schema_join('', 5)", "usage: holdfast_schema_join(app, version): app is a text"),
    ("SELECT holdfast_schema_join(5, 5)", "app is a text"),
    ("SELECT holdfast_schema_join('a', 'b')", "version is a number"),
    ("SELECT holdfast_schema_join('a', -1)", "version is a number"),
    ("SELECT holdfast_schema_join('a')", "wrong number of arguments"),
    ("SELECT holdfast_schema_join('another', 9)", "this connection has joined as 'control 40'"),
    ("SELECT holdfast_schema_join('control 40', 9)", "which knows 20260820090000"),
])
def test_what_the_extension_refuses(box, users, sql, words):
    with client(box, V1) as p:
        assert words in ask(p, sql)


@with_extension
@NO_REPLICA
def test_the_extension_joins_outside_of_transactions_and_of_memory(box, users):
    with contextlib.closing(sqlite3.connect(box.db, isolation_level=None)) as c:
        c.enable_load_extension(True)
        c.load_extension(str(EXTENSION))
        c.execute("BEGIN")
        with pytest.raises(sqlite3.OperationalError, match="inside of a transaction"):
            c.execute(f"SELECT holdfast_schema_join('a', {V1})").fetchall()
        c.execute("COMMIT")
        assert c.execute(f"SELECT holdfast_schema_join('a', {V1})").fetchall() == [(1,)]
        assert c.execute("SELECT count(*) FROM holdfast_client").fetchall() == [(1,)]
        assert "a " in schema(box, "clients", box.db).out
    assert "no program" in schema(box, "clients", box.db).out
    with contextlib.closing(sqlite3.connect(":memory:")) as c:
        c.enable_load_extension(True)
        c.load_extension(str(EXTENSION))
        with pytest.raises(sqlite3.OperationalError, match="in memory or temporary"):
            c.execute("SELECT holdfast_schema_join('a', 1)").fetchall()


@with_extension
@NO_REPLICA
def test_a_program_does_not_write_on_the_terminal_by_its_name(box, users):
    with contextlib.closing(sqlite3.connect(box.db, isolation_level=None)) as c:
        c.enable_load_extension(True)
        c.load_extension(str(EXTENSION))
        c.execute(f"SELECT holdfast_schema_join('a' || char(27) || '[2J' || char(10) || 'b', {V1})").fetchall()
        assert "a?[2J?b " in schema(box, "clients", box.db).out
        assert "a?[2J?b (pid" in schema(box, "apply", NO_POINT, "-no-soak", box.db, code=11).out


@with_extension
@NO_REPLICA
def test_a_row_of_the_extension_goes_to_noise_where_there_is_one(box, users):
    with contextlib.closing(sqlite3.connect(box.db, isolation_level=None)) as c:
        c.execute("ATTACH ? AS noise", (str(box.path / "app-noise.db"),))
        c.enable_load_extension(True)
        c.load_extension(str(EXTENSION))
        before = c.execute("PRAGMA main.data_version").fetchall(), os.stat(f"{box.db}-wal").st_size
        c.execute(f"SELECT holdfast_schema_join('noisy', {V1})").fetchall()
        assert (c.execute("PRAGMA main.data_version").fetchall(), os.stat(f"{box.db}-wal").st_size) == before
        assert c.execute("SELECT app FROM noise.holdfast_client").fetchall() == [("noisy",)]
        assert "noisy" in schema(box, "clients", "-noise", box.path / "app-noise.db", box.db).out
        assert "(no row: not known)" in schema(box, "clients", box.db).out


# ---- with a replica ----


def test_apply_makes_a_restore_point_and_undo_takes_all_of_it_back(box, users):
    said = schema(box, "apply", "-no-soak", box.db, code=3).err
    assert "replicate" in said and NO_POINT in said
    box.replicate()
    before = box.sql("SELECT * FROM user")
    said = schema(box, "apply", "-no-soak", box.db).out
    assert f"restore point before-{V2}-" in said and f"holdfast schema undo {box.db}" in said
    assert columns(box) == ["id", "first", "last"]
    said = schema(box, "undo", box.db).out
    assert f"{V2}" in said and "TXID" in said
    assert columns(box) == ["id", "name"] and box.sql("SELECT * FROM user") == before
    box.wait_safe()
    assert box.sql("SELECT * FROM user", db=box.restore()) == before


def test_undo_does_not_take_the_commits_of_others_with_it_unasked(box, users):
    box.replicate()
    schema(box, "apply", "-no-soak", box.db)
    box.sql("INSERT INTO user(first, last) VALUES ('Ada', 'Lovelace')")
    said = schema(box, "undo", box.db, code=5).err
    assert "-discard-later" in said or "discard" in said
    assert columns(box) == ["id", "first", "last"]
    schema(box, "undo", "-discard-later", box.db)
    assert columns(box) == ["id", "name"] and box.sql("SELECT count(*) FROM user") == [(1000,)]


def test_a_rehearsal_on_the_replica_says_what_would_be_uploaded(box, users):
    assert "replica" in schema(box, "rehearse", "-from", "replica", box.db, code=3).err
    box.replicate()
    box.wait_safe()
    rehearsal = is_json(box, "rehearse", box.db)
    assert rehearsal["ok"] and rehearsal["source"] == "replica"
    assert sum(s["upload_bytes"] for s in rehearsal["steps"]) > 0
    assert "on a copy restored from" in schema(box, "rehearse", box.db).out
    assert columns(box) == ["id", "name"]
    (users / f"{V2}_split_name.sql").unlink()
    assert schema(box, "rehearse", box.db).out == f"{box.db} is up to date: there was nothing to rehearse\n"


# ---- adopted, drifted ----


@NO_REPLICA
def test_a_database_that_is_there_already_is_taken_on(box, dir_):
    box.sql("PRAGMA journal_mode = WAL", USERS)
    said = schema(box, "apply", NO_POINT, box.db, code=2).err
    assert "already exists" in said and f"{V1}_users.sql:1" in said and "schema baseline" in said
    assert "1 migration recorded as done" in schema(box, "baseline", box.db, V1).out
    assert "nothing to apply" in schema(box, "apply", box.db).out
    assert "0 migrations recorded" in schema(box, "baseline", box.db, V1).out


@NO_REPLICA
def test_drift_names_what_differs(box, users):
    schema(box, "apply", NO_POINT, "-no-soak", box.db)
    assert "is what the migrations say" in schema(box, "drift", box.db).out
    box.sql("CREATE INDEX by_hand ON user(first)", "ALTER TABLE user ADD COLUMN added")
    said = schema(box, "drift", box.db, code=5)
    assert "extra index by_hand" in said.out and "changed table user" in said.out and "added" in said.out
    assert {o["name"] for o in is_json(box, "drift", box.db, code=5)["objects"]} == {"by_hand", "user"}


@NO_REPLICA
def test_directories_of_other_tools_are_read_as_they_are(box):
    d = box.path / "db"
    d.mkdir()
    (d / "1_a.sql").write_text("-- migrate:up\nCREATE TABLE a(x);\n\n-- migrate:down\nDROP TABLE a;\n")
    (d / "2_b.sql").write_text("-- +goose Up\n-- +goose StatementBegin\nCREATE TABLE b(x);\n-- +goose StatementEnd\n"
                               "-- +goose Down\nDROP TABLE b;\n")
    said = schema(box, "apply", "-create", "-dir", d, box.db).out
    assert "2 steps applied" in said
    schema(box, "down", NO_POINT, "-dir", d, box.db)
    assert [r[0] for r in box.sql("SELECT name FROM sqlite_master WHERE name IN ('a', 'b')")] == ["a"]
    box.sql("CREATE TABLE schema_migrations(version)", "CREATE TABLE goose_db_version(id)")
    assert "is what the migrations say" in schema(box, "drift", "-dir", d, box.db).out
    (d / "2_b.sql").unlink()
    assert schema(box, "drift", "-dir", d, box.db, code=5).out.startswith("extra table goose_db_version\n")


@NO_REPLICA
def test_the_noise_that_a_store_remembers_is_found(box, dir_):
    (dir_ / "noise").mkdir()
    (dir_ / "noise/20260820100000_seen.sql").write_text("CREATE TABLE seen(id INTEGER PRIMARY KEY, at INTEGER);\n")
    box.sql("PRAGMA journal_mode = WAL", "CREATE TABLE holdfast(name TEXT PRIMARY KEY, value)",
            "INSERT INTO holdfast VALUES ('format', 1), ('role', 'main'), ('noise', 'app-noise.db')")
    assert "noise" in schema(box, "apply", NO_POINT, box.db, code=2).err  # it is not there
    box.sql("PRAGMA journal_mode = WAL", "CREATE TABLE holdfast(name TEXT PRIMARY KEY, value)",
            "INSERT INTO holdfast VALUES ('format', 1), ('role', 'noise')", db=box.path / "app-noise.db")
    said = schema(box, "apply", NO_POINT, box.db).out
    assert "noise/20260820100000_seen" in said
    assert box.sql("SELECT count(*) FROM seen", db=box.path / "app-noise.db") == [(0,)]
    assert "noise" in schema(box, "apply", NO_POINT, "-noise", "none", box.db, code=2).err


# ---- bad input ----


def bad(name, text):
    """One more migration, which is wrong."""
    return lambda box, d: (d / name).write_text(text)


def edited(box, d):
    schema(box, "lint", "-write")
    (d / f"{V1}_users.sql").write_text(USERS + "-- a word more\n")


def edited_and_summed(box, d):
    edited(box, d)
    schema(box, "lint", "-write")


def missing(box, d):
    (d / f"{V1}_users.sql").unlink()


def newer(box, d):
    """Another program has contracted what these files do not know."""
    box.sql("UPDATE holdfast_schema SET min_version = 20270101000000",
            "INSERT INTO holdfast_migration SELECT 20270101000000, '20270101000000_later.sql', sha256, chain, phase,"
            " phase_ms, breaking, triggers FROM holdfast_migration LIMIT 1")


def later_first(box, d):
    """The pending one is older than what was applied last."""
    (d / f"{V2}_split_name.sql").rename(d / "20260801000000_split_name.sql")


VERIFY = "-- holdfast:expand\nCREATE TABLE n(x);\n-- holdfast:verify\nSELECT count(*) FROM user;\n"
NO_KEY = ("-- holdfast:expand\nALTER TABLE user ADD COLUMN n;\n-- holdfast:backfill table=user key=name\n"
          "UPDATE user SET n = 1 WHERE name > :lo AND name <= :hi;\n")
OTHERS = "20260902000000_x.sql"


@NO_REPLICA
@pytest.mark.parametrize("prepare, code, words", [
    (bad(OTHERS, "CREATE TABLE a(x);\n\nCREATE TABL b(x);\n"), 4, [f"{OTHERS}:3", "TABL"]),
    (bad(OTHERS, "BEGIN;\nCREATE TABLE a(x);\nCOMMIT;\n"), 4, [f"{OTHERS}:1", "BEGIN"]),
    (bad(OTHERS, "CREATE TABLE a(x);\nPRAGMA foreign_keys = OFF;\n"), 4, [f"{OTHERS}:2", "PRAGMA"]),
    (bad(OTHERS, "ATTACH 'x.db' AS x;\n"), 4, [f"{OTHERS}:1", "ATTACH"]),
    (bad(OTHERS, "CREATE TABLE a(x);\nVACUUM;\n"), 4, [f"{OTHERS}:2", "VACUUM"]),
    (bad(OTHERS, "UPDATE holdfast_schema SET min_version = 0;\n"), 4, [f"{OTHERS}:1", "holdfast_schema"]),
    (bad(OTHERS, "-- holdfast:contarct\nDROP TABLE user;\n"), 4, [f"{OTHERS}:1", "contarct", "contract"]),
    (bad(OTHERS, "CREATE TABLE noise.a(x);\n"), 4, [f"{OTHERS}:1", "noise"]),
    (bad("20260902000000.sql", "CREATE TABLE a(x);\n"), 4, ["20260902000000.sql"]),
    (bad(f"{V2}_twice.sql", "CREATE TABLE a(x);\n"), 5, [f"{V2}"]),
    (edited, 4, [f"{V1}_users.sql", "lint -write"]),
    (edited_and_summed, 5, [f"{V1}_users.sql"]),
    (missing, 5, [f"{V1}"]),
    (later_first, 5, ["20260801000000_split_name.sql"]),
    (newer, 10, ["20270101000000"]),
])
def test_what_is_wrong_with_the_files_stops_it_before_anything_runs(box, users, prepare, code, words):
    (users / f"{V2}_split_name.sql").write_text("CREATE TABLE good(x);\n")
    prepare(box, users)
    before = picture(box)
    said = schema(box, "apply", NO_POINT, box.db, code=code)
    assert said.out == "" and all(w in said.err for w in words), said.err
    answer = is_json(box, "apply", NO_POINT, box.db, code=code)
    assert words[0] in answer["error"] and answer["code"] in ("corrupt", "conflict", "unfit")
    assert picture(box) == before


@NO_REPLICA
@pytest.mark.parametrize("text, code, words, step", [
    (NO_KEY, 2, ["key", "user"], "expand"),
    (VERIFY, 5, ["1000", f"{OTHERS}"], "expand"),
    ("ALTER TABLE user ADD COLUMN s TEXT NOT NULL;\n", 2, [f"{OTHERS}:1"], None),
    ("CREATE TABLE a(x);\nINSERT INTO nowhere VALUES (1);\n", 2, [f"{OTHERS}:2", "nowhere"], None),
    ("CREATE TABLE a(x);\nINSERT INTO user SELECT * FROM user;\n", 5, [f"{OTHERS}:2", "UNIQUE"], None),
])
def test_a_step_that_fails_leaves_the_one_before(box, users, text, code, words, step):
    (users / f"{V2}_split_name.sql").unlink()
    (users / OTHERS).write_text(text)
    before = picture(box)
    said = schema(box, "apply", NO_POINT, box.db, code=code)
    assert all(w in said.err for w in words), said.err
    steps = [s["step"] for s in is_json(box, "history", box.db)["steps"] if s["version"] == 20260902000000]
    assert steps == ([step] if step else [])
    assert step or picture(box) == before
    assert box.sql("PRAGMA integrity_check") == [("ok",)] and box.sql("SELECT count(*) FROM user") == [(1000,)]


@NO_REPLICA
@pytest.mark.parametrize("arguments, code, words", [
    ([], 2, "new_____"),
    (["aply", "DB"], 2, "schema has no verb 'aply': did you mean 'apply'?"),
    (["-json", "status", "DB"], 2, "-json: the verb comes first"),
    (["frobnicate"], 2, "schema has no verb 'frobnicate'"),
    (["apply"], 2, "schema apply needs DB"),
    (["apply", ""], 2, "an argument is empty"),
    (["apply", "DB", "x"], 2, "one argument too many"),
    (["lint", "DB"], 2, "one argument too many"),
    (["apply", "-phse", "expand", "DB"], 2, "did you mean -phase?"),
    (["apply", "-phase", "expnd", "DB"], 2, "'expnd' is no phase to stop at"),
    (["apply", "-to", "x", "DB"], 2, "-to: 'x' is not a value for it"),
    (["apply", "-to"], 2, "-to needs a value"),
    (["apply", "-timeout", "soon", "DB"], 2, "-timeout: 'soon'"),
    (["apply", "-write", "DB"], 2, "unknown option: -write"),
    (["apply", "-dir", "DB", "DB"], 2, "it is not a directory"),
    (["apply", "-dir", "nowhere", "DB"], 3, "nowhere: there is no such directory"),
    (["apply", "NONE"], 3, "no such database: -create makes it"),
    (["status", "NONE"], 3, "no such database"),
    (["apply", "-create", "no/dir/app.db"], 3, "no/dir/app.db"),
    (["apply", "."], 2, "it is not a file"),
    (["apply", "-no-restore-point", "TEXT"], 4, "text.db: file is not a database"),
    (["status", "TEXT"], 4, "text.db: file is not a database"),
    (["clients", "TEXT"], 4, "text.db: file is not a database"),
    (["down", "DB", "abc"], 2, "'abc' is not a migration's number"),
    (["down", "-no-restore-point", "DB"], 2, "down"),
    (["down", "-no-restore-point", "DB", "42"], 3, "42"),
    (["revert", "-no-restore-point", "DB"], 3, "no migration is between"),
    (["baseline", "DB"], 2, "schema baseline needs DB VERSION"),
    (["undo", "DB"], 3, "replicate"),
    (["rehearse", "-from", "replica", "DB"], 3, "replica"),
    (["rehearse", "-from", "nowhere/at/all", "DB"], 3, "nowhere/at/all"),
    (["new", "a/b"], 2, "a/b"),
    (["new", ""], 2, "an argument is empty"),
    (["new", "-in", "main", "x"], 2, "-in: 'main' is not a value for it, which is noise"),
    (["apply", "-noise", "nowhere.db", "DB"], 3, "nowhere.db"),
    (["apply", "-noise", "DB", "DB"], 2, "the same file"),
])
def test_what_is_wrong_with_the_command_is_said(box, users, arguments, code, words):
    text = box.path / "text.db"
    text.write_text("not a database, not at all; " * 200)
    names = {"DB": box.db, "NONE": box.path / "none.db", "TEXT": text}
    before = picture(box), sorted(os.listdir(box.path)), sorted(os.listdir(users)), text.read_bytes()
    said = schema(box, *[names.get(a, a) for a in arguments], code=code)
    assert words.rstrip("_") in said.err and said.err.count("\n") <= 3 or not arguments, said.err
    now = [n for n in sorted(os.listdir(box.path)) if n not in ("app.db-schema", "text.db-schema")]
    assert (picture(box), now, sorted(os.listdir(users)), text.read_bytes()) == \
        (before[0], [n for n in before[1] if n != "app.db-schema"], before[2], before[3])


@NO_REPLICA
def test_what_cannot_be_read_is_said(box, users):
    for path in [box.path, *box.path.parents][:4]:
        path.chmod(0o755)
    (users / f"{V2}_split_name.sql").chmod(0o600)
    assert f"{V2}_split_name.sql" in schema(box, "lint", code=1, user=NOBODY).err
    (users / f"{V2}_split_name.sql").chmod(0o644)
    schema(box, "lint", code=0, user=NOBODY)
    box.db.chmod(0o600)
    assert "app.db" in schema(box, "status", box.db, code=1, user=NOBODY).err
    users.chmod(0o700)
    assert "migrations" in schema(box, "lint", code=1, user=NOBODY).err


@NO_REPLICA
def test_each_verb_has_its_help(box):
    verbs = re.findall(r"^  (\w+) +(?:DB|NAME|  )", schema(box, "-h").out, re.M)
    assert len(verbs) == 13
    for verb in verbs:
        said = schema(box, verb, "-h").out
        assert said.startswith(f"holdfast schema {verb} [options]") and "-dir" in said or verb in ("history", "clients", "undo")


@NO_REPLICA
def test_each_answer_has_the_members_that_the_manual_names(box, users):
    def members(verb):
        part = MANUAL.split("## 6 ")[1].split("## 7 ")[0]
        text = re.search(rf"^(?:`\w+`, )*`{verb}`[^\n]*?:[^\n]*\n?(?:\n(?:    [^\n]*\n)+)?", part, re.M).group(0)
        return set(re.findall(r'"(\w+)"', text))

    answers = {
        "lint": is_json(box, "lint"),
        "plan": is_json(box, "plan", box.db),
        "rehearse": is_json(box, "rehearse", "-from", "live", box.db),
        "apply": is_json(box, "apply", NO_POINT, box.db, code=11),
        "status": is_json(box, "status", box.db),
        "history": is_json(box, "history", box.db),
        "drift": is_json(box, "drift", box.db),
        "clients": is_json(box, "clients", box.db),
    }
    for verb, answer in answers.items():
        keys = set(answer)
        for member, value in answer.items():
            if member == "findings" and verb != "lint":  # as of lint
                continue
            if isinstance(value, list) and value and isinstance(value[0], dict):
                keys |= set().union(*value)
        assert keys <= members(verb), (verb, keys - members(verb))


# ---- signals ----


@NO_REPLICA
def test_it_stops_between_two_batches_when_it_is_told_to(box, users):
    box.sql("BEGIN", "WITH RECURSIVE n(i) AS (SELECT 1001 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
            " INSERT INTO user SELECT i, 'First' || i || ' Last' || i FROM n", "COMMIT")
    (users / f"{V2}_split_name.sql").write_text(SPLIT.replace("key=id", "key=id batch=50 target=1ms"))
    argv = [COMMAND, "schema", "apply", NO_POINT, "-json", str(box.db)]
    p = subprocess.Popen(argv, cwd=box.path, env=box.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def backfilling():
        with contextlib.closing(sqlite3.connect(box.db, timeout=10)) as c:
            tables = c.execute("SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_backfill'").fetchone()[0]
            return tables and c.execute("SELECT count(*) FROM holdfast_backfill WHERE rows > 0").fetchone()[0]

    until(backfilling, "a batch is committed")
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=30)
    assert p.returncode == 7, (p.returncode, out, err)
    assert box.sql("SELECT done FROM holdfast_backfill") == [(0,)]
    assert 0 < box.sql("SELECT count(*) FROM user WHERE first IS NOT NULL")[0][0] < 200000
    assert "soaks" in is_json(box, "apply", NO_POINT, box.db, code=11)["waits"][0]["why"]
    assert box.sql("SELECT count(*) FROM user WHERE first IS NULL") == [(0,)]
