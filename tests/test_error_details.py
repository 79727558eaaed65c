"""The tree of error classes."""

import re

from ingrain import errors

BRANCH = re.compile(r"([│ ]*)[├└]── (\w+(?:, \w+)*)")


def drawn() -> set[tuple[str, str]]:
    """Return pairs of class and parent as the module's docstring draws them."""
    pairs, above = set(), ["IngrainError"]
    for indent, names in BRANCH.findall(errors.__doc__):
        depth = (len(indent) - 4) // 4 + 1
        above[depth:] = [names.split(", ")[0]]
        pairs |= {(name, above[depth - 1]) for name in names.split(", ")}
    return pairs


def defined(parent: type[errors.IngrainError]) -> set[tuple[str, str]]:
    """Return the same pairs of the classes that there are."""
    ours = [cls for cls in parent.__subclasses__() if cls.__module__ == errors.__name__]
    return {(cls.__name__, parent.__name__) for cls in ours}.union(*map(defined, ours))


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    assert drawn() == defined(errors.IngrainError)


def test_each_class_is_found_by_its_code():
    names = {name for name, _ in drawn()}
    assert all(errors.error_class(getattr(errors, name).code) is getattr(errors, name) for name in names)
    assert errors.error_class("no_such_code") is None
