"""What is on disk: the Store, its key layout and records, and recovery."""
