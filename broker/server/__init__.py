"""The shell of a broker: sockets, the loop, the disk, the clock, signals, the command line."""
