"""Settings of the server."""

from ingrain.settings.fields import Settings
from ingrain.settings.load import SettingInfo, describe, load_settings
from ingrain.settings.unknown import unknown_variables

__all__ = ["SettingInfo", "Settings", "describe", "load_settings", "unknown_variables"]
