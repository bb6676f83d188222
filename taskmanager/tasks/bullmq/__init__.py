"""Tasks in real BullMQ queues, in CommandKit's own layout, so that Node and Python workers serve them side by side.

`driver` is the driver itself; `connection` its server, `registrations` what it writes into the queue, `runs` what it
takes out of it, and `crons` the language of patterns that both sides read alike.
"""

from taskmanager.tasks.bullmq.driver import BullMQDriver

__all__ = ["BullMQDriver"]
