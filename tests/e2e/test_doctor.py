"""holdfast doctor: what it says of stores that can do all, and of those that cannot."""
import json
import os

import pytest

from places import bucket


STEPS = ["put", "conditional put", "get", "range", "metadata", "list", "multipart", "delete"]


def test_all_works_and_nothing_is_left(box):
    box.new_app().close()
    said = box.holdfast("doctor", box.replica)
    rows = said.out.splitlines()
    assert [r.split("  ")[0].strip() for r in rows[1:9]] == ["ok"] * 8
    assert "holdfast replicate DB '" in said.out and "-unfenced" not in said.out
    assert not [f for f in box.replica.rglob("*") if f.is_file()]


def test_json(box):
    said = box.holdfast("doctor", "-json", box.replica).json
    assert said["ok"] and [s["step"] for s in said["steps"]] == STEPS
    assert all(s["ok"] and s["error"] == "" for s in said["steps"])


@pytest.mark.file_only("it uses a bucket of another server")
def test_a_store_without_conditions(box):
    if "HOLDFAST_TEST_SWIFT" not in os.environ:
        pytest.skip("no OpenStack Swift here")
    root = bucket("SWIFT")
    said = box.holdfast("doctor", root, code=10)
    assert "FAIL  conditional put" in said.out and "holdfast replicate -unfenced DB" in said.out
    assert said.out.count("FAIL") == 1
    assert not list(root.rglob("*"))


def test_the_policy_names_the_bucket_and_the_prefix(box):
    if "s3" not in box.holdfast("doctor", "-json", box.replica).json["url"][:2]:
        return
    said = box.holdfast("doctor", "-json", box.replica).json
    objects, lists = said["policy"]["Statement"]
    name, prefix = said["url"][5:].split("?")[0].split("/", 1)
    assert objects["Resource"] == f"arn:aws:s3:::{name}/{prefix}/*"
    assert lists["Condition"] == {"StringLike": {"s3:prefix": f"{prefix}/*"}}


@pytest.mark.file_only("it is about what is said of wrong input")
def test_wrong_input(box):
    box.holdfast("doctor", code=2)
    box.holdfast("doctor", "a", "b", code=2)
    box.holdfast("doctor", "-wat", "a", code=2)
    box.holdfast("doctor", "s3://bucket/a?skipVerify=true", code=2)
    (box.path / "plain").write_text("")
    assert box.holdfast("doctor", box.path / "plain", code=None).code != 0


@pytest.mark.file_only("there is no store")
def test_what_cannot_be_reached_is_said_once(box):
    said = box.holdfast("doctor", "s3://bucket/a?endpoint=http://127.0.0.1:9", code=1)
    assert said.out.count("FAIL") == 1 and "use:" not in said.out and "unfenced" not in said.out


def test_the_bucket_in_the_name_of_the_host(box):
    """localhost and all names below it are this machine: Ceph takes bucket.localhost."""
    if not str(box.replica).startswith("s3:"):
        return
    other = str(box.replica).replace("127.0.0.1", "localhost").replace("&force-path-style=true", "")
    assert "FAIL" not in box.holdfast("doctor", f"{other}&force-path-style=false").out
