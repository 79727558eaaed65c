import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub_model import FETCHED, MODEL, WEIGHTS, Fetcher
from huggingface_hub import close_session, hf_hub_download, snapshot_download

from hub_server import HubServer
from ingrain.errors import SourceNotFoundError, UnsupportedModelError
from ingrain.sources.files import file_rules
from ingrain.sources.local import list_files


def test_fetches_what_the_library_reads_and_nothing_else(hub: HubServer, fetch: Fetcher) -> None:
    commit = hub.add("org/model", MODEL)
    snapshot = fetch()
    assert snapshot.commit == commit
    assert set(list_files(snapshot.folder)) == FETCHED
    assert all((snapshot.folder / path).read_bytes() == MODEL[path] for path in FETCHED)
    asked = {request.path.partition(f"/resolve/{commit}/")[2] for request in hub.gets("/resolve/")}
    assert asked == FETCHED, "no pickle, no other runtime's weights, no code"


def test_code_comes_only_when_it_is_trusted(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    assert (fetch(trust_remote_code=True).folder / "modeling_custom.py").read_bytes() == MODEL["modeling_custom.py"]


def test_progress_never_falls_and_ends_at_the_total(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    fetch()
    done = [event.done for event in fetch.progress]
    total = sum(len(MODEL[path]) for path in FETCHED)
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == total
    assert {(event.phase, event.unit, event.total) for event in fetch.progress} == {("download", "bytes", total)}


def test_second_fetch_asks_for_no_file_again(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    first = fetch()
    before = len(hub.gets("/resolve/"))
    assert fetch() == first
    assert len(hub.gets("/resolve/")) == before
    assert fetch.progress[-1].done == fetch.progress[-1].total


def test_new_revision_fetches_only_what_changed(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    fetch()
    commit = hub.add("org/model", {**MODEL, "config.json": b'{"model_type": "roberta"}'})
    snapshot = fetch()
    assert snapshot.commit == commit
    assert (snapshot.folder / "config.json").read_bytes() == b'{"model_type": "roberta"}'
    assert len(hub.gets("model.safetensors")) == 1


def test_branch_tag_pull_request_and_commit_are_revisions(hub: HubServer, fetch: Fetcher) -> None:
    main = hub.add("org/model", MODEL)
    other = hub.add("org/model", {**MODEL, "vocab.txt": b"other"}, revision="refs/pr/1")
    assert fetch(revision="refs/pr/1").commit == other
    assert fetch(revision=main).commit == main
    assert (fetch(revision=other).folder / "vocab.txt").read_bytes() == b"other"
    assert fetch(revision="refs/pr/1", offline=True).commit == other


def test_wrong_name_and_wrong_revision_are_told_apart(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    with pytest.raises(SourceNotFoundError, match="'org/modle'") as name:
        fetch("org/modle")
    with pytest.raises(SourceNotFoundError, match="no revision 'v9'") as revision:
        fetch(revision="v9")
    assert (name.value.param, revision.value.param) == ("name", "revision")


def test_offline_uses_the_cache_and_asks_nobody(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    online = fetch()
    before = len(hub.requests)
    assert fetch(offline=True) == online
    assert len(hub.requests) == before


def test_offline_without_the_model_says_that_offline_mode_is_on(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    with pytest.raises(SourceNotFoundError, match="Offline mode is on"):
        fetch(offline=True)
    assert hub.requests == []


def test_offline_does_not_take_a_part_for_the_model(hub: HubServer, fetch: Fetcher) -> None:
    """Another library may have left single files in the shared cache."""
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    hub.add(
        "org/model",
        {
            "config.json": b"{}",
            "model.safetensors.index.json": index,
            "model-00001-of-00002.safetensors": b"one",
            "model-00002-of-00002.safetensors": b"two",
        },
    )
    names = ("config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors")
    for name in names:
        hf_hub_download("org/model", name, cache_dir=fetch.cache_dir, endpoint=hub.url)
        with pytest.raises(SourceNotFoundError, match="not complete"):
            fetch(offline=True)
    fetch()
    assert (fetch(offline=True).folder / "model-00002-of-00002.safetensors").read_bytes() == b"two"


def test_the_hubs_own_client_finds_what_was_fetched(hub: HubServer, fetch: Fetcher) -> None:
    """The cache is shared with every other library, so its layout is theirs."""
    hub.add("org/model", MODEL)
    ours = fetch()
    theirs = snapshot_download("org/model", cache_dir=fetch.cache_dir, local_files_only=True)
    assert Path(theirs) == ours.folder
    path = hf_hub_download("org/model", "model.safetensors", cache_dir=fetch.cache_dir, local_files_only=True)
    assert Path(path).read_bytes() == WEIGHTS


def test_what_the_hubs_own_client_fetched_is_not_fetched_again(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hf_hub_download("org/model", "model.safetensors", cache_dir=fetch.cache_dir, endpoint=hub.url)
    fetch()
    assert len(hub.gets("model.safetensors")) == 1


OLD = {path: content for path, content in MODEL.items() if path != "model.safetensors"}


def test_pickle_is_fetched_where_there_is_nothing_else(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/old", OLD)
    found = set(list_files(fetch("org/old").folder))
    assert found == FETCHED - {"model.safetensors"} | {"pytorch_model.bin"}


def test_pickle_alone_is_refused_before_any_file_is_fetched_where_it_is_forbidden(
    hub: HubServer, fetch: Fetcher
) -> None:
    hub.add("org/old", OLD)
    with pytest.raises(UnsupportedModelError, match=r"pytorch_model\.bin.*safetensors"):
        fetch("org/old", rules=file_rules("sentence_transformers", pickled_weights=False))
    assert hub.gets("/resolve/") == []


def test_a_cache_that_lacks_a_pickled_shard_is_no_whole_model(hub: HubServer, fetch: Fetcher) -> None:
    shards = {f"pytorch_model-0000{number}-of-00002.bin": b"shard" * 300 for number in (1, 2)}
    index = json.dumps(
        {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    )
    rest = {path: content for path, content in OLD.items() if path != "pytorch_model.bin"}
    hub.add("org/old", rest | shards | {"pytorch_model.bin.index.json": index.encode()})
    snapshot = fetch("org/old")
    assert fetch("org/old", offline=True) == snapshot
    (snapshot.folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(SourceNotFoundError):
        fetch("org/old", offline=True)


def test_large_files_come_from_another_origin_without_our_token(tmp_path: Path) -> None:
    with HubServer(cdn=True) as hub:
        hub.add("org/model", MODEL, gated=True)
        fetch = Fetcher(hub, tmp_path)
        assert (fetch(token=hub.token).folder / "model.safetensors").read_bytes() == WEIGHTS
        (redirected,) = hub.gets("/cdn/")
        assert "authorization" not in redirected.headers
    close_session()


def test_local_models_are_found_without_importing_torch() -> None:
    code = (
        "import sys, ingrain.sources.resolve\n"
        "print({'torch', 'transformers', 'sentence_transformers', 'hf_xet'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
