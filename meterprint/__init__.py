"""The front door: settings, command line, all-in-one process."""
