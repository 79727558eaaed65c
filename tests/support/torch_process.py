"""How a process that exports for tests is set up; a module of its own, so that the process can find it by name."""

import os


def prepare() -> None:
    """Load torch with one thread and the source libraries behind their shim."""
    os.environ |= {"INGRAIN_EXPORT_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    from ingrain.testing.tiny_models import prepare_libraries

    torch.set_num_threads(1)
    prepare_libraries()
