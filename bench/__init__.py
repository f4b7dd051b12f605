"""Benchmarks of MsgQueue beside other brokers: the same work, the same machine, the same run.

Never imported by the product and never shipped in it. Law: a number is printed only for a run
whose messages were all confirmed, all consumed and all unchanged.
"""
