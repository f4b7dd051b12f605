"""Publishing to channels and subscribing them: pure bookkeeping, and the faces over it."""
