"""The two clients are one: one is made of the other, and the package hands on both, and every error."""

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ingrain
from ingrain import errors

ROOT = Path(__file__).parents[2]
CLIENT = Path(ingrain.__file__).parent / "client"


def test_the_synchronous_client_is_what_the_script_makes():
    spec = importlib.util.spec_from_file_location("sync_client", ROOT / "scripts" / "sync_client.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.sync_sources()
    assert set(made) == {path.name for path in (CLIENT / "sync").glob("*.py")} - script.BY_HAND
    for name, source in made.items():
        assert source == (CLIENT / "sync" / name).read_text("utf-8"), f"sync/{name}: run `make docs`"


@pytest.mark.parametrize(("one", "other"), [(ingrain.Client, ingrain.AsyncClient), (ingrain.Model, ingrain.AsyncModel)])
def test_both_clients_have_the_same_methods_with_the_same_arguments(one, other):
    def methods(cls):
        found = inspect.getmembers(cls, inspect.isfunction)
        return {
            name: list(inspect.signature(function).parameters.items())
            for name, function in found
            if not name.startswith("_") or name == "__init__"
        }

    asynchronous = methods(other)
    if "aclose" in asynchronous:
        asynchronous["close"] = asynchronous.pop("aclose")
    assert {name: [str(p) for p in parameters] for name, parameters in methods(one).items()} == {
        name: [str(p).replace("Async", "") for p in parameters] for name, parameters in asynchronous.items()
    }


def test_every_error_is_at_hand_as_an_attribute_of_the_package():
    names = [
        name for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, errors.IngrainError)
    ]
    assert len(names) > 40
    for name in names:
        assert getattr(ingrain, name) is getattr(errors, name)
    assert set(names) <= set(dir(ingrain))
    with pytest.raises(AttributeError, match="Klient"):
        _ = ingrain.Klient


def test_codes_lead_back_to_their_classes():
    for cls in (errors.ModelNotLoadedError, errors.IngrainError, errors.AnswerTimeoutError):
        assert errors.error_class(cls.code) is cls
    assert errors.error_class("nonsense") is None


def test_the_package_is_light_until_the_client_is_used():
    """`import ingrain` loads no library; using the client loads only what the bare installation brings."""
    code = (
        "import sys, ingrain; before = set(sys.modules); ingrain.Client; "
        "print(*sorted({'httpx', 'numpy', 'tqdm', 'msgspec', 'orjson'} & before)); "
        "print(*sorted({'PIL', 'httptools', 'onnxruntime', 'torch', 'tokenizers', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n\n"
