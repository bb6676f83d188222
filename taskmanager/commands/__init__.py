"""The commands of the `taskmanager` script that are about real time; see `taskmanager.cli`."""
