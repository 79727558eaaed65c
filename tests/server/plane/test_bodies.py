"""What the error of a wrong body says of the value."""

from typing import Any

import msgspec
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


class Anything(msgspec.Struct, forbid_unknown_fields=True):
    query: Any


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The body is empty."),
        (b" \n", "The body is empty."),
        (b'\xef\xbb\xbf{"query": "x"}', "not valid JSON: it begins with a byte order mark."),
        ('{"query": "x"}'.encode("utf-16"), "not valid JSON: it begins with a byte order mark."),
        (b'{"query": "\xff"}', "The body is not UTF-8 at byte 11."),
        (b'{"query": \xff}', "The body is not UTF-8 at byte 10."),
        (b'{"query": "x",}', "not valid JSON: look at byte 14."),
        (b"{'query': 'secret'}", "not valid JSON: look at byte 1."),
        (b'{"query": "secret', "not valid JSON: it ends too soon, at byte 17."),
        (b'{"query": ' + b"[" * 5_000, "not valid JSON: it is nested too deeply."),
    ],
)
def test_what_is_no_json_is_refused_with_the_place_and_without_its_text(body, reason):
    with pytest.raises(InvalidRequestError) as refused:
        decode(body, Anything)
    assert reason in refused.value.message
    assert refused.value.message.endswith(
        "Send a JSON object, with names and texts in double quotes, in UTF-8 as application/json."
    )
    assert "secret" not in refused.value.message
