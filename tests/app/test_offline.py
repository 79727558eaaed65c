"""INGRAIN_OFFLINE: what the server may not reach is refused with the name of the setting."""

import pytest

from ingrain.app.limits import fetch_policy
from ingrain.app.object_storage import follow_object_storage
from ingrain.app.placement import local_repository, repository_folder, repository_of
from ingrain.errors import FetchRefusedError, SettingsError
from ingrain.fetch.targets import Target
from ingrain.settings import Settings, load_settings


def test_no_url_is_fetched_offline_and_the_error_names_the_setting():
    policy = fetch_policy(Settings(offline=True, fetch_allow=("127.0.0.1:80",)))
    with pytest.raises(FetchRefusedError, match="INGRAIN_OFFLINE"):
        policy.check(Target.parse("http://127.0.0.1/a.jpg", param="image"), param="image")
    with pytest.raises(FetchRefusedError, match="INGRAIN_IMAGE_FETCH=off"):
        fetch_policy(Settings(image_fetch="off")).check(
            Target.parse("http://127.0.0.1/a.jpg", param="image"), param="image"
        )


def test_the_flag_forbids_everything_and_the_hubs_variable_the_hub_alone():
    both = load_settings({}, {"HF_HUB_OFFLINE": "1"}), load_settings({"offline": "true"}, {})
    assert [(one.hub_offline, one.offline) for one in both] == [(True, False), (False, True)]


def test_object_storage_is_refused_offline():
    with pytest.raises(SettingsError, match="INGRAIN_OFFLINE"):
        repository_of(Settings(offline=True, repository="s3://bucket/x"))


def test_each_url_has_a_local_copy_of_its_own_and_a_folder_is_itself(tmp_path):
    urls = ("s3://bucket/x", "s3://bucket/x/", "s3://bucket/y", "gs://bucket/x")
    folders = [repository_folder(Settings(repository=url, repository_cache=tmp_path)) for url in urls]
    assert len(set(folders)) == 3
    assert all(folder.parent == tmp_path for folder in folders)
    assert local_repository(Settings(repository=str(tmp_path))).root == tmp_path


async def test_a_folder_is_not_followed(tmp_path):
    await follow_object_storage(local_repository(Settings(repository=str(tmp_path))))
