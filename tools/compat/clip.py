"""Proves every architecture of OpenCLIP with random weights, and writes the results as a table.

Run as ``python -m compat.clip``. An interrupted run can be continued: it repeats only architectures that are missing,
failed, or were reduced in size although that is not necessary any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from compat.clip_models import parameters, place, subject, text_tower_config, timm_depth
from compat.towers import TowerRow, convert_briefly, job_in, run_all
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.repository.verification import Verification

# A few architectures with every kind of tower, which run first.
REPRESENTATIVE = (
    "ViT-B-32", "RN50-quickgelu", "ViT-B-16-SigLIP", "MobileCLIP-S1", "coca_ViT-B-32", "roberta-ViT-B-32",
    "convnext_tiny", "EVA02-B-16", "PE-Core-T-16-384", "ViTamin-S", "vit_relpos_medium_patch16_cls_224",
    "ViT-L-14-CLIPA", "mt5-base-ViT-B-32", "swin_base_patch4_window7_224", "ViT-L-14-worldwide", "nllb-clip-base",
)  # fmt: skip
_HEAD = """# Compatibility with OpenCLIP

Written by `make compat`; not by hand. Every architecture of `open_clip.list_models()` was
built with seeded random weights (and with values that show where a fresh network has constants), exported, proved in
ONNX Runtime on the CPU, and compared with OpenCLIP's own `encode_text` and `encode_image` in float32, with its own
tokenizer and its own transform: eleven texts and three pictures of the usual proof, alone and in batches, and all of
its several hundred texts for the tokenizer.

- **text**, **image**: the largest difference of any element of a vector, both vectors at unit length; 1e-4 is allowed.
- **length**: `any` where a text costs what its own length costs; `full` where padding takes part in the attention, so
  that every text is padded to the context length.
- **exporter**: which way of exporting was proved, where it is not the first choice for both towers.
- **size**: parameters, in millions. What has more than 1,250, and would take more than 11 GiB of memory, was cut as
  noted.
- Where a tokenizer would come from the hub, one with the same special tokens and ids stands in for it (**\\***).

"""


def main() -> int:
    """Run all architectures without a good result."""
    return run_all("openclip", _ordered, measure, _render, _is_larger)


def measure(name: str, scratch: Path, report: Callable[[Progress], None]) -> tuple[TowerRow, Manifest]:
    """Build and export one architecture."""
    chosen = subject(name)
    folder = place(chosen, scratch / "model")
    with timm_depth(chosen.timm_options):
        manifest = convert_briefly(job_in(scratch, name, "open_clip"), folder, report)
    size = (folder / "open_clip_model.safetensors").stat().st_size // 4
    return TowerRow(name=name, parameters=size, reduced=chosen.reduced, notes=chosen.notes), manifest


def _is_larger(row: TowerRow) -> bool:
    """Return True if an architecture that was reduced in an earlier run would now run at full size."""
    return bool(row.reduced) and not subject(row.name).reduced


def _ordered() -> Iterator[str]:
    """Yield all names: representatives first, then from small to large."""
    import open_clip

    yield from REPRESENTATIVE
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models() if name not in REPRESENTATIVE}
    yield from sorted(configs, key=lambda name: parameters(configs[name], text_tower_config(configs[name])))


def _render(rows: dict[str, TowerRow]) -> str:
    import open_clip

    names = open_clip.list_models()
    proved = [rows[name] for name in names if name in rows and not rows[name].error]
    lines = [
        f"{len(proved)} of {len(names)} are proved; {sum(not row.reduced for row in proved)} of them at full size.\n"
    ]
    lines += ["| architecture | size | D | length | text | image | exporter | note |", "| --- " * 8 + "|"]
    return _HEAD + "\n".join([*lines, *map(_line, proved)]) + "\n"


def _line(row: TowerRow) -> str:
    text, image = row.verification["text_encoder"], row.verification["image_encoder"]
    length = "full" if row.fixed_length else "any"
    ways = {tower: way.split(", ")[0] for tower, way in row.exporters.items()}
    exporter = "" if set(ways.values()) == {"dynamo"} else ", ".join(f"{tower} {way}" for tower, way in ways.items())
    name = f"{row.name} \\*" if row.notes else row.name
    return (
        f"| {name} | {row.parameters / 1e6:.0f} | {row.embedding_size} | {length} | {_shown(text)} | {_shown(image)} "
        f"| {exporter} | {row.reduced} |"
    )


def _shown(proof: Verification) -> str:
    return f"{max(proof.max_abs_diff, proof.padding_diff):.0e}"


if __name__ == "__main__":
    sys.exit(main())
