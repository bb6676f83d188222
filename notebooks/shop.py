"""A small shop, and what it does behind the counter.

Customers look in every hour; some order, some leave a full basket behind. Orders are charged through a payment provider
that often does not answer, packed by two people who take an hour for each, and followed by letters. Every Monday the
shop orders stock from a supplier that has gone out of business.

Nothing here knows that it may be simulated: it draws random numbers, reads the clock and waits an hour with
`asyncio.sleep`, as any application does. A month of it passes in about a second:

    taskmanager simulate notebooks/shop.py:tm --days 30
"""

import asyncio
import random
from datetime import datetime, timedelta
from typing import TypedDict

from taskmanager import Context, Debounce, Job, Retry, TaskManager

BERLIN = "Europe/Berlin"
PRICES = {"tea": 690, "teapot": 3900, "cups": 2450, "kettle": 5900}


class Order(TypedDict):
    """What a customer bought; money is in cents."""

    number: str
    customer: str
    basket: list[str]
    cents: int


class GatewayTimeout(Exception):
    """The payment provider did not answer. It is known for that."""


class Mailer:
    """Stands for the service that sends our letters."""

    async def send(self, customer: str, letter: str) -> None:
        await asyncio.sleep(0.3)


tm = TaskManager(ctx={"mailer": Mailer()}, concurrency=8)


# ---- at the counter


@tm.handler("storefront", queue="shop", repeat={"pattern": "0 8-21 * * *", "timezone": BERLIN})
async def storefront(job: Job, ctx: Context) -> None:
    """The customers of one hour, a few minutes apart."""
    for _ in range(random.randint(0, 3)):
        await asyncio.sleep(random.expovariate(1 / 420))
        now = datetime.now()
        customer = f"customer {random.randint(1, 500)}"
        basket = random.sample(sorted(PRICES), k=random.randint(1, 2))
        mood = random.random()
        if mood < 0.18:
            number = f"{now:%m%d-%H%M%S}"
            cents = sum(PRICES[item] for item in basket)
            bought = Order(number=number, customer=customer, basket=basket, cents=cents)
            await ctx.emit("order", bought, id=f"order-{number}")
        elif mood < 0.25:
            left = {"customer": customer, "basket": basket, "left_at": now.isoformat(timespec="minutes")}
            await ctx.emit("remind-basket", left, delay=timedelta(hours=20))


@tm.handler("order", queue="shop")
async def order(job: Job[Order], ctx: Context) -> None:
    """An order is charged; and as it takes something off the shelf, the search index is out of date."""
    await ctx.emit("charge", job.data, id=f"charge-{job.data['number']}")
    await ctx.emit("refresh-index", {"sold": job.data["basket"]})


REFRESH = Debounce(window=1800, edge="trailing", key=lambda data: "catalogue", max_wait=7200)


@tm.handler("refresh-index", queue="shop", debounce=REFRESH)
async def refresh_index(job: Job) -> None:
    """Half an hour after the last sale, at most two hours after the first: once, however many there were."""
    await asyncio.sleep(20)


# ---- money


@tm.handler("charge", queue="payments", timeout=30, retry=Retry(max_retries=4, delay=30))
async def charge(job: Job[Order], ctx: Context) -> dict[str, int]:
    """Tries again after 30 s, 1 min, 2 min and 4 min. Who has paid gets a parcel, and five days later a letter."""
    await asyncio.sleep(random.uniform(0.2, 2))
    if random.random() < 0.25:
        raise GatewayTimeout("the payment provider does not answer")
    paid = job.data
    await ctx.emit("pack", {"basket": paid["basket"]}, id=f"pack-{paid['number']}")
    thanks = {"customer": paid["customer"]}
    await ctx.emit("ask-for-review", thanks, id=f"review-{paid['number']}", delay=timedelta(days=5))
    return {"charged": paid["cents"]}


# ---- the warehouse


@tm.handler("pack", queue="warehouse", concurrency=2)
async def pack(job: Job) -> None:
    """Two people pack, an hour for a parcel."""
    await asyncio.sleep(3600)


MONDAYS = {"pattern": "0 9 * * mon", "timezone": BERLIN}


@tm.handler("order-stock", queue="warehouse", retry=Retry(max_retries=2, delay=600), repeat=MONDAYS)
async def order_stock(job: Job) -> None:
    """Refused each time, so each Monday's job ends as a dead letter."""
    raise ConnectionRefusedError("supplier.example refused the connection")


# ---- letters and the books


@tm.handler("remind-basket", queue="mail")
@tm.handler("ask-for-review", queue="mail")
async def send_letter(job: Job, ctx: Context) -> None:
    await ctx.mailer.send(job.data["customer"], letter=job.name)


@tm.handler("nightly-report", queue="office", repeat={"pattern": "30 2 * * *", "timezone": BERLIN})
async def nightly_report(job: Job) -> dict[str, str | int]:
    """At half past two. On 29 March 2026 the clocks skip that hour, and the report is made as it ends, once."""
    await asyncio.sleep(random.uniform(60, 120))
    parcels = await tm.counts("warehouse")
    return {"written_at": datetime.now().isoformat(timespec="seconds"), "refused": parcels["failed"]}


if __name__ == "__main__":
    tm.run()
