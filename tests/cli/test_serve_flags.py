"""The flags of `ingrain serve` beside those of the settings' own names."""

from ingrain.cli.main import make_parser
from ingrain.settings import load_settings


def test_port_is_another_name_of_inference_port():
    """The Makefile and the README promise ``--port``; the last one given counts."""
    for flags in (["--port", "9000"], ["--port=9000"], ["--inference-port", "1", "--port", "9000"]):
        assert load_settings(vars(make_parser().parse_args(["serve", *flags])), {}).inference_port == 9000
