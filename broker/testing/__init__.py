"""For tests: a broker in memory for those of users, and the simulator of whole clusters for ours.

``MemoryBroker`` is what users import; ``broker.testing.memory`` has it.  All else here is the
simulator: a cluster in one thread, with a seeded clock, network and disks.  It owns the world
around the nodes: time, connections, links, disks, the coordinator, clients, faults and the judges.
It never waits, never looks at a clock and draws from one seed alone.

Law: one seed gives one run, event for event; its trace hash proves it.
"""

from broker.testing.memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
