"""Queues that are in memory only."""
