"""Messages that leave a queue for another, or for good."""
