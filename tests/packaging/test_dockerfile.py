"""The Dockerfile, without an engine: a linter's opinion, and what must hold of its stages."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile_stages import environment, lineage, read_stages

ROOT = Path(__file__).parents[2]
STAGES = read_stages(ROOT / "Dockerfile")
IMAGES = ("serve", "full")


def test_the_linter_finds_nothing():
    """Hadolint, which also runs shellcheck on every RUN, has nothing to say."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_default_image_converts_and_the_other_cannot():
    """`docker build .` gives `full`; nothing that `serve` is made of installs the exporter."""
    assert list(STAGES)[-1] == "full"
    assert "export" in " ".join(text for stage in lineage(STAGES, "full-install") for text in stage.values("RUN"))
    serve = lineage(STAGES, "serve") + lineage(STAGES, "serve-install")
    assert not re.search(r"export|torch|\ball\b", " ".join(text for stage in serve for text in stage.values("RUN")))
    assert STAGES["serve"].values("COPY") == ["--from=serve-install /opt/ingrain /opt/ingrain"]


def test_every_image_from_outside_is_pinned_to_a_patch_release():
    """The base names its Python to the third number and its Debian, so that two builds start from the same."""
    outside = {stage.base for stage in STAGES.values()} - set(STAGES)
    assert len(outside) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", outside.pop())


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_runs_as_a_user_that_owns_what_it_writes(image):
    """It starts as root, whose entry point drops to uid 1000; the folders of repository and cache are made for it."""
    built = lineage(STAGES, image)
    users = [user for stage in built for user in stage.values("USER")]
    assert users[-1] == "0:0"
    assert "image_user=1000\n" in (ROOT / "docker" / "entrypoint.sh").read_text(encoding="utf-8")
    made = " ".join(text for stage in built for text in stage.values("RUN"))
    assert "useradd --uid 1000" in made
    variables = environment(built, {})
    for folder in (variables["INGRAIN_REPOSITORY"], str(Path(variables["HF_HOME"]).parent)):
        assert re.search(rf"install --directory --owner=ingrain --group=ingrain [^&]*{folder}\b", made)


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_serves_both_planes_and_stops_when_told(image):
    """Both ports are exposed and reachable from outside, the health check is ours, SIGTERM reaches the server."""
    built = lineage(STAGES, image)
    steps = {kind: text for stage in built for kind, text in stage.steps}
    assert steps["EXPOSE"] == "8686 8687"
    assert environment(built, {})["INGRAIN_HOST"] == "0.0.0.0"
    assert steps["STOPSIGNAL"] == "SIGTERM"
    assert (steps["ENTRYPOINT"], steps["CMD"]) == ('["ingrain-entrypoint", "ingrain"]', '["serve"]')
    assert 'CMD ["ingrain-health"]' in steps["HEALTHCHECK"]


@pytest.mark.parametrize("image", IMAGES)
def test_the_folders_of_the_first_generation_lead_to_repository_and_cache(image):
    """What a Compose file mounts in /app is found; a mount over a link lands at the link's target."""
    built = lineage(STAGES, image)
    variables = environment(built, {})
    made = " ".join(text for stage in built for text in stage.values("RUN"))
    for folder, link in ((variables["INGRAIN_REPOSITORY"], "model_repository"), (variables["HF_HOME"], "model_cache")):
        assert f"ln --symbolic {folder} /app/{link}" in made
        assert re.search(rf"install --directory --owner=ingrain [^&]*{folder}\b", made)


def test_what_is_copied_is_in_the_build_context():
    """Every file that COPY takes from the tree exists, and .dockerignore lets it through."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    for stage in STAGES.values():
        for text in stage.values("COPY"):
            *flags_and_sources, _ = shlex.split(text)
            if any(word.startswith("--from") for word in flags_and_sources):
                continue
            for source in (word for word in flags_and_sources if not word.startswith("--")):
                assert (ROOT / source).exists(), source
                assert any(source == name or fnmatch.fnmatch(source, f"{name}/*") for name in kept), source


def test_no_secret_of_the_tree_reaches_the_build_context():
    """.dockerignore starts from nothing, so that a new file (a token, a model) stays out until it is named."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and not line.startswith("#")) == "*"
