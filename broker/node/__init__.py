"""The pure glue of a broker: slots, core, store and other brokers as one turn-taking machine."""
