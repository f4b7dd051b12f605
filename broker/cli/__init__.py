"""The command line ``msgqueue``: words, drawing and exit statuses, over client and server."""
