"""MsgQueue: a message broker over ZeroMQ and RocksDB (``docs/architecture.md``)."""

__version__ = "0.1.0"
