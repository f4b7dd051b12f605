"""A broker in the memory of one process, for the unit tests of those who use brokers.

It is no imitation: the same node over the store in memory, and the same sessions of the clients.
What is missing is what lies between: no socket, no thread, no disk, and a clock that stands still.
"""
