"""The envelope: frames to and from commands and replies.  ``docs/protocol.md`` is its text."""
