"""What the tests of other formulations run in the process that has torch."""

from pathlib import Path
from typing import Any

import export_in_process as in_process
import msgspec
import numpy as np


def network_of(family: str) -> Any:
    """Return the network of a small family, its weights wide."""
    from tiny_families import FAMILIES
    from tiny_models import prepare_libraries, randomize, small_config
    from tiny_tokenizers import build_tokenizer

    prepare_libraries()
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    chosen = FAMILIES[family]
    network = AutoModel.from_config(small_config(chosen, build_tokenizer(chosen.tokenizer, chosen.template)))
    randomize(network)
    return network.eval()


def attention_of(kind: str, folder: Path) -> str:
    """Return the attention with which a small model is loaded whose options ask for a kernel of GPUs."""
    import json

    from ingrain.export.families.sentence_transformers.source import load_in_float32
    from tiny_multi_vector import build_native
    from tiny_scorers import build_cross_encoder
    from tiny_sparse import build_splade

    builds = {"CrossEncoder": build_cross_encoder, "MultiVectorEncoder": build_native, "SparseEncoder": build_splade}
    builds[kind](folder)
    options = folder / "sentence_bert_config.json"
    flash = {"model_kwargs": {"attn_implementation": "flash_attention_2"}}
    options.write_text(json.dumps(json.loads(options.read_text()) | flash))
    import sentence_transformers

    model = load_in_float32(getattr(sentence_transformers, kind), folder, trusted=False)
    return str(model[0].model.config._attn_implementation)


def difference_of_all_experts(family: str) -> tuple[int, float]:
    """Return how many layers were replaced, and by how much the tokens' vectors differ at most, padding apart."""
    from ingrain.export.huggingface.experts import compute_all_experts

    network = network_of(family)
    own = _tokens(network)
    return compute_all_experts(network), float(np.abs(_tokens(network) - own).max())


def differences_of_tokens_that_see_none() -> tuple[float, float]:
    """Return by how much tokens' vectors differ from those of torch's attention, as ``attend_with_zeros`` and plainly.

    Of ModernBERT, whose local attention sees 8 tokens to each side, with 5 tokens before 35 that are masked.
    """
    from ingrain.export.huggingface.unseeing_tokens import attend_with_zeros, window_of

    network = network_of("ModernBERT")
    assert window_of(network) == 8
    import torch

    ids = torch.arange(10, 50)[None]
    mask = (torch.arange(40) < 5).long()[None]

    def vectors() -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return network(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    network.set_attn_implementation("sdpa")
    own = vectors()
    network.set_attn_implementation("eager")
    plain = vectors()
    attend_with_zeros(network)
    return float(np.abs(vectors() - own).max()), float(np.abs(plain - own).max())


def difference_of_longformer() -> float:
    """Return by how much the tokens' vectors differ at most, over lengths around the window's multiples."""
    from ingrain.export.huggingface.longformer import widen_attention

    network = network_of("Longformer")
    own = [_tokens(network, length) for length in _LENGTHS]
    assert widen_attention(network)
    return max(
        float(np.abs(_tokens(network, length) - before).max()) for length, before in zip(_LENGTHS, own, strict=True)
    )


def difference_of_nomic_experts() -> float:
    """Compare the replacement with a class that has the attributes of nomic-embed-text-v2-moe's, written from them."""
    import torch
    from torch import nn

    from ingrain.export.huggingface.experts import compute_all_experts

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1, self.w2 = (nn.Parameter(torch.randn(4 * 24, 16) * 0.3) for _ in range(2))
            self.activation_fn = nn.functional.gelu

    class NomicExperts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.moe_num_experts, self.mlp, self.bias = 4, Mlp(), nn.Parameter(torch.randn(16))

        def forward(self, x: Any, weights: Any, top_weights: Any, top_experts: Any) -> Any:
            rows = x.reshape(-1, 16)
            out = torch.zeros_like(rows)
            for row, (given, numbers) in enumerate(zip(top_weights, top_experts, strict=True)):
                for weight, number in zip(given, numbers, strict=True):
                    up = self.mlp.w1.view(4, 24, 16)[number]
                    down = self.mlp.w2.view(4, 24, 16)[number]
                    out[row] += weight * (self.mlp.activation_fn(rows[row] @ up.T) @ down)
            return out.view(x.shape) + self.bias

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = NomicExperts()

    torch.manual_seed(0)
    layer, x = Layer(), torch.randn(2, 5, 16)
    weights = torch.softmax(torch.randn(10, 4), dim=-1)
    given = (x, weights, *torch.topk(weights, 2))
    with torch.inference_mode():
        own = layer.experts(*given)
        assert compute_all_experts(layer) == 1
        return float((layer.experts(*given) - own).abs().max())


_LENGTHS = (1, 15, 16, 17, 33, 70)


def _tokens(network: Any, length: int = 40) -> np.ndarray:
    """Return the vectors of real tokens of two texts, one of them padded."""
    import torch

    generator = torch.Generator().manual_seed(length)
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, max(1, length // 2) :] = 0
    ids = torch.randint(5, 300, (2, length), generator=generator)
    ids[mask == 0] = network.config.pad_token_id
    with torch.inference_mode():
        vectors = network(input_ids=ids, attention_mask=mask)["last_hidden_state"]
    return vectors[mask == 1].numpy()


def export_popular(name: str, folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Build a popular repository, export it by its name, and embed with the published files and with the source."""
    from ingrain.export.process.worker import run_job
    from popular_folders import build_popular

    built = build_popular(name, folder / "models" / name)
    run_job(msgspec.structs.replace(in_process.job_of(folder), name=name), lambda _: None)
    embed = in_process.open_published(folder / "output")
    ours = [embed([text])[0] for text in in_process.TEXTS]
    return ours, in_process.embed_source(built, in_process.TEXTS)
