"""Who is measured beside us on Redis, each in processes of its own; begin with `peer.py`."""
