"""Request and reply: who serves a name, which calls wait for it, and how each of them ends."""
