"""What a supervisor tells its lane."""

from __future__ import annotations

import os
import queue
import threading

from pipeline.wire import Message, Wire


class Inbox:
    """Messages from the supervisor, heard by a thread of their own whatever the others do."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.stopped = threading.Event()

    def listen(self, wire: Wire) -> None:
        """Take messages in until the supervisor is gone, and leave with it."""
        try:
            for message in wire.messages():
                if message["type"] == "stop":
                    self.stopped.set()
                    self._messages.put(None)
                else:
                    self._messages.put(message)
        finally:
            os._exit(1)

    def next(self) -> Message | None:
        """Return the next message, None when it is time to leave. For any number of threads."""
        message = self._messages.get()
        if message is None:
            self._messages.put(None)  # the others leave too
        return None if self.stopped.is_set() else message
