"""Tests of the coordinators: one contract for all, and what is particular to etcd."""
