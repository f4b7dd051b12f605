"""The contenders: one module each, and `bench.peers.registry` that names them."""
