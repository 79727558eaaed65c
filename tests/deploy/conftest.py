import os
import shutil
import sys
from pathlib import Path

import pytest

from tiny_models import build_family
from torch_process import torch_pool
from warm_exports import warm_exports

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "scripts")]


@pytest.fixture(scope="session")
def helm():
    """Helm's program, of PATH or of `make deploy-tools`."""
    found = shutil.which("helm", path=os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("helm is not here: `make deploy-tools` fetches it")
    return found


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Variables for servers whose exports shall start at once."""
    with warm_exports(tmp_path_factory.mktemp("warm")) as variables:
        yield variables


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The folder of a small BERT, called ``model``."""
    folder = tmp_path_factory.mktemp("models") / "model"
    with torch_pool() as pool:
        pool.submit(build_family, "BERT", folder).result()
    return folder
