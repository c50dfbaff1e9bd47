"""Helpers of several test packages: fakes, a server in a thread, raw clients, ways to split input."""
