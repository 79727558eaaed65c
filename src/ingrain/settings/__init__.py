"""Settings of the server."""

from ingrain.settings.fields import Settings
from ingrain.settings.load import SettingInfo, describe, load_settings

__all__ = ["SettingInfo", "Settings", "describe", "load_settings"]
