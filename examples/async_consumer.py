"""Works on four orders at a time until none has come for five seconds.

python examples/async_consumer.py [tcp://127.0.0.1:5570]
"""

import asyncio
import sys

from patterns import AsyncClient, AsyncMessage

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"
WORKERS = 4


async def handle(message: AsyncMessage) -> None:
    # Acked at the end of the block; given back to be tried again when it raises.
    async with message:
        await asyncio.sleep(0.01)
        print(message.id, message.body)


async def main() -> None:
    async with AsyncClient(address) as mq, asyncio.TaskGroup() as tasks:
        orders = await mq.queue("orders")
        # The credit is what bounds the work on hand: no more come until some are settled.
        async for message in orders.consume(credit=WORKERS, concurrency=WORKERS, timeout=5):
            tasks.create_task(handle(message))


asyncio.run(main())
