# SPDX-License-Identifier: Apache-2.0
"""The slots that run jobs. Each has its own thread and Gearman connection, so losing one connection loses one job."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from worker.gearman.client import Receiver, Task
from worker.status import SlotState

log = logging.getLogger(__name__)

Connect = Callable[[int, Sequence[str]], Receiver]
"""Creates the connection of the slot with this number, for these functions."""


class _Slot:
    """One slot."""

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number, self.receiver = number, receiver
        self.busy = self.ending = False
        self.thread: threading.Thread


class Slots:
    """All slots. The methods may be called from one thread only, the properties from any thread."""

    def __init__(self, connect: Connect, run: Callable[[Task, int], None]) -> None:
        self._connect, self._run = connect, run
        self._functions: tuple[str, ...] = ()
        self._held = False
        self._slots: tuple[_Slot, ...] = ()
        self._lock = threading.Lock()

    @property
    def receivers(self) -> list[Receiver]:
        """The connections of all slots."""
        return [slot.receiver for slot in self._slots]

    @property
    def alive(self) -> bool:
        """Whether the threads of all slots that should take jobs are alive. Call it from the methods' thread only."""
        return all(slot.thread.is_alive() for slot in self._slots if not slot.ending)

    def states(self) -> tuple[SlotState, ...]:
        """The state of each slot."""
        return tuple(SlotState(slot.number, slot.busy, slot.receiver.connected, slot.ending) for slot in self._slots)

    def serve(self, count: int, functions: Sequence[str]) -> None:
        """Run `count` slots that serve these functions; surplus slots end after their current job."""
        if tuple(functions) != self._functions:
            self._functions = tuple(functions)
            for slot in self._slots:
                slot.receiver.offer(self._turned(slot.number))
        kept = [slot for slot in self._slots if not slot.ending]
        for slot in kept[count:]:
            slot.ending = True
            slot.receiver.hold(True)
            threading.Thread(target=slot.receiver.stop_taking, daemon=True).start()
        taken = {slot.number for slot in self._slots}
        free = (number for number in range(len(taken) + count) if number not in taken)
        for number in list(free)[: max(0, count - len(kept))]:
            self._begin(number)

    def hold(self, held: bool) -> None:
        """Stop taking jobs but keep the functions registered, or take jobs again."""
        with self._lock:
            self._held = held
            slots = self._slots
        for slot in slots:
            slot.receiver.hold(held or slot.ending)

    def stop_taking(self) -> None:
        """Let each slot end after its current job. Does not wait."""
        self.hold(True)
        for slot in self._slots:
            # in parallel, as each may wait up to 5 s for a server that does not answer
            threading.Thread(target=slot.receiver.stop_taking, daemon=True).start()

    def join(self, seconds: float) -> None:
        """Wait until all slots have ended, at most this many seconds."""
        deadline = time.monotonic() + seconds
        for slot in self._slots:
            slot.thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, number: int) -> None:
        slot = _Slot(number, self._connect(number, self._turned(number)))
        slot.thread = threading.Thread(target=self._loop, args=(slot,), name=f"slot-{number}", daemon=True)
        with self._lock:
            self._slots = tuple(sorted((*self._slots, slot), key=lambda each: each.number))
            slot.receiver.hold(self._held)
        slot.thread.start()

    def _turned(self, number: int) -> tuple[str, ...]:
        # each slot begins with a different function, so that jobs of one function do not occupy all slots
        first = number % max(len(self._functions), 1)
        return self._functions[first:] + self._functions[:first]

    def _loop(self, slot: _Slot) -> None:
        while task := slot.receiver.take():
            slot.busy = True
            self._run(task, slot.number)
            slot.busy = False
        if slot.ending:
            slot.receiver.close()
            with self._lock:
                self._slots = tuple(each for each in self._slots if each is not slot)
            log.info("slot %d has ended: the configuration wants fewer", slot.number)
