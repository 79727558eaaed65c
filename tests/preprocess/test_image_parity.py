"""Our pixels against the real transforms of OpenCLIP, timm and transformers."""

import pytest

from image_parity import Case, cases, difference
from images import LARGE, awkward_pictures, photographs

PICTURES = {**photographs(), **awkward_pictures()}


@pytest.fixture(scope="module")
def every_case() -> list[Case]:
    import torch

    torch.set_num_threads(1)
    return cases()


def test_there_are_enough_photographs() -> None:
    assert len(photographs()) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_the_source_librarys_to_the_bit(name: str, every_case: list[Case]) -> None:
    """For every resize mode, filter, shape and fill on a third of the pictures; ``make pixels`` has hundreds more."""
    some = every_case[::6] if name == LARGE else every_case[list(PICTURES).index(name) % 3 :: 3]
    differences = {case.name: difference(case, PICTURES[name]) for case in some}
    assert {case: value for case, value in differences.items() if value != 0} == {}


@pytest.mark.slow
def test_the_measure_sees_a_wrong_filter(every_case: list[Case]) -> None:
    """What OpenCLIP asks for and what we do are compared for real: swapped configurations differ."""
    bicubic, bilinear = (
        next(c for c in every_case if f"shortest {name} 224" in c.name) for name in ("bicubic", "bilinear")
    )
    swapped = Case("swapped", bicubic.config, bilinear.transform)
    assert difference(swapped, PICTURES["chelsea.png"]) > 0.05
