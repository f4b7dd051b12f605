"""The simulator: a whole cluster in one thread, with a seeded clock, network and disks.

Owns the world around the nodes: time, connections, links, disks, the coordinator, clients, faults
and the judges.  It never waits, never looks at a clock and draws from one seed alone.

Law: one seed gives one run, event for event; its trace hash proves it.
"""
