"""Tests of the client: the pure session, and both faces against a scripted broker."""
