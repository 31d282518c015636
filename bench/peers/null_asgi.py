"""The null handler on granian: ``python -m bench.peers.null_asgi PORT``."""

import sys

from bench.peers.on_granian import serve

if __name__ == "__main__":
    serve("bench.peers.null_handler:app", int(sys.argv[1]))
