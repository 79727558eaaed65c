"""No module imports itself by way of others, not even for type checkers alone."""

from graphlib import TopologicalSorter

import grimp

# The package itself offers the client, which it imports when it is first used; everything below imports the package.
ROOT = "ingrain"
# For type checkers alone: what ``Client.model`` returns names the client that it belongs to.
ALLOWED = {(f"ingrain.client.{way}.model", f"ingrain.client.{way}.client") for way in ("aio", "sync")}


def test_no_modules_import_each_other_in_a_circle():
    """``CycleError`` names the modules of a circle."""
    graph = grimp.build_graph(ROOT, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) - {ROOT} for module in graph.modules - {ROOT}}
    for importer, imported in ALLOWED:
        imports[importer].remove(imported)
    assert imports["ingrain.server.http.server"] >= {"ingrain.server.http.connection"}
    TopologicalSorter(imports).prepare()
