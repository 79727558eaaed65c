"""The dialects that the server speaks: a line for each. The first one answers what belongs to no other."""

from __future__ import annotations

from ingrain.server.dialects.first_generation import FIRST_GENERATION
from ingrain.server.dialects.native.dialect import NATIVE
from ingrain.server.dialects.openai.dialect import OPENAI
from ingrain.server.plane.route import Dialect

DIALECTS: tuple[Dialect, ...] = (NATIVE, OPENAI, FIRST_GENERATION)
