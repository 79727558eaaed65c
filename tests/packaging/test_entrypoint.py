"""The images' entry point, run as it is: who owns what afterwards, and as whom the command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "entrypoint.sh"
TELL = 'echo "$(id -u):$(id -g) $(id -G)"; touch "$INGRAIN_REPOSITORY/desired.json" "$HF_HOME/file"'

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give folders away, with setpriv"
)


@pytest.fixture
def folders():
    """A repository with graphs of another program, and a cache, both root's; other users can reach them."""
    root = Path(tempfile.mkdtemp(prefix="entrypoint-"))
    root.chmod(0o755)
    for folder in ("repository/triton", "repository/original/1", "cache/huggingface/hub/models--org--name"):
        (root / folder).mkdir(parents=True)
    yield root
    shutil.rmtree(root)


def run(root: Path, *command: str, user: int | None = None) -> str:
    variables = {
        "PATH": os.environ["PATH"],
        "INGRAIN_REPOSITORY": str(root / "repository"),
        "HF_HOME": str(root / "cache" / "huggingface"),
    }
    arguments = ["sh", str(SCRIPT), *(command or ("sh", "-c", TELL))]
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, timeout=30, user=user, group=user)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def owner(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


@as_root
def test_folders_that_docker_made_are_given_to_the_images_user(folders):
    """Other programs' graphs keep their owner."""
    assert run(folders) == "1000:1000 1000"
    for given in ("repository", "repository/triton", "cache", "cache/huggingface/hub/models--org--name"):
        assert owner(folders / given) == (1000, 1000), given
    for kept in ("repository/original", "repository/original/1"):
        assert owner(folders / kept) == (0, 0), kept
    assert run(folders) == "1000:1000 1000"  # and again, when it starts anew


@as_root
def test_the_server_runs_as_the_owner_of_a_mounted_cache(folders):
    """A cache in somebody's home stays theirs, and what root put there before becomes theirs too."""
    os.chown(folders / "cache" / "huggingface", 1234, 2345)
    assert run(folders) == "1234:2345 2345"
    for given in ("repository", "repository/triton", "cache/huggingface/hub/models--org--name"):
        assert owner(folders / given) == (1234, 2345), given


@as_root
def test_a_repository_behind_a_link_is_given_too(folders):
    """As at /app/model_repository, which is a link in the images."""
    (folders / "repository").rename(folders / "mounted")
    (folders / "repository").symlink_to("mounted")
    assert run(folders) == "1000:1000 1000"
    assert owner(folders / "mounted") == (1000, 1000)


@as_root
def test_a_container_of_another_user_changes_nothing(folders):
    """As with `--user`: nothing is given away, and the command runs at once."""
    os.chown(folders / "repository", 4321, 4321)
    os.chown(folders / "cache" / "huggingface", 4321, 4321)
    assert run(folders, user=4321) == "4321:4321 4321"
    assert owner(folders / "repository" / "triton") == (0, 0)


def test_root_of_a_user_namespace_stays_what_it_is(folders):
    """Rootless Docker: root there is an ordinary user outside, who owns the mounted folders."""
    namespace = ["unshare", "--user", "--map-root-user"]
    if os.geteuid() == 0:
        namespace = ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", *namespace]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run([*namespace, "sh", str(SCRIPT), "id", "-u"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.strip()) == (0, "0")


def test_arguments_and_exit_status_are_the_commands(folders):
    variables = {"INGRAIN_REPOSITORY": str(folders / "repository"), "HF_HOME": str(folders / "cache" / "huggingface")}
    done = subprocess.run(
        ["sh", str(SCRIPT), "sh", "-c", 'printf "%s|" "$@"; exit 7', "name", "two words", ""],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (7, "two words||")
