"""`python -m gateway`"""

import gc

from gateway.app import NAME, create_app
from gateway.settings import Settings
from shared.server import serve
from shared.settings import load_settings

NEW_OBJECTS = 20_000
"""Before the garbage collector looks through them: more than a second of requests leaves behind (records that wait to be sent,
callers). At Python's 700 each was looked through several times, and now and then all of them, for 17 ms at a stretch."""

if __name__ == "__main__":
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    serve(NAME, load_settings(Settings), create_app)
