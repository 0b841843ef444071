"""What is installed has the sha256 of every file written down; what is released is looked at."""

import datetime
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from scripts import release
from scripts.release_check import (
    LOCKS,
    MACHINE_PATHS,
    find_carried_problems,
    find_licence_problems,
    find_lock_problems,
    find_machine_paths,
    find_wheel_problems,
    is_free,
    read_constraints,
    read_lock,
)
from tests.test_documents import parameters as cli_parameters

from crossview.service.access import PUBLIC_PATHS

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


@pytest.mark.parametrize("lock", ["services-street", "services-maps"])
def test_servers_of_the_tests_have_locks_of_their_own(lock):
    """Not by the constraints: the servers pin other versions of what crossview uses."""
    versions = read_lock(ROOT / f"requirements/{lock}.txt")
    assert len(versions) > 20
    assert all(hashes for _, hashes in versions.values())
    wanted = (ROOT / f"requirements/{lock}.in").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", wanted, re.M))
    assert pinned
    assert all(versions[name.lower()][0] == version for name, version in pinned.items())


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
    texts = [path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")]
    used = [action for text in texts for action in re.findall(r"uses: (\S+)", text)]
    assert len(texts) == 2
    assert used
    assert all(re.fullmatch(r"(actions|pypa)/[a-z-]+@[0-9a-f]{40}", action) for action in used)


# -- what is released --


def archive(path, **files):
    """A wheel that holds these files."""
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


WHEEL = {
    "crossview/__init__.py": "",
    "crossview/py.typed": "",
    "crossview/web/vendor/vendor.json": json.dumps(
        {"map": {"licence": "MIT", "sha256": {"map.LICENSE": hashlib.sha256(b"MIT").hexdigest()}}}
    ),
    "crossview/web/vendor/map.LICENSE": "MIT",
    "crossview/packaged_models/town/model.json": json.dumps(
        {"licence": "Apache-2.0", "attributions": ["(c) Owner of pictures"]}
    ),
    "crossview/packaged_models/town/model.onnx": "weights",
    "crossview-1.dist-info/licenses/LICENSE": "",
    "crossview-1.dist-info/licenses/NOTICE": "The model `town`: (c) Owner\n  of pictures.",
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"crossview/fonts/one.woff2": "?"}, "nothing says whose crossview/fonts/one.woff2 is"),
        ({"crossview/web/vendor/other.js": "?"}, "whose crossview/web/vendor/other.js is"),
        ({"crossview/web/vendor/map.LICENSE": "?"}, "is not what vendor.json says"),
        ({"crossview-1.dist-info/licenses/NOTICE": "`town`"}, "Owner of pictures"),
        ({"crossview-1.dist-info/licenses/NOTICE": "(c) Owner of pictures"}, "the model town"),
        ({"crossview/sky.jpg": "?", "crossview-1.dist-info/licenses/NOTICE":
          "`town` (c) Owner of pictures; `sky.jpg`, CC0"}, None),
    ],
)  # fmt: skip
def test_what_a_wheel_carries_says_its_licence(tmp_path, changes, problem):
    problems = list(find_carried_problems(archive(tmp_path / "a.whl", **{**WHEEL, **changes})))
    assert (problem is None) == (problems == [])
    assert problem is None or problem in problems[0]


def test_a_wheel_holds_the_package_that_git_keeps_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "scripts.release_check.list_kept",
        lambda _: {f"src/{name}" for name in WHEEL if "dist-info" not in name} | {"tests/a.py"},
    )
    assert list(find_wheel_problems(archive(tmp_path / "a.whl", **WHEEL))) == []
    more = {**WHEEL, "tests/a.py": "", "crossview/scratch.py": ""}
    del more["crossview/py.typed"]
    assert list(find_wheel_problems(archive(tmp_path / "b.whl", **more))) == [
        "b.whl holds tests/a.py",
        "b.whl lacks crossview/py.typed",
        "b.whl holds crossview/scratch.py, which git does not keep",
        "b.whl lacks crossview/py.typed, which git keeps",
    ]


def test_a_path_of_one_machine_is_found_in_both_archives(tmp_path):
    told = f"made in {MACHINE_PATHS[2]}anna"
    wheel = archive(tmp_path / "a.whl", **{"crossview/a.py": told, "crossview/b.py": "/usr/bin"})
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as source:
        entry = tarfile.TarInfo("a/src/a.py")
        entry.size = len(told)
        source.addfile(entry, io.BytesIO(told.encode()))
    assert len(list(find_machine_paths(wheel))) == 1
    assert len(list(find_machine_paths(tmp_path / "a.tar.gz"))) == 1


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT)", False),
        ("License :: OSI Approved :: BSD License", True),
        ("License :: Other/Proprietary License", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
    ],
)
def test_a_licence_is_free_if_every_user_can_meet_it(licence, free):
    assert is_free(licence) is free


def test_a_package_without_a_licence_is_named():
    part = {"name": "thing", "version": "2"}
    assert list(find_licence_problems({"components": [part]})) == [
        "thing 2: its licence is unknown"
    ]
    part["licenses"] = [{"license": {"name": "free for all"}}, {"license": {"id": "MIT"}}]
    assert list(find_licence_problems({"components": [part]})) == []


def test_classifiers_are_the_versions_that_are_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = {c.rpartition(" ")[2] for c in project["classifiers"] if ":: Python :: 3." in c}
    tried = re.findall(r"python: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    assert said == set(re.findall(r"[\d.]+", tried[0]))


def test_hooks_check_with_the_versions_of_the_constraints():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    wanted = [one for hook in hooks for one in hook.get("additional_dependencies", [])]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", one) for one in wanted)
    assert f"ruff=={read_constraints(ROOT / 'constraints.txt')['ruff']}" in wanted


# -- containers --


CONTAINERS = sorted((ROOT / "containers").glob("*.Containerfile"))


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda p: p.stem)
def test_an_image_is_made_of_the_wheel_and_the_locks_and_runs_as_nobody_of_note(path):
    text = path.read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M)
    lock = copied[0].split()[0]
    assert copied == [f"{lock} dist/*.whl"]
    assert (ROOT / lock).is_file()
    assert {f"!{lock}", "!dist/*.whl"} <= set((ROOT / ".dockerignore").read_text().splitlines())
    assert text.count("--require-hashes") == 1
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001:10001"]
    assert len(set(re.findall(r"^FROM (\S+)", text, re.M))) == 1


def test_the_container_of_the_service_asks_a_route_that_needs_no_key_and_names_real_options():
    text = (ROOT / "containers/service.Containerfile").read_text()
    (asked,) = re.findall(r"http://127\.0\.0\.1:8765(/\S+?)'", text)
    assert asked in PUBLIC_PATHS
    service = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())["services"][
        "crossview"
    ]
    given = {word.partition("=")[0] for word in service["command"]}
    given |= {word for word in json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.M)[0])[2:]
              if word.startswith("--")}  # fmt: skip
    assert given <= {o for p in cli_parameters("serve") for o in p.opts}
    assert service["read_only"] is True
    assert service["volumes"][0]["read_only"] is True


# -- a version --


CHANGES = """# Changelog

## [Unreleased]

### Added

- A thing.

### Removed

- `old_name`: use `new_name`.

## [0.2.0] - 2026-01-01

### Deprecated

- `old_name` goes with the next version but one.
"""


@pytest.fixture
def project(tmp_path):
    """A repository with what a release changes, at version 0.2.0."""
    (tmp_path / "src/crossview").mkdir(parents=True)
    (tmp_path / release.VERSION_FILE).write_text('"""."""\n\n__version__ = "0.2.0"\n')
    (tmp_path / release.CITATION).write_text(
        "title: a\nversion: 0.2.0\ndate-released: 2026-01-01\n"
    )
    (tmp_path / release.CHANGELOG).write_text(CHANGES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "Nobody")
    git(tmp_path, "config", "user.email", "nobody@example.org")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_release_changes_every_place_of_the_version_in_one_commit_with_a_tag(
    project, monkeypatch, capsys
):
    monkeypatch.setattr(release, "ROOT", project)
    assert release.main(["0.3.0"]) == 0
    assert "Nothing was changed" in capsys.readouterr().out
    assert git(project, "status", "--porcelain") == ""
    assert release.main(["0.3.0", "--commit"]) == 0
    assert git(project, "status", "--porcelain") == ""
    assert set(git(project, "show", "--name-only", "--format=").splitlines()) == {
        release.VERSION_FILE, release.CITATION, release.CHANGELOG,
    }  # fmt: skip
    assert git(project, "tag", "--points-at", "HEAD") == "v0.3.0"
    assert "### Removed" in git(project, "tag", "--list", "--format=%(contents)", "v0.3.0")
    assert release.read_version(project) == "0.3.0"
    today = datetime.datetime.now(tz=datetime.UTC).date()
    assert (project / release.CITATION).read_text() == (
        f"title: a\nversion: 0.3.0\ndate-released: {today}\n"
    )
    sections = release.read_sections((project / release.CHANGELOG).read_text())
    assert list(sections) == ["Unreleased", "0.3.0", "0.2.0"]
    assert sections["Unreleased"] == ""
    capsys.readouterr()
    assert release.main(["--notes", "0.3.0"]) == 0
    assert capsys.readouterr().out.strip() == sections["0.3.0"]
    assert release.main(["0.4.0", "--commit"]) == 1
    assert 'says nothing under "## [Unreleased]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "old", "new", "problem"),
    [
        ("0.3.0", "", "", None),
        ("1.0.0", "", "", None),
        ("v0.3.0", "", "", "is no version"),
        ("0.3", "", "", "is no version"),
        ("0.2.0", "", "", "0.2.0 is there already"),
        ("0.1.9", "", "", "0.1.9 is before 0.2.0"),
        ("0.4.0", "", "", "0.4.0 does not follow 0.2.0"),
        ("0.2.1", "", "", "would only mend 0.2.0, and there are lines under Added, Removed"),
        ("0.2.1", CHANGES[13:105], "## [Unreleased]\n\n### Fixed\n\n- It.\n", None),
        ("0.3.0", "### Added", "### Addded", "no heading is called Addded"),
        ("0.3.0", "- `old_name`:", "- `other`:", "`other` is removed, and no version before"),
        ("0.3.0", "- A thing.", "", None),  # what is removed is news enough
    ],
)
def test_a_version_that_cannot_be_is_refused(project, version, old, new, problem):
    assert old in CHANGES
    (project / release.CHANGELOG).write_text(CHANGES.replace(old, new, 1) if old else CHANGES)
    problems = list(release.find_problems(project, version))
    assert (problem is None) == (problems == [])
    assert problem is None or problem in problems[0]


def test_from_version_1_on_nothing_goes_without_a_new_first_number(project):
    text = CHANGES.replace("0.2.0", "1.2.0")
    (project / release.CHANGELOG).write_text(text)
    (project / release.VERSION_FILE).write_text('__version__ = "1.2.0"\n')
    assert list(release.find_problems(project, "1.3.0")) == [
        "Something is removed: from 1.0.0 on that asks for 2.0.0"
    ]
    assert list(release.find_problems(project, "2.0.0")) == []


def test_what_nobody_has_committed_is_in_no_version(project, monkeypatch, capsys):
    (project / "scratch.txt").write_text("")
    monkeypatch.setattr(release, "ROOT", project)
    assert release.main(["0.3.0", "--commit"]) == 1
    assert "?? scratch.txt" in capsys.readouterr().err
    assert git(project, "tag") == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows runs hooks through another shell")
def test_a_hook_that_refuses_leaves_everything_as_it_was(project, monkeypatch):
    hook = project / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setattr(release, "ROOT", project)
    with pytest.raises(SystemExit):
        release.main(["0.3.0", "--commit"])
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "tag") == ""


def test_the_next_version_can_be_made_of_this_project():
    """The change log can be read, and every file that names the version is found."""
    text = (ROOT / release.CHANGELOG).read_text(encoding="utf-8")
    assert (
        release.read_headings(release.read_sections(text)["Unreleased"]).keys() <= release.HEADINGS
    )
    changed = release.change_files(ROOT, "99.0.0", datetime.date(2030, 1, 2))
    assert all("99.0.0" in content for content in changed.values())
    assert "version: 99.0.0\ndate-released: 2030-01-02\n" in changed[release.CITATION]
    assert "## [Unreleased]\n\n## [99.0.0] - 2030-01-02\n" in changed[release.CHANGELOG]
