"""What the error of a wrong body says of the value."""

import pytest

from ingrain.api.rerank import RerankRequest
from ingrain.errors import InvalidRequestError
from ingrain.server.plane.bodies import decode


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"topN": 0, "name": "a", "query": "b", "documents": ["c"]}', "expected int >= 1, got 0."),
        (b'{"name": "a", "query": "b", "documents": ["c"], "top_n": -5}', "expected int >= 1, got -5."),
        (b'{"topN": 0, "query": ', "expected int >= 1."),
        (b'{"query": 7}', "expected str, got int."),
        (b'{"documents": []}', "expected array of length >= 1."),
    ],
)
def test_a_number_out_of_bounds_is_told(body, said):
    """Texts are not, and what follows the field need not be JSON."""
    with pytest.raises(InvalidRequestError) as raised:
        decode(body, RerankRequest)
    assert raised.value.message.endswith(said)
