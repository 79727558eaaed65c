"""What the source libraries import and no export calls is imported when it is called."""

import subprocess
import sys

SKLEARN = """
import gc, sys
from ingrain.export.process import imports

with imports._without_collections(), imports._on_demand(["sklearn.metrics"]):
    assert not gc.isenabled()
    from sklearn.metrics import pairwise_distances
assert gc.isenabled() and gc.get_freeze_count()
assert not [name for name in sys.modules if name.startswith("sklearn")]
print(pairwise_distances([[1, 2]], [[4, 6]], metric="manhattan").tolist())
import sklearn.metrics
assert sklearn.metrics.accuracy_score([1], [1]) == 1
"""

ALL = """
import sys
from ingrain.export.families.table import family_of
from ingrain.export.process.imports import Imports

Imports(family_of("sentence_transformers")).wait()
left = {"sklearn", "timm", "scipy.optimize", "torchvision.models", "torchvision.datasets"} & sys.modules.keys()
assert not left, left

from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert linear_sum_assignment([[2, 1], [1, 2]])[1].tolist() == [1, 0]
from transformers.models.timm_wrapper.configuration_timm_wrapper import infer_imagenet_subset
assert infer_imagenet_subset({"num_classes": 1000}) == "imagenet-1k"
import torchvision
assert torchvision.models.resnet18.__module__ == "torchvision.models.resnet"
from torchvision.datasets import MNIST
import open_clip, timm
assert timm.data.IMAGENET_DEFAULT_MEAN == (0.485, 0.456, 0.406)

from transformers import models
from transformers.utils import import_utils
read = import_utils.create_import_structure_from_path
assert read.cache_info().hits > 200
import_utils.create_import_structure_from_path = read.__wrapped__
plain = import_utils.define_import_structure(models.__file__)
import_utils.create_import_structure_from_path = read
assert plain == import_utils.define_import_structure(models.__file__)
print("as always")
"""


def run(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def test_functions_of_scikit_learn_are_imported_by_their_first_call() -> None:
    assert run(SKLEARN) == ("[[7.0]]\n", "")


def test_what_texts_do_not_need_is_imported_when_it_is_asked_for() -> None:
    printed, complained = run(ALL)
    assert printed == "as always\n", complained
