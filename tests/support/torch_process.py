"""How a process that exports for tests is set up; a module of its own, so that the process can find it by name."""

import os


def prepare() -> None:
    """Load torch with one thread and the source libraries behind their shim; no hub is within reach, nor its cache."""
    os.environ |= {
        "INGRAIN_EXPORT_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "HF_HUB_CACHE": f"{os.devnull}/hub",
    }
    import torch

    from tiny_models import prepare_libraries

    torch.set_num_threads(1)
    prepare_libraries()
