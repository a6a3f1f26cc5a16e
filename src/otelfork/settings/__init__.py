"""Settings: frozen facts from the environment and arguments. The only reader of `os.environ` in the package."""

from otelfork.settings.environment import Environment, SettingsError
from otelfork.settings.telemetry import SIGNALS, BatchSettings, Settings

__all__ = ["SIGNALS", "BatchSettings", "Environment", "Settings", "SettingsError"]
