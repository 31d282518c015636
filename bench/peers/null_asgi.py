"""A null handler on a server: ``python -m bench.peers.null_asgi PORT granian|uvicorn [app|told]``."""

import importlib
import sys

if __name__ == "__main__":
    port, server, handler = (*sys.argv[1:], "app")[:3]
    importlib.import_module(f"bench.peers.on_{server}").serve(f"bench.peers.null_handler:{handler}", int(port))
