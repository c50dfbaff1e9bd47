"""What several test packages use: fakes, a server in a thread, raw clients, ways to cut octets into pieces."""
