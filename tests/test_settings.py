"""Settings: flag over environment over default, and errors that name the variable."""

import subprocess
import sys

import pytest

from ingrain.errors import SettingsError
from ingrain.settings import Settings, describe, load_settings, unknown_variables


def test_defaults_hold_where_nothing_is_given():
    assert load_settings({}, {}) == Settings()


def test_a_flag_wins_over_the_environment():
    assert load_settings({"max_batch_size": "4"}, {"MAX_BATCH_SIZE": "8"}).max_batch_size == 4
    assert load_settings({"max_batch_size": None}, {"MAX_BATCH_SIZE": "8"}).max_batch_size == 8


def test_an_empty_variable_is_not_given():
    """Compose files pass variables that are not set as empty text."""
    assert load_settings({}, {"TRITON_GRPC_URL": "", "MAX_BATCH_SIZE": " "}) == Settings()


@pytest.mark.parametrize(
    "name",
    [
        "TRITON_GRPC_URL",
        "MAX_BATCH_SIZE",
        "MAX_LOADED_MODELS",
        "DYNAMIC_BATCHING",
        "INSTANCE_KIND",
        "MODEL_INSTANCES",
        "TENSORRT_ENABLED",
        "FP16_ENABLED",
    ],
)
def test_the_established_names_stay(name):
    assert name in {info.env for info in describe()}


def test_new_names_begin_with_ingrain_or_are_the_hubs_own():
    established = {
        *("TRITON_GRPC_URL", "MAX_BATCH_SIZE", "MAX_LOADED_MODELS", "DYNAMIC_BATCHING", "INSTANCE_KIND"),
        *("MODEL_INSTANCES", "TENSORRT_ENABLED", "FP16_ENABLED", "HF_TOKEN", "HF_HUB_OFFLINE"),
    }
    assert {info.env for info in describe() if not info.env.startswith("INGRAIN_")} == established


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DYNAMIC_BATCHING", "off", "dynamic_batching", False),
        ("DYNAMIC_BATCHING", "TRUE", "dynamic_batching", True),
        ("TENSORRT_ENABLED", "1", "tensorrt_enabled", True),
        ("INGRAIN_TRUST_REMOTE_CODE", "true", "trust_remote_code", ("*",)),
        ("INGRAIN_TRUST_REMOTE_CODE", "Off", "trust_remote_code", ()),
        ("INGRAIN_TRUST_REMOTE_CODE", "nomic-ai/*, me/it", "trust_remote_code", ("nomic-ai/*", "me/it")),
        ("INGRAIN_MODELS", "a, b@rev ,", "models", ("a", "b@rev")),
        ("INGRAIN_REQUEST_TIMEOUT_S", "2.5", "request_timeout_s", 2.5),
        ("INGRAIN_REPOSITORY", "/data", "repository", "/data"),
        ("INGRAIN_REPOSITORY", "s3://bucket/x", "repository", "s3://bucket/x"),
        ("INSTANCE_KIND", "KIND_GPU", "instance_kind", "KIND_GPU"),
    ],
)
def test_text_becomes_values(variable, text, field, value):
    assert getattr(load_settings({}, {variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("MAX_BATCH_SIZE", "many", "MAX_BATCH_SIZE is 'many'"),
        ("MAX_BATCH_SIZE", "-1", ">= 0"),
        ("INSTANCE_KIND", "gpu0", "KIND_GPU"),
        ("INGRAIN_INFERENCE_PORT", "70000", "65535"),
        ("INGRAIN_TRUST_REMOTE_CODE", "org/code@main", "owner/name@<commit>"),
        ("INGRAIN_MODELS", " , ", "','"),
        ("INGRAIN_API_KEYS", ",", "(hidden)"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable, text, said):
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {variable: text})
    assert said in caught.value.message
    assert variable in caught.value.message


def test_help_lists_every_flag_and_variable():
    done = subprocess.run(
        [sys.executable, "-m", "ingrain.cli.main", "serve", "--help"], capture_output=True, text=True, check=True
    )
    for info in describe():
        assert info.flag in done.stdout
        assert info.env in done.stdout


def test_variables_that_are_no_settings_are_told():
    environ = {
        "INGRAIN_MAX_BATCH_TOKEN": "8",
        "INGRAIN_MAX_LOADED_MODELS": "3",
        "INGRAIN_COLOUR": "red",
        "INGRAIN_API_KEY": "of the client",
        "INGRAIN_MAX_ITEMS": "8",
        "MAX_BATCH_SIZE": "8",
    }
    misspelled = {line.split()[3].rstrip(","): line for line in unknown_variables(environ)}
    assert sorted(misspelled) == ["INGRAIN_COLOUR", "INGRAIN_MAX_BATCH_TOKEN", "INGRAIN_MAX_LOADED_MODELS"]
    assert "Did you mean INGRAIN_MAX_BATCH_TOKENS?" in misspelled["INGRAIN_MAX_BATCH_TOKEN"]
    assert "Did you mean MAX_LOADED_MODELS?" in misspelled["INGRAIN_MAX_LOADED_MODELS"]
    assert "--help" in misspelled["INGRAIN_COLOUR"]


def test_what_kubernetes_sets_for_a_service_is_not_told():
    # The variables of a service "ingrain-front", as the kubelet makes them.
    environ = {
        "INGRAIN_FRONT_SERVICE_HOST": "10.0.0.11",
        "INGRAIN_FRONT_SERVICE_PORT": "8686",
        "INGRAIN_FRONT_SERVICE_PORT_INFERENCE": "8686",
        "INGRAIN_FRONT_PORT": "tcp://10.0.0.11:8686",
        "INGRAIN_FRONT_PORT_8686_TCP": "tcp://10.0.0.11:8686",
        "INGRAIN_FRONT_PORT_8686_TCP_PROTO": "tcp",
        "INGRAIN_FRONT_PORT_8686_TCP_PORT": "8686",
        "INGRAIN_FRONT_PORT_8686_TCP_ADDR": "10.0.0.11",
    }
    assert unknown_variables(environ) == []
    assert len(unknown_variables({**environ, "INGRAIN_PORT": "8686"})) == 1
