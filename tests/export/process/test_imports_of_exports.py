"""What the source libraries import and no export calls is imported when it is called."""

import subprocess
import sys

CODE = """
import gc, sys
from ingrain.export.process import imports

with imports._without_collections(), imports._metrics_on_demand():
    assert not gc.isenabled()
    from sklearn.metrics import pairwise_distances
assert gc.isenabled() and gc.get_freeze_count()
assert not [name for name in sys.modules if name.startswith("sklearn")]
print(pairwise_distances([[1, 2]], [[4, 6]], metric="manhattan").tolist())
import sklearn.metrics
assert sklearn.metrics.accuracy_score([1], [1]) == 1
"""


def test_functions_of_scikit_learn_are_imported_by_their_first_call() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[7.0]]\n", "")
