"""The dialects that the server serves. The first one answers requests that match no dialect."""

from __future__ import annotations

from ingrain.server.dialects.cohere.dialect import COHERE
from ingrain.server.dialects.first_generation import FIRST_GENERATION
from ingrain.server.dialects.kserve.dialect import KSERVE
from ingrain.server.dialects.mixedbread import MIXEDBREAD
from ingrain.server.dialects.native.dialect import NATIVE
from ingrain.server.dialects.nim import NIM
from ingrain.server.dialects.ollama.dialect import OLLAMA
from ingrain.server.dialects.openai.azure import AZURE
from ingrain.server.dialects.openai.dialect import OPENAI
from ingrain.server.dialects.openai.infinity import INFINITY
from ingrain.server.dialects.openai.lm_studio import LM_STUDIO
from ingrain.server.dialects.openai.vllm_dialect import VLLM
from ingrain.server.dialects.tei.dialect import TEI
from ingrain.server.dialects.voyage.dialect import VOYAGE
from ingrain.server.plane.route import Dialect

DIALECTS: tuple[Dialect, ...] = (
    NATIVE,
    OPENAI,
    TEI,
    OLLAMA,
    COHERE,
    AZURE,
    LM_STUDIO,
    INFINITY,
    VLLM,
    VOYAGE,
    NIM,
    KSERVE,
    MIXEDBREAD,
    FIRST_GENERATION,
)
