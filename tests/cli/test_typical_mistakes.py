"""Typical mistakes of newcomers and operators: each message says what is wrong, where, and what to do, and soon.

A table of command lines, which one process runs in turn, and a table of requests to one server.
"""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from ingrain.settings import Settings
from raw_http import planes_in_a_thread

TOLD_WITHIN_S = 3.0  # of processor time, because other tests run beside this one
WAIT_S = 300

# Arguments, environment, a package that is missing, the exit status, and what is said. {…} are filled in below.
COMMANDS = {
    # First, before anything has imported the package.
    "a server without its packages": (
        "serve",
        {},
        "httptools",
        1,
        ["'httptools' is not installed", "pip install '.[serve,triton]' in a checkout"],
    ),
    "a misspelled command": ("embd", {}, None, 2, ["invalid choice: 'embd'", "'embed'", "ingrain --help"]),
    "a misspelled flag": ("serve --modls x", {}, None, 2, ["'--modls'", "did you mean --models", "serve --help"]),
    "a misspelled flag with a value": ("serve --prot=9000", {}, None, 2, ["'--prot'", "did you mean --port"]),
    "a flag's value that is no choice": ("serve --engine tritn", {}, None, 2, ["--engine", "'tritn'", "'embedded'"]),
    "a variable's value that is no choice": (
        "serve",
        {"INGRAIN_PRECISION": "fp64"},
        None,
        2,
        ["INGRAIN_PRECISION is 'fp64'", "one of fp32, fp16, int8, int8-safe"],
    ),
    "a port that is no number": ("serve --port web", {}, None, 2, ["'web'", "expected a whole number"]),
    "a port that is none": ("serve --model-port 99999", {}, None, 2, ["--model-port is '99999'", "<= 65535"]),
    "one port for both planes": ("{serve} --port 8687", {}, None, 2, ["port 8687", "INGRAIN_MODEL_PORT must differ"]),
    "a dialect that is none": ("{serve} --dialects opena", {}, None, 2, ["'opena'", "cohere", "openai", "voyage"]),
    "a URL where an address belongs": (
        "serve --repository {root}/repository",
        {"TRITON_GRPC_URL": "http://triton:8001", "INGRAIN_ENGINE": "triton"},
        None,
        2,
        ["TRITON_GRPC_URL is 'http://triton:8001'", "host:port"],
    ),
    "a URL where a host belongs": (
        "{serve} --host http://127.0.0.1",
        {},
        None,
        2,
        ["INGRAIN_HOST is 'http://127.0.0.1'", "without scheme and port"],
    ),
    "a scheme among the allowed hosts": (
        "{serve} --allowed-hosts https://a.example",
        {},
        None,
        2,
        ["INGRAIN_ALLOWED_HOSTS has 'https://a.example'", "without scheme"],
    ),
    # The start ends at the taken port, after what it says of the other mistakes.
    "a misspelled variable": (
        "{serve} --port {ingrain}",
        {"INGRAIN_INFERENCE_PROT": "9000"},
        None,
        2,
        ["INGRAIN_INFERENCE_PROT, which is no setting", "Did you mean INGRAIN_INFERENCE_PORT?"],
    ),
    "a folder of models that is not there": (
        "{serve} --port {ingrain} --local-models-dir {root}/none",
        {},
        None,
        2,
        ["INGRAIN_LOCAL_MODELS_DIR is {root}/none, which is no folder", "Create it"],
    ),
    "a port that another Ingrain has": (
        "{serve} --port {ingrain}",
        {},
        None,
        2,
        ["Another Ingrain listens on 127.0.0.1:{ingrain}", "set by INGRAIN_INFERENCE_PORT"],
    ),
    "a port that another program has": (
        "{serve} --port 0 --model-port {other}",
        {},
        None,
        2,
        ["Another program listens on 127.0.0.1:{other}", "set by INGRAIN_MODEL_PORT"],
    ),
    "a repository that cannot be written": (
        "serve --engine onnxruntime --repository {root}/file/below",
        {},
        None,
        1,
        ["cannot be written (Not a directory)", "Give a writable folder as INGRAIN_REPOSITORY"],
    ),
    "a key that does not fit the certificate": (
        "{serve} --tls-cert-file {root}/one.pem --tls-key-file {root}/other.key",
        {},
        None,
        2,
        ["INGRAIN_TLS_KEY_FILE is '{root}/other.key'", "does not belong to the certificate"],
    ),
    "a certificate without its key": (
        "{serve} --tls-cert-file {root}/one.pem",
        {},
        None,
        2,
        ["INGRAIN_TLS_KEY_FILE is not", "TLS needs both"],
    ),
    "a file of keys that is not there": (
        "{serve} --keys-file {root}/none",
        {},
        None,
        2,
        ["INGRAIN_KEYS_FILE is '{root}/none'", "No such file"],
    ),
    "a command without its model": (
        "load",
        {},
        None,
        2,
        ["the following arguments are required", "ingrain load --help"],
    ),
    "a library that is none": (
        "load x --library sentencetransformers",
        {},
        None,
        2,
        ["invalid choice: 'sentencetransformers'", "'sentence_transformers', 'open_clip', 'timm'"],
    ),
    "a server that does not run": (
        "load x --model-url http://127.0.0.1:{free}",
        {},
        None,
        3,
        ["127.0.0.1:{free}", "ingrain serve"],
    ),
    "doctor, for a port that another program has": (
        "doctor --json",
        {"INGRAIN_INFERENCE_PORT": "{other}", "INGRAIN_MODEL_PORT": "{ingrain}", "HF_HUB_OFFLINE": "1"},
        None,
        1,
        ["Stop what is there, or set INGRAIN_INFERENCE_PORT", "an Ingrain server answers here"],
    ),
}

# Plane, method, path, body or bytes, the status, and what is said. The server has the key "good".
MODEL = {"name": "org/model", "text": "red"}
REQUESTS = {
    "a route of the other plane": (
        "inference",
        "POST",
        "/load_model",
        MODEL,
        404,
        ["a route of the model plane, port 8687"],
    ),
    "a route of the other plane, too": ("model", "POST", "/embed_text", MODEL, 404, ["the inference plane, port 8686"]),
    "a misspelled route": ("inference", "POST", "/embed_txt", MODEL, 404, ["Did you mean /embed_text?"]),
    "a method that the route lacks": (
        "inference",
        "GET",
        "/embed_text",
        None,
        405,
        ["not take GET; it takes POST", "/docs"],
    ),
    "a name that is shortened": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "name": "Model"},
        404,
        ["'Model' is not loaded", "Did you mean 'org/model'?", "ingrain load"],
    ),
    "a name that is misspelled": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "name": "org/modell"},
        404,
        ["Did you mean 'org/model'?"],
    ),
    "a model that is not loaded": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "name": "intfloat/e5-small-v2"},
        404,
        ["'intfloat/e5-small-v2' is not loaded. Load it with POST /load_model", "ingrain load"],
    ),
    "a form instead of JSON": (
        "inference",
        "POST",
        "/embed_text",
        b"name=x",
        400,
        ["not valid JSON", "application/json"],
    ),
    "single quotes": ("inference", "POST", "/embed_text", b"{'name': 'x'}", 400, ["not valid JSON", "double quotes"]),
    "a body without a name": ("inference", "POST", "/embed_text", {"text": "red"}, 400, ["Field 'name' is missing"]),
    "a misspelled field": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "normalise": True},
        400,
        ["Unknown field 'normalise'", "normalize"],
    ),
    "a number among the texts": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "text": ["red", 3]},
        400,
        ["'text[1]'", "expected str"],
    ),
    "a text that is too long": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "text": "red " * 100, "truncate": False},
        400,
        ["text[0] has 102 tokens; the model takes 32", "truncate: true"],
    ),
    "more dimensions than there are": (
        "inference",
        "POST",
        "/embed_text",
        {**MODEL, "nDims": 4000},
        400,
        ["nDims is 4000", "8 dimensions"],
    ),
    "a picture at a private address": (
        "inference",
        "POST",
        "/embed_image",
        {"name": "clip", "image": "http://127.0.0.1:9/a.png"},
        400,
        ["image[0]", "'127.0.0.1'", "not public", "INGRAIN_FETCH_ALLOW"],
    ),
    "a file name instead of a picture": (
        "inference",
        "POST",
        "/embed_image",
        {"name": "clip", "image": "cat.png"},
        400,
        ["image[0]", "http(s) URL, a data URI nor base64"],
    ),
    "a task that the model lacks": (
        "inference",
        "POST",
        "/rerank",
        {"name": "clip", "query": "red", "documents": ["blue"]},
        400,
        ["'clip' cannot rerank", "POST /embed_text"],
    ),
    "a library that is none": (
        "model",
        "POST",
        "/load_model",
        {"name": "x", "library": "sentence-transformers"},
        400,
        ["'library'", "sentence_transformers, open_clip, timm"],
    ),
    "no key": ("inference", "POST", "/embed_text", MODEL, 401, ["An API key is needed", "Authorization: Bearer KEY"]),
    "a wrong key": ("inference", "POST", "/embed_text", MODEL, 401, ["key is not valid", "Authorization: Bearer KEY"]),
}
KEYS = {"no key": {}, "a wrong key": {"authorization": "Bearer bad"}}


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    with planes_in_a_thread(tmp_path_factory.mktemp("planes"), Settings(api_keys=("good",)), "good") as ports:
        yield ports


@pytest.fixture(scope="module")
def given(tmp_path_factory, ports):
    """What the table leaves open: a folder with files, ports that are taken, and one that is free."""
    root = tmp_path_factory.mktemp("mistakes")
    (root / "file").write_text("not a folder")
    authority = trustme.CA()
    one, other = (authority.issue_cert("localhost") for _ in range(2))
    one.cert_chain_pems[0].write_to_path(root / "one.pem")
    other.private_key_pem.write_to_path(root / "other.key")
    with socket.create_server(("127.0.0.1", 0)) as other_program, socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
        closed.close()
        yield {
            "root": str(root),
            "serve": f"serve --engine onnxruntime --repository {root}/repository",
            "ingrain": str(ports["inference"]),
            "other": str(other_program.getsockname()[1]),
            "free": str(free),
        }


@pytest.fixture(scope="module")
def outcomes(given):
    rows = [
        (
            line.format(**given).format(**given).split(),
            {name: value.format(**given) for name, value in env.items()},
            lost,
        )
        for line, env, lost, _, _ in COMMANDS.values()
    ]
    program = [sys.executable, str(Path(__file__).parents[1] / "support" / "commands_in_turn.py")]
    done = subprocess.run(program, input=json.dumps(rows), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_mistake_on_the_command_line_is_told_with_its_cure(outcomes, given, mistake):
    *_, status, told = COMMANDS[mistake]
    outcome = outcomes[mistake]
    assert outcome["status"] == status, outcome["said"]
    for part in told:
        assert part.format(**given) in re.sub(r"\s+", " ", outcome["said"])
    assert "Traceback" not in outcome["said"]
    assert "usage:" not in outcome["said"]
    assert outcome["cpu_s"] < TOLD_WITHIN_S


@pytest.mark.parametrize("mistake", REQUESTS)
def test_a_mistake_in_a_request_is_told_with_its_cure(ports, mistake):
    plane, method, path, body, status, told = REQUESTS[mistake]
    content = body if isinstance(body, bytes) or body is None else json.dumps(body)
    headers = KEYS.get(mistake, {"authorization": "Bearer good"})
    answer = httpx.request(
        method, f"http://127.0.0.1:{ports[plane]}{path}", content=content, headers=headers, timeout=WAIT_S
    )
    assert answer.status_code == status, answer.text
    for part in told:
        assert part in answer.json()["message"]
