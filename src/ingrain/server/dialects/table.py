"""The dialects that the server serves. The first one answers requests that match no dialect."""

from __future__ import annotations

from ingrain.server.dialects.first_generation import FIRST_GENERATION
from ingrain.server.dialects.native.dialect import NATIVE
from ingrain.server.dialects.ollama.dialect import OLLAMA
from ingrain.server.dialects.openai.dialect import OPENAI
from ingrain.server.dialects.tei.dialect import TEI
from ingrain.server.plane.route import Dialect

DIALECTS: tuple[Dialect, ...] = (NATIVE, OPENAI, TEI, OLLAMA, FIRST_GENERATION)
