"""Puts a hundred orders from one event loop, ten at a time.

python examples/async_producer.py [tcp://127.0.0.1:5570]
"""

import asyncio
import sys

from patterns import AsyncClient, AsyncQueue

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


async def put_ten(orders: AsyncQueue, first: int) -> None:
    bodies = [{"item": "book", "number": first + number} for number in range(10)]
    confirm = await orders.put_many(bodies)
    await confirm.wait(timeout=10)


async def main() -> None:
    async with AsyncClient(address) as mq:
        orders = await mq.queue("orders")
        await asyncio.gather(*[put_ten(orders, first) for first in range(0, 100, 10)])
        print("all confirmed:", mq.counters["puts_confirmed"])


asyncio.run(main())
