"""The speed of the Redis engine: `python -m tests.benchmarks.redis`, beside raw Redis and, where found, two peers.

A private server is started, unless the URL of one is given, which is then *emptied again and again*. Everything is run
in one go, in rounds in which ours and the others alternate; each producer and each worker is a process of its own.
Figures are medians of the rounds, ratios are medians of the rounds' ratios. Nothing is asserted.

`raw Lua` is what a queue with a state a job must at least do, `raw Streams` what one without must: see
`redis_peers/raw.py`. taskiq-redis is measured in an environment that has it (`pip install taskiq taskiq-redis`), BullMQ
where `node` is and a `bullmq` package is found: in the folder given by --node, in this one, or among the global ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from threading import Timer
from time import sleep
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import hiredis
from rich.console import Console
from rich.table import Table

from tests.benchmarks.redis_peers.peer import Figures
from tests.processes import Guarded
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "redis_peers" / "bullmq.mjs"
LIMIT_S = 300.0
STEADY = 100
DELAYED_S = 10
SLEEP_MS = 5
NAMES = {
    # peer: what the table calls it
    "ours": "ours",
    "floor": "raw Lua",
    "streams": "raw Streams",
    "taskiq": "taskiq-redis",
    "bullmq": "BullMQ",
}
