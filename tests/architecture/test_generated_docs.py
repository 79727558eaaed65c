"""The generated pages say what the code says."""

from pathlib import Path

import pytest

from ingrain.cli.docs import pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_a_generated_page_is_up_to_date(name):
    assert (DOCS / name).read_text("utf-8") == pages()[name], "run `make docs`"
