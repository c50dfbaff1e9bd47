"""The clients of the gateway: the settings with which each of them uses it."""
