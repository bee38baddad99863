"A server of this machine for a test."

import threading
from contextlib import contextmanager


@contextmanager
def serving(server):
    """Its address while it answers, in a thread. It looks twenty times a second whether it is to
    end, and not twice, for which each test would wait."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
