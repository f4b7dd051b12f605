"""The pure cluster: who should hold a slot, who does, and a slot's log and its replication."""
