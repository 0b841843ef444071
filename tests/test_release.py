"""What is installed by ``make`` has the sha256 of every file written down; actions are commits."""

import re
import tomllib
from pathlib import Path

import pytest
from scripts.release_check import LOCKS, find_lock_problems, read_constraints, read_lock

ROOT = Path(__file__).resolve().parents[1]


def test_locks_have_hashes_and_the_versions_of_the_constraints():
    assert list(find_lock_problems(ROOT)) == []
    assert all(len(read_lock(ROOT / f"requirements/{name}.txt")) > 20 for name in LOCKS)


def test_a_lock_without_a_hash_or_of_another_version_is_told(tmp_path):
    (tmp_path / "constraints.txt").write_text("six==1.17.0\nTyping_Extensions==4.16.0\n")
    (tmp_path / "requirements").mkdir()
    whole = f"six==1.17.0 \\\n    --hash=sha256:{'0' * 64}\n"
    for name in LOCKS:
        (tmp_path / "requirements" / f"{name}.txt").write_text(whole)
    assert list(find_lock_problems(tmp_path)) == [
        "requirements/dev.txt lacks typing-extensions. Run: make locks"
    ]
    (tmp_path / "requirements/install.txt").write_text("six==1.16.0 ; python_version > '3'\n")
    assert list(find_lock_problems(tmp_path))[:2] == [
        "requirements/install.txt: six has no hash. Run: make locks",
        "requirements/install.txt: six 1.16.0 is not 1.17.0",
    ]


@pytest.mark.parametrize(
    ("lock", "extras", "builds"),
    [
        ("install", (), True),
        ("serve", ("serve", "heif"), False),
        ("train", ("train", "heif", "report", "data"), False),
        ("dev", ("train", "heif", "report", "data", "dev"), True),
    ],
)
def test_every_dependency_is_in_its_lock(lock, extras, builds):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    wanted += project["build-system"]["requires"] if builds else []
    wanted += [one for e in extras for one in project["project"]["optional-dependencies"][e]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~\[;]", one)[0]).lower() for one in wanted}
    assert names <= set(read_lock(ROOT / f"requirements/{lock}.txt"))


@pytest.mark.parametrize("lock", ["install", "serve"])
def test_who_only_locates_gets_no_torch(lock):
    assert not {"torch", "timm", "onnx"} & set(read_lock(ROOT / f"requirements/{lock}.txt"))


def test_constraints_name_one_version_each():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(read_constraints(ROOT / "constraints.txt")) == len(lines) > 90


def test_actions_are_named_by_commits():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in used)
