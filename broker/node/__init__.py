"""The pure glue of a broker: slots, core and store as one turn-taking machine."""
