"""Whose code a model needs, and what is laid where it is allowed; nothing is loaded."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from remote_code_in_process import ARCTIC, CODE, GTE_MULTILINGUAL, NOMIC, QWEN2_CODE

from hub_server import HubServer
from ingrain.errors import SourceForbiddenError, SourceNotFoundError, UnsupportedModelError
from ingrain.export.families.protocol import LoadableFolder
from ingrain.export.families.sentence_transformers.remote_code import prepare_folder
from ingrain.export.process.job import ExportJob
from ingrain.sources.model_source import ResolvedSource

JINA = {
    "model_type": "bert",
    "architectures": ["JinaBertForMaskedLM"],
    "position_embedding_type": "alibi",
    "auto_map": {
        "AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig",
        "AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel",
    },
}
JINA_3 = {
    "model_type": "xlm-roberta",
    "architectures": ["XLMRobertaModel"],
    "auto_map": {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_lora.XLMRobertaLoRA"},
}
QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "auto_map": QWEN2_CODE}
OTHER = {"model_type": "bert", "auto_map": {"AutoConfig": "org/code--a.Config", "AutoModel": "org/code--b.Model"}}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "model"


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def settled(
    folder: Path, *allowed: str, origin: Literal["custom", "local", "hub"] = "hub", **options: Any
) -> LoadableFolder:
    job = ExportJob(
        name="org/model",
        library="sentence_transformers",
        output="",
        trust_remote_code=allowed,
        **options,
    )
    source = ResolvedSource(folder=folder, commit="c" * 40, repository="org/model", origin=origin)
    return prepare_folder(job, source, folder.with_name("links"), lambda _: None)


def refusal(folder: Path, *allowed: str, **options: Any) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        settled(folder, *allowed, **options)
    assert str(folder) not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("config", "repository"),
    [
        (JINA, "jinaai/jina-bert-implementation"),
        (JINA_3, "jinaai/xlm-roberta-flash-implementation"),
        (QWEN2, "org/model"),
        (QWEN2 | {"is_causal": True}, "org/model"),
        (NOMIC | {"prenorm": True}, "nomic-ai/nomic-bert-2048"),
        (NOMIC | {"rotary_scaling_factor": 2}, "nomic-ai/nomic-bert-2048"),
        (NOMIC | {"qkv_proj_bias": True}, "nomic-ai/nomic-bert-2048"),
        (NOMIC | {"activation_function": "gelu"}, "nomic-ai/nomic-bert-2048"),
        (NOMIC | {"num_hidden_layers": 12}, "nomic-ai/nomic-bert-2048"),
        (NOMIC | {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, "nomic-ai/nomic-bert-2048"),
        ({name: value for name, value in NOMIC.items() if name != "mlp_fc1_bias"}, "nomic-ai/nomic-bert-2048"),
        (ARCTIC | {"logn_attention_scale": True}, "org/model"),
        (ARCTIC | {"layer_norm_type": "rms_norm"}, "org/model"),
        (GTE_MULTILINGUAL | {"rope_scaling": {"type": "ntk", "factor": 8.0, "mixed_b": 0.6}}, "Alibaba-NLP/new-impl"),
        (ARCTIC | {"auto_map": {"AutoModel": "modeling.OtherModel"}}, "org/model"),
    ],
)
def test_a_network_that_may_be_another_needs_its_code(folder: Path, config: dict[str, Any], repository: str) -> None:
    message = refusal(write(folder, config={"vocab_size": 9} | config), "unrelated/*")
    assert f"Add {repository!r} to INGRAIN_TRUST_REMOTE_CODE" in message


@pytest.mark.parametrize("config", [NOMIC, ARCTIC, GTE_MULTILINGUAL, QWEN2 | {"is_causal": False}])
@pytest.mark.parametrize("allowed", ["*", "unrelated/*"])
def test_a_network_that_transformers_has_needs_none(folder: Path, config: dict[str, Any], allowed: str) -> None:
    found = settled(write(folder, config={"vocab_size": 9} | config), allowed)
    assert (found.runs_code, found.code) == (False, ())
    assert "auto_map" not in json.loads((found.folder / "config.json").read_text())
    assert (found.folder / "model.safetensors").read_bytes() == b"weights"


def test_newer_files_with_both_kinds_of_names_are_read(folder: Path) -> None:
    both = {"vocab_size": 9, "hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}
    config = json.loads((settled(write(folder, config=NOMIC | both | rope)).folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["max_position_embeddings"]) == (2, 8192)


def test_a_folder_without_code_stays_where_it_is(folder: Path) -> None:
    write(folder, config={"model_type": "bert"}, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    assert settled(folder, "*") == LoadableFolder(folder)


def test_code_of_two_repositories_never_mixes(hub: HubServer, folder: Path) -> None:
    """Each means its own ``shared.py``, and neither the one of the model, which nobody allowed."""
    for name in ("a", "b"):
        hub.add(f"org/{name}", {"code.py": name.encode(), "shared.py": name.encode()})
    (folder / "shared.py").write_text("model")
    auto_map = {"AutoConfig": "org/a--code.Config", "AutoModel": "org/b--code.Model"}
    found = settled(write(folder, config={"model_type": "x", "auto_map": auto_map}), "org/[ab]")
    laid = json.loads((found.folder / "config.json").read_text())["auto_map"]
    assert laid == {"AutoConfig": "code_org_a/code.Config", "AutoModel": "code_org_b/code.Model"}
    assert [(found.folder / f"code_org_{name}/shared.py").read_text() for name in ("a", "b")] == ["a", "b"]
    assert [code.repository for code in found.code] == ["org/a", "org/b"]


def test_code_that_nobody_allowed_is_not_laid_where_allowed_code_could_find_it(hub: HubServer, folder: Path) -> None:
    hub.add("org/code", CODE)
    (folder / "code_org_code").mkdir()
    (folder / "code_org_code" / "flash_attn_helper.py").write_text("raise SystemExit")
    found = settled(write(folder, config=OTHER), "org/code")
    assert sorted(file.name for file in found.folder.rglob("*.py")) == sorted(CODE)


def test_a_module_in_another_repository_is_laid_beside_the_model(hub: HubServer, folder: Path) -> None:
    hub.add("org/code", {"custom_st.py": b"class Transformer: ..."})
    modules = [{"idx": 0, "type": "org/code--custom_st.Transformer", "path": ""}]
    found = settled(write(folder, config={"model_type": "bert"}, modules=modules), "org/code")
    (entry,) = json.loads((found.folder / "modules.json").read_text())
    assert entry["type"] == "code_org_code/custom_st.Transformer"
    assert (found.folder / "code_org_code" / "custom_st.py").is_file()


@pytest.mark.parametrize("argument", ["model_args", "config_kwargs"])
def test_the_revision_of_the_code_that_a_model_names_is_taken(hub: HubServer, folder: Path, argument: str) -> None:
    commit = hub.add("org/code", CODE, revision="v1")
    hub.add("org/code", CODE | {"newer.py": b""})
    write(folder, config=OTHER, sentence_bert_config={argument: {"code_revision": "v1"}})
    assert [code.commit for code in settled(folder, "org/code").code] == [commit]


@pytest.mark.parametrize("form", ["refs/pr/7", "commit"])
def test_a_change_that_somebody_proposed_is_not_what_an_owners_name_stands_for(
    hub: HubServer, folder: Path, form: str
) -> None:
    hub.add("org/code", CODE)
    commit = hub.add("org/code", CODE | {"evil.py": b""}, revision="refs/pr/7")
    revision = commit if form == "commit" else form
    write(folder, config=OTHER, sentence_bert_config={"model_args": {"code_revision": revision}})
    assert "which may be a change that somebody else proposed" in refusal(folder, "org/*")
    assert [code.commit for code in settled(folder, f"org/code@{commit}").code] == [commit]


def test_a_change_that_somebody_proposed_to_a_model_runs_by_its_commit_alone(folder: Path) -> None:
    write(folder, config={"model_type": "x", "auto_map": {"AutoModel": "modeling.Model"}})
    told = refusal(folder, "org/model", revision="refs/pr/7")
    assert f"Add 'org/model@{'c' * 40}'" in told
    for allowed in ("*", f"org/model@{'c' * 40}"):
        assert settled(folder, allowed, revision="refs/pr/7").runs_code


def test_a_commit_in_the_setting_wins_and_no_other_is_run(hub: HubServer, folder: Path) -> None:
    first = hub.add("org/code", CODE)
    second = hub.add("org/code", CODE | {"newer.py": b""})
    write(folder, config=OTHER)
    assert [code.commit for code in settled(folder, f"org/code@{first}").code] == [first]
    told = refusal(folder, f"org/code@{first}", code_commits={"org/code": second})
    assert f"Add 'org/code@{second}'" in told


def test_code_of_ones_own_is_allowed_at_a_commit(folder: Path) -> None:
    write(folder, config={"model_type": "x", "auto_map": {"AutoModel": "modeling.Model"}})
    (folder / "modeling.py").write_text("")
    (code,) = settled(folder, f"org/model@{'c' * 40}").code
    assert (code.repository, code.commit, [file.path for file in code.files]) == (
        "org/model",
        "c" * 40,
        ["modeling.py"],
    )
    assert "Add 'org/model'" in refusal(folder, f"org/model@{'d' * 40}")


def test_a_repository_that_names_itself_means_its_own_files(folder: Path) -> None:
    write(folder, config={"model_type": "x", "auto_map": {"AutoModel": "org/model--modeling.Model"}})
    (folder / "modeling.py").write_text("")
    found = settled(folder, "org/model")
    assert json.loads((found.folder / "config.json").read_text())["auto_map"] == {"AutoModel": "modeling.Model"}
    assert (found.folder / "modeling.py").is_file()


def test_code_comes_from_the_cache_where_the_hub_may_not_be_asked(hub: HubServer, folder: Path) -> None:
    hub.add("org/code", CODE)
    write(folder, config=OTHER)
    with pytest.raises(SourceNotFoundError, match="Offline"):
        settled(folder, "org/code", offline=True)
    online = settled(folder, "org/code")
    before = len(hub.requests)
    (folder.with_name("links")).rename(folder.with_name("links of before"))
    assert settled(folder, "org/code", offline=True).code == online.code
    assert len(hub.requests) == before


def test_private_code_needs_the_token(hub: HubServer, folder: Path) -> None:
    hub.add("org/code", CODE, gated=True)
    write(folder, config=OTHER)
    with pytest.raises(SourceForbiddenError):
        settled(folder, "org/code")
    assert settled(folder, "org/code", token=hub.token).runs_code


def test_a_model_given_by_urls_never_brings_code(folder: Path) -> None:
    assert "never run" in refusal(write(folder, config=OTHER), "*", origin="custom")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"modules": [{"type": "custom_st.Transformer", "path": ""}]}, "'org/model'"),
        ({"modules": [{"type": "org/code--custom_st.Transformer", "path": ""}]}, "'org/code'"),
        ({"tokenizer_config": {"auto_map": {"AutoTokenizer": [None, "t.Fast"]}}}, "'org/model'"),
        ({"config": {"model_type": "bert", "text_config": {"auto_map": {"AutoModel": "m.Part"}}}}, "'org/model'"),
        ({"sentence_bert_config": {"config_args": {"auto_map": {"AutoModel": "m.Model"}}}}, "'org/model'"),
        ({"preprocessor_config": {"auto_map": {"AutoProcessor": "org/code--p.Processor"}}}, "'org/code'"),
    ],
)
def test_whatever_else_names_code_is_seen(folder: Path, files: dict[str, Any], named: str) -> None:
    write(folder, **{"config": {"model_type": "bert"}} | files)
    assert f"Add {named}" in refusal(folder)


@pytest.mark.parametrize("reference", ["../evil.Model", "a/../b.Model", "Model", "org/a--b--c.Model", 7])
def test_what_is_no_class_in_a_file_is_refused(folder: Path, reference: Any) -> None:
    write(folder, config={"model_type": "x", "auto_map": {"AutoModel": reference}})
    assert re.search("does not name a class|no valid hub id", refusal(folder, "*"))
