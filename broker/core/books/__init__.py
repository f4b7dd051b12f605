"""Where each message of a queue is, and what a queue's entries add up to: plain structures."""
