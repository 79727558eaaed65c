"""Our pooling against sentence-transformers' own, on random tokens with padding on either side."""

from concurrent.futures import ProcessPoolExecutor

import export_in_process as in_process
import pytest

pytestmark = pytest.mark.slow

MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.mark.parametrize("prompt_length", [0, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_pooling_mode_equals_the_source(
    exporting: ProcessPoolExecutor,
    side: str,
    prompt_length: int,
) -> None:
    """Also for texts that are nothing but their prompt."""
    for modes in [*((mode,) for mode in MODES), ("mean", "max", "cls"), tuple(MODES)]:
        assert exporting.submit(in_process.pooling_difference, modes, side, prompt_length).result() < 1e-6, modes
