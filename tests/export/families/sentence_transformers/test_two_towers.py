"""sentence-transformers models that take pictures: both towers, from what was published, against ``encode``."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process as in_process
import numpy as np
import pytest
import two_towers_in_process as two_towers

from ingrain.errors import UnsupportedModelError
from ingrain.repository.image_preprocess import CenterCrop, OnWhite, Resize, ResizeTensor, ToRgb

pytestmark = pytest.mark.slow

CLIP, SIGLIP = "CLIP, both towers", "SigLIP, both towers, padded to the limit"
Export = Callable[[str], in_process.Exported]


@pytest.mark.parametrize("name", [CLIP, SIGLIP])
def test_the_published_files_alone_give_the_vectors_of_encode(
    exporting: ProcessPoolExecutor, exported: Export, name: str
) -> None:
    """Texts, and pictures of every mode, not square; the proof measured the same."""
    done = exported(name)
    files = list(two_towers.pictures().values())
    found = exporting.submit(two_towers.vectors, done.output.parent, files).result()
    for tower, (ours, theirs) in found.items():
        np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=tower)
    # Had the network one answer for all, the comparison would show nothing.
    assert np.ptp(found["image"][1], axis=0).max() > 0.01
    assert [graph.role for graph in done.manifest.graphs] == ["text_encoder", "image_encoder"]
    for proof in done.manifest.verification.values():
        assert proof.max_abs_diff < 1e-5
    assert done.manifest.graphs[1].inputs[0].dtype == "UINT8"
    # Its position table, folded into a weight, is called as the output is.
    assert done.exporter == "image, dynamo, eager"
    assert done.manifest.embedding_size == found["image"][0].shape[1] == found["text"][0].shape[1]


def test_siglip_padded_to_its_limit_is_served_so(exported: Export) -> None:
    done = exported(SIGLIP)
    assert done.manifest.text is not None
    assert done.manifest.text.fixed_length
    assert not done.manifest.graphs[0].equal_lengths_only


@pytest.mark.parametrize("name", [CLIP, SIGLIP])
def test_texts_and_pictures_are_compared_as_the_network_has_learned_it(
    exporting: ProcessPoolExecutor, exported: Export, name: str
) -> None:
    """``logit_scale`` and, of SigLIP, ``logit_bias`` give the logits of the network's own forward."""
    done = exported(name)
    files, labels = list(two_towers.pictures().values())[:3], in_process.TEXTS[:1] + in_process.TEXTS[2:]
    vectors = exporting.submit(two_towers.vectors, done.output.parent, files).result()
    theirs = exporting.submit(two_towers.logits, done.output.parent, files, labels).result()
    similarity = done.manifest.similarity
    assert similarity is not None
    assert (similarity.activation, similarity.bias) == (("sigmoid", -1.5) if name == SIGLIP else ("softmax", 0.0))
    texts = np.delete(vectors["text"][0], 1, axis=0)
    ours = vectors["image"][0] @ texts.T * similarity.scale + similarity.bias
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_both_towers_of_a_stored_model_are_proved_again(
    exporting: ProcessPoolExecutor, exported: Export, tmp_path: Path
) -> None:
    manifest = exporting.submit(two_towers.verify, exported(CLIP).output.parent, tmp_path).result()
    assert set(manifest.verification) == {"text_encoder", "image_encoder"}
    assert all(proof.max_abs_diff < 1e-5 and proof.cases > 20 for proof in manifest.verification.values())


@pytest.mark.parametrize("tensor", ["vision_model.encoder.layers.1.mlp", "visual_projection", "logit_scale"])
def test_what_the_image_tower_lacks_is_missed_though_no_text_needs_it(
    exporting: ProcessPoolExecutor, exported: Export, tmp_path: Path, tensor: str
) -> None:
    source = exported(CLIP).output.parent
    with pytest.raises(UnsupportedModelError, match=tensor):
        exporting.submit(two_towers.export_without, source, tmp_path, tensor).result()


def test_transformers_image_processors_are_read_with_their_own_rules(exporting: ProcessPoolExecutor) -> None:
    """Transparent pictures on white, torch's resize, an odd pixel cut off behind; Pillow's where it is asked for."""
    half = {"size": {"height": 8, "width": 6}, "do_convert_rgb": None, "do_normalize": False}
    clip, pillow, siglip = (
        exporting.submit(two_towers.geometry, kind, **options).result()
        for kind, options in (("CLIPImageProcessor", {}), ("CLIPImageProcessorPil", {}), ("SiglipImageProcessor", half))
    )
    size, crop = (224, 224), CenterCrop((224, 224), odd="behind")
    assert clip.steps == (OnWhite(), ToRgb(), ResizeTensor(size, "shortest", "bicubic"), crop)
    assert pillow.steps == (OnWhite(), ToRgb(), Resize(size, "shortest", "bicubic"), crop)
    assert siglip.steps == (ToRgb(), ResizeTensor((8, 6), "squash", "bicubic"))
    assert (siglip.size, siglip.mean, siglip.std) == ((8, 6), (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("CLIPImageProcessor", {"do_resize": False}, "do_resize"),
        ("CLIPImageProcessor", {"do_center_crop": False}, "do_center_crop"),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 8, "longest_edge": 9}}, "size"),
        ("CLIPImageProcessor", {"resample": 0}, "resample"),
        ("CLIPImageProcessor", {"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ("CLIPImageProcessor", {"do_pad": True}, "do_pad"),
        ("CLIPImageProcessorPil", {"crop_size": {"height": 300, "width": 224}}, "crop_size"),
        ("Siglip2ImageProcessor", {}, "Siglip2ImageProcessor"),
    ],
)
def test_an_image_processor_that_cannot_be_followed_is_refused_by_name(
    exporting: ProcessPoolExecutor, kind: str, options: dict[str, object], named: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=named):
        exporting.submit(two_towers.geometry, kind, **options).result()
