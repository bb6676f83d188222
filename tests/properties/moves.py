"""Short moves without choices, on one or two ids, so that a handful of them in a row meet each other.

Hypothesis spreads its draws evenly over all that a machine can do; faults live where few things meet often. A list of
these is drawn as one value and shrinks well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taskmanager.engine import Delete, JobRef, Limit, Pause, Promote, Requeue, RequeueAll, Resume
from taskmanager.job import Edge, Emission, ErrorInfo, Plan, State, Window
from taskmanager.policy import lifecycle
from tests.engines.conformance.builders import LEASE_MS

if TYPE_CHECKING:
    from tests.properties.machine import EngineMachine

Move = Callable[["EngineMachine"], None]
BOOM = ErrorInfo("ValueError", "boom")
ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)
MOVES: dict[str, Move] = {}


RUNS: dict[str, lifecycle.Outcome] = {
    "returns": lifecycle.Returned(b"1"),
    "raises": lifecycle.Raised(BOOM),
    "fails for good": lifecycle.Raised(BOOM, retryable=False),
    "is postponed": lifecycle.Postponed(20),
    "is released": lifecycle.Stopped(),
}


def _emits(name: str, id: str, **fields: object) -> None:
    entry = Emission("send", id, **fields)  # type: ignore[arg-type]  # the fields of an emission, by name
    MOVES[name] = lambda machine: void(machine.pair.enqueue(entry))


def void(_: object) -> None: ...


NIGHTLY = Plan("nightly", "send", "0 * * * *", "UTC", overlap="skip")
LEADING, TRAILING = Window("k", Edge.LEADING, 200), Window("k", Edge.TRAILING, 20, 50)
_emits("emit a", "a")
_emits("emit a again", "a", data=b"2", delay_ms=10)
_emits("emit b", "b", priority=1)
_emits("replace a", "a", data=b"3", replace=True)
_emits("emit a that expires", "a", expires_ms=5, replace=True)
_emits("emit b later", "b", delay_ms=10, awaited=True)
_emits("emit a leading", "a", window=LEADING)
_emits("emit b leading", "b", window=LEADING)
_emits("emit a trailing", "a", window=TRAILING)
_emits("emit b trailing", "b", window=TRAILING, data=b"2")


def _claims(worker: str) -> None:
    MOVES[f"{worker} claims"] = lambda machine: machine.pair.claim(worker, 1)
    MOVES[f"{worker} claims more"] = lambda machine: machine.pair.claim(worker, 2)
    MOVES[f"{worker} reaps"] = lambda machine: machine.pair.reap(worker, 2)
    MOVES[f"{worker} claims after a lost reply"] = lambda machine: machine.pair.claim(worker, 2, forgetting=True)
    MOVES[f"{worker} comes back after a lease"] = lambda machine: come_back(machine, worker)
    MOVES[f"{worker} settles a stale claim"] = lambda machine: machine.settle_stale(worker, 0, RUNS["returns"])
    MOVES[f"{worker} beats"] = lambda machine: machine.pair.extend(worker, [])


def come_back(machine: EngineMachine, worker: str) -> None:
    machine.pair.pass_time(LEASE_MS)
    machine.pair.reap(worker, 2)


def cancel_what_runs(machine: EngineMachine) -> None:
    for job in machine.running()[:1]:
        machine.pair.cancel(JobRef(job.id), ())


def lose_what_was_cancelled(machine: EngineMachine) -> None:
    cancel_what_runs(machine)
    come_back(machine, "w1")
    come_back(machine, "w2")


def claim_at_the_edge(machine: EngineMachine, off_by: int) -> None:
    machine.pass_to_a_moment_at(0, off_by)
    machine.pair.claim("w1", 2)


def claim_at_expiry(machine: EngineMachine) -> None:
    machine.pair.enqueue(Emission("send", "b", expires_ms=5, replace=True))
    machine.pair.pass_time(5)
    machine.pair.claim("w1", 2)


def advance_twice(machine: EngineMachine) -> None:
    machine.pair.enqueue(NIGHTLY)
    machine.advance_one(0, 1, late=False, dropped=0)
    machine.advance_one(len(machine.revisions) - 1, 1, late=True, dropped=0)


def fail_and_requeue(machine: EngineMachine) -> None:
    for worker, claims in machine.pair.hands.items():
        machine.end(worker, list(claims.values())[:1], RUNS["fails for good"], ())
    machine.pair.control(RequeueAll(None))


def burst(window: Window, apart_ms: int, count: int) -> Move:
    """Emissions of one key, each soon after the one before."""

    def emit(machine: EngineMachine) -> None:
        for number in range(count):
            machine.pair.enqueue(Emission("send", "ab"[number % 2], window=window))
            machine.pair.pass_time(apart_ms)

    return emit


def _settles(worker: str, name: str, outcome: lifecycle.Outcome) -> None:
    def settle(machine: EngineMachine) -> None:
        claims = list(machine.pair.hands.get(worker, {}).values())
        if claims:
            machine.end(worker, claims[:1], outcome, ())

    MOVES[f"{worker}'s run {name}"] = settle


for _worker in ("w1", "w2"):
    _claims(_worker)
    for _name, _outcome in RUNS.items():
        _settles(_worker, _name, _outcome)

MOVES |= {
    "cancel a": lambda machine: machine.pair.cancel(JobRef("a"), ()),
    "cancel a run that is lost": lambda machine: lose_what_was_cancelled(machine),
    "a run fails and is requeued": lambda machine: fail_and_requeue(machine),
    "cancel what runs": lambda machine: cancel_what_runs(machine),
    "requeue all": lambda machine: machine.pair.control(RequeueAll(None)),
    "register": lambda machine: void(machine.pair.enqueue(NIGHTLY)),
    "advance": lambda machine: machine.advance_one(0, 1, late=False, dropped=1),
    "advance by an old revision": lambda machine: machine.advance_one(0, 1, late=True, dropped=0),
    "promote a": lambda machine: machine.pair.control(Promote(JobRef("a"))),
    "requeue a": lambda machine: machine.pair.control(Requeue(JobRef("a"))),
    "delete a": lambda machine: machine.pair.control(Delete(JobRef("a"))),
    "pause": lambda machine: machine.pair.control(Pause()),
    "resume": lambda machine: machine.pair.control(Resume()),
    "prune": lambda machine: None if machine.stepped_back else machine.pair.prune(dict.fromkeys(ENDED, Limit(0, None))),
    "settle again": lambda machine: machine.pair.send_again("settle"),
    "a lease passes": lambda machine: machine.pair.pass_time(LEASE_MS),
    **{f"{ms} ms pass": lambda machine, ms=ms: machine.pair.pass_time(ms) for ms in (1, 5, 10, 20, 40)},  # type: ignore[misc]
    "leading emissions in a row": burst(LEADING, 90, 4),
    "trailing emissions in a row": burst(TRAILING, 15, 5),
    "claim at the edge of an expiry": lambda machine: claim_at_expiry(machine),
    "advance twice by one revision": lambda machine: advance_twice(machine),
    "claim at the next moment": lambda machine: claim_at_the_edge(machine, 0),
    "claim just before the next moment": lambda machine: claim_at_the_edge(machine, -1),
    "on to the next moment": lambda machine: machine.pass_to_a_moment_at(0, 0),
}
