"""Rows for the first version of each set, as years of use leave them: with lists that are empty in four ways, rows
whose parents are gone, doubles, and values from before the last three releases. The same seed, the same rows.

    data.py headscale|gitea DB [COUNT [SEED]]
"""
import contextlib
import json
import random
import sqlite3
import sys
import uuid

WORDS = "ada bob carol dave erin frank grace heidi ivan judy mallory niaj olivia peggy rupert sybil trent".split()


def when(rng):
    return f"20{rng.randint(20, 23)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {rng.randint(0, 23):02}:00:00+00:00"


def hexadecimal(rng, digits):
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def network(rng):
    return rng.choice([f"10.{rng.randint(0, 255)}.0.0/16", f"192.168.{rng.randint(0, 255)}.0/24", "0.0.0.0/0", "::/0"])


def networks(rng):
    some = json.dumps(sorted({network(rng) for _ in range(rng.randint(1, 4))}))
    return rng.choice([None, "", "[]", "null", some, some, some])


def addresses(rng, n):
    v4, v6 = f"100.64.{n >> 8 & 255}.{n & 255}", f"fd7a:115c:a1e0::{n:x}"
    return rng.choice([v4, v6, f"{v4},{v6}", f"{v4},{v6}", f"{v6},{v4}", f"{v4},{v6},100.127.0.{n & 255}"])


def host(rng):
    tags = rng.choice([None, [], ["tag:server"], ["tag:ci", "tag:server"]])
    info = {"OS": rng.choice(["linux", "macOS", "windows"]), "Hostname": rng.choice(WORDS), "NetInfo": {"PreferredDERP": 1}}
    return rng.choice([None, json.dumps(info), json.dumps({**info, "RequestTags": tags})])


def headscale(db, count=300, seed=1):
    """`count` machines, and what hangs on them."""
    rng = random.Random(seed)
    users, keys = max(3, count // 20), max(5, count // 8)
    db.executemany(
        "INSERT INTO namespaces VALUES (?, ?, ?, ?, ?)",
        [
            (n, when(rng), when(rng), rng.choice([None, None, None, when(rng)]), f"{rng.choice(WORDS)}{n}")
            for n in range(1, users + 1)
        ],
    )
    db.executemany(
        "INSERT INTO pre_auth_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (n, hexadecimal(rng, 48), rng.randint(1, users), rng.randint(0, 1), rng.randint(0, 1), rng.randint(0, 1), when(rng), when(rng))
            for n in range(1, keys + 1)
        ],
    )  # fmt: skip
    db.executemany(
        "INSERT INTO pre_auth_key_acl_tags(pre_auth_key_id, tag) VALUES (?, ?)",
        [(rng.randint(1, keys + 3), f"tag:{rng.choice(WORDS[:5])}") for _ in range(keys * 2)],
    )
    for n in range(1, count + 1):
        old = rng.random() < 0.3  # keys from before they had a prefix
        kinds = ["", "", ""] if old else ["mkey:", "nodekey:", "discokey:"]
        row = [n, *(kind + hexadecimal(rng, 64) for kind in kinds), addresses(rng, n), f"{rng.choice(WORDS)}_{n}"]
        row += [rng.choice([None, "", f"{rng.choice(WORDS)}-{n}"]), rng.randint(1, users), rng.choice([1, 1, 1, 1, 0, None])]
        row += [rng.choice(["cli", "oidc", "authkey"]), rng.choice([None, "null", "[]", '["tag:db"]'])]
        row += [rng.choice([0, None, rng.randint(1, keys + 4)]), when(rng), when(rng), rng.choice([None, when(rng)])]
        row += [host(rng), '["192.0.2.1:41641"]', networks(rng), when(rng), when(rng), rng.choice([None] * 9 + [when(rng)])]
        db.execute(f"INSERT INTO machines VALUES ({','.join('?' * len(row))})", row)
    db.executemany(
        "INSERT INTO routes(created_at, machine_id, prefix, advertised, enabled, is_primary) VALUES (?, ?, ?, 1, ?, ?)",
        [
            (when(rng), rng.choice([None] + [rng.randint(1, count + 9)] * 9), network(rng), rng.randint(0, 1), rng.randint(0, 1))
            for _ in range(count // 2)
        ],
    )
    db.executemany(
        "INSERT INTO api_keys(prefix, hash, created_at) VALUES (?, ?, ?)",
        [(hexadecimal(rng, 10), rng.randbytes(60), when(rng)) for _ in range(5)],
    )
    db.execute("INSERT INTO kvs VALUES ('db_version', '1')")
    db.execute("INSERT INTO audit(what, namespace) VALUES ('it began', NULL)")


def rows(db, table, count, make):
    """count rows of what make(n) gives for its columns, n from 1."""
    some = [make(n) for n in range(1, count + 1)]
    names = ", ".join(f'"{name}"' for name in some[0])
    marks = ", ".join("?" * len(some[0]))
    db.executemany(f'INSERT INTO "{table}"({names}) VALUES ({marks})', [list(row.values()) for row in some])


def source(rng, n):
    kind = rng.choice([2, 5, 6])
    settings = {"Name": f"directory {n}", "Host": f"ldap{n}.example.org", "Port": 636, "BindPassword": hexadecimal(rng, 16)}
    cfg = json.dumps({"Source": settings}) if kind in (2, 5) else rng.choice(["{}", "", None, json.dumps({"SkipVerify": True})])
    return {"type": kind, "name": f"source {n}", "is_actived": rng.randint(0, 1), "cfg": cfg}


def gitea(db, count=300, seed=1):
    """`count` issues, and what hangs on them."""
    rng = random.Random(seed)
    users, repos = max(5, count // 10), max(4, count // 15)
    name = [f"{rng.choice(WORDS).title()}{n}" for n in range(users + 1)]
    rows(db, "user", users, lambda n: {
        "lower_name": name[n].lower(), "name": name[n], "email": f"{name[n]}@example.org", "is_active": rng.randint(0, 1),
        "type": rng.randint(0, 1), "created_unix": 1500000000 + n})  # fmt: skip
    rows(db, "email_address", users // 2, lambda n: {
        "uid": n, "email": f"{name[n]}@example.org" if n % 3 else f"other{n}@Example.org", "is_activated": rng.randint(0, 1)})  # fmt: skip
    rows(db, "repository", repos, lambda n: {
        "owner_id": rng.randint(1, users), "lower_name": f"project{n}", "name": f"Project{n}", "is_private": rng.randint(0, 1),
        "is_bare": rng.choice([None, 0, 0, 1]), "is_archived": rng.choice([None, None, 0, 1]), "num_stars": n,
        "created_unix": 1500000000 + n})  # fmt: skip
    rows(db, "issue", count, lambda n: {
        "repo_id": n % repos + 1, "index": n // repos + 1, "poster_id": rng.randint(1, users), "name": f"issue {n}",
        "content": rng.choice(["", None, "It is broken. " * rng.randint(1, 40)]), "is_closed": rng.randint(0, 1), "is_pull": n % 2,
        "ref": rng.choice([None, "", "main", "release/v1", "refs/heads/dev", "refs/tags/v1"]),
        "pin_order": rng.choice([0] * 9 + [None, 1, 2, 3]), "created_unix": 1500000000 + n})  # fmt: skip
    rows(db, "pull_request", count // 2, lambda n: {
        "issue_id": 2 * n - 1, "head_repo_id": rng.randint(1, repos), "head_user_name": rng.choice(name), "head_branch": "dev",
        "has_merged": rng.randint(0, 1)})  # fmt: skip
    rows(db, "label", 20, lambda n: {"repo_id": rng.randint(1, repos), "name": f"label {n}", "color": "#ff0000"})
    rows(db, "issue_label", count * 2, lambda n: {"issue_id": rng.randint(1, count + 5), "label_id": rng.randint(1, 23)})
    rows(db, "release", repos, lambda n: {"repo_id": n, "tag_name": f"v1.{n}"})
    rows(db, "attachment", count // 2, lambda n: {
        "uuid": str(uuid.UUID(int=rng.getrandbits(128))), "name": f"{n}.png", "size": rng.randint(1, 1 << 20),
        **rng.choice([{"issue_id": rng.randint(1, count), "release_id": 0}, {"issue_id": 0, "release_id": rng.randint(1, repos)},
                      {"issue_id": 0, "release_id": 0}])})  # fmt: skip
    for n in range(1, count):
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(
                "INSERT INTO reaction(type, issue_id, comment_id, user_id, created_unix) VALUES (?, ?, 0, ?, ?)",
                (rng.choice(["+1", "heart"]), rng.randint(1, count), rng.randint(1, users), 1500000000 + n),
            )
    rows(db, "topic", 12, lambda n: {"name": f"topic{n}", "repo_count": rng.randint(0, 9)})
    rows(db, "repo_topic", repos * 4, lambda n: {"repo_id": rng.choice([None] + [rng.randint(1, repos)] * 9), "topic_id": rng.randint(1, 12)})
    rows(db, "issue_index", repos * 2, lambda n: {"group_id": rng.randint(1, repos), "max_index": rng.randint(1, 99)})
    rows(db, "webhook", repos, lambda n: {
        "repo_id": rng.choice([0, n]), "org_id": rng.choice([None, 0, rng.randint(1, users)]), "url": "https://example.org/hook",
        "signature": hexadecimal(rng, 40), "is_ssl": 1, "is_active": 1, "hook_task_type": rng.choice([None, *range(1, 11)])})  # fmt: skip
    rows(db, "hook_task", count, lambda n: {
        "hook_id": rng.randint(1, repos), "uuid": hexadecimal(rng, 32), "type": rng.choice([None, *range(1, 11)]),
        "signature": hexadecimal(rng, 40), "is_ssl": 1, "payload_content": '{"ref": "main"}', "is_delivered": 1})  # fmt: skip
    rows(db, "login_source", 25, lambda n: source(rng, n))
    rows(db, "u2f_registration", 15, lambda n: {
        "name": f"key {n}", "user_id": rng.randint(1, users), "raw": rng.randbytes(60), "counter": str(rng.randint(0, 9999))})  # fmt: skip
    rows(db, "task", 20, lambda n: {"doer_id": 1, "type": 0, "status": rng.randint(0, 4), "errors": rng.choice([None, "no space"])})
    rows(db, "project", 6, lambda n: {"title": f"plan {n}", "repo_id": rng.randint(1, repos)})
    rows(db, "project_issue", count // 2, lambda n: {"issue_id": rng.randint(1, count // 5), "project_id": rng.randint(1, 6)})


SETS = {"headscale": headscale, "gitea": gitea}

if __name__ == "__main__":
    with contextlib.closing(sqlite3.connect(sys.argv[2])) as connection, connection:
        SETS[sys.argv[1]](connection, *map(int, sys.argv[3:]))
