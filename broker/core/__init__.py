"""The pure broker: queues, leases, sessions, and the machine that keeps them in a slot."""
