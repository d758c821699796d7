"""What has been spent of a budget, and when the next amount fits.

Owns: the arithmetic of rate rules in abstract cost units: a bucket that drains, sliding windows
that forget, and charges whose request is still under way. Refuses: waiting, queues, clocks and
timers; every method is synchronous and is told the time (``rate_limit.py`` has the rest).

Two facts make the count safe against a venue that counts in its own way:

- A request is counted by the venue some time after it was sent. A charge therefore counts in full
  from being granted until its answer is here, and only then begins to drain and to age. Whatever
  the latency does, the venue's count of any window is never above ours. For a request that is not
  answered, ``transit`` seconds take the answer's place.
- A venue that counts in aligned windows (Binance: minutes of its own clock) sees at most as much in
  one of them as there is in some sliding window of the same length.

Memory: a window keeps its past in at most ``SLOTS`` + 2 slots, each as late as its last entry, so
that what is coalesced is forgotten late, never early.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["SLOTS", "Charge", "Ledger", "Rules", "Window"]

SLOTS = 120
"""Parts into which a window's past is divided."""

_EPS = 1e-9
_SLOWEST = 0.2
"""Least share of the bucket's rate that a filling window slows it to."""
_LOOK_AHEAD = 3.0
"""Seconds nearer than which a window does not slow the bucket: there the steps between single slots
would, and a wait so short is no pause."""


@dataclass(frozen=True, slots=True)
class Window:
    """At most ``limit`` units in any ``seconds`` seconds."""

    limit: float
    seconds: float

    def __post_init__(self) -> None:
        if self.limit <= 0 or self.seconds <= 0:
            raise ValueError("a window's limit and length must be positive")


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be spent.

    Attributes:
        rate: units per second that the bucket drains.
        burst: units that an idle limiter lets through at once.
        windows: hard limits besides; the bucket slows down before one of them fills up.
        transit: seconds after which a request without an answer counts as having arrived.
    """

    rate: float
    burst: float
    windows: tuple[Window, ...] = ()
    transit: float = 2.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst <= 0 or self.transit < 0:
            raise ValueError("rate and burst must be positive, transit not negative")


class Charge:
    """What one request costs. ``open`` while it counts in full: granted, no answer yet."""

    __slots__ = ("cost", "due", "open")

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.due = 0.0
        self.open = True

    def __repr__(self) -> str:
        return f"<Charge {self.cost:g} {'open' if self.open else 'closed'}>"


class _Past:
    """One window's memory: slots of (begin, end of life, cost)."""

    __slots__ = ("held", "rule", "slots", "width")

    def __init__(self, rule: Window) -> None:
        self.rule = rule
        self.width = rule.seconds / SLOTS
        self.slots: deque[list[float]] = deque()
        self.held = 0.0

    def add(self, cost: float, now: float) -> None:
        self.held += cost
        slots = self.slots
        if slots and now < slots[-1][0] + self.width:
            slots[-1][1] = now + self.rule.seconds
            slots[-1][2] += cost
        else:
            slots.append([now, now + self.rule.seconds, cost])

    def forget(self, now: float) -> bool:
        """Drop what is older than the window; whether anything was."""
        slots = self.slots
        if not slots or slots[0][1] > now:
            return False
        while slots and slots[0][1] <= now:
            self.held -= slots.popleft()[2]
        if not slots:
            self.held = 0.0
        return True

    def room_in(self, lacking: float, now: float) -> float | None:
        """Seconds until so much has been forgotten; ``None`` if there is not so much to forget."""
        for _, end, cost in self.slots:
            lacking -= cost
            if lacking <= _EPS:
                return end - now
        return None

    def next_change(self, now: float) -> float:
        """Seconds until something is forgotten, at least a slot's width."""
        return max(self.width, self.slots[0][1] - now) if self.slots else self.rule.seconds

    def sustainable(self, room: float, now: float) -> float:
        """The largest constant rate that this window can keep up for its own length."""
        # The smoothest way through what has been sent: without it a burst at the window's
        # begin is answered by a pause at its end, in which everybody waits.
        least = (room + self.held) / self.rule.seconds
        for _, end, cost in self.slots:
            ahead = end - now
            if ahead > _LOOK_AHEAD and room < least * ahead:
                least = room / ahead
            room += cost
        return max(least, 0.0)


class Ledger:
    """The state of one budget.

    Invariants: ``used`` (what drains) and every window's ``held`` are sums of closed charges;
    ``flying`` is the sum of the open ones; none is negative. ``advance`` comes before any question.
    """

    __slots__ = ("_at", "_pasts", "_sent", "flying", "rate", "rules", "used")

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self.rate = rules.rate
        self.used = 0.0
        self.flying = 0.0
        self._at = now
        self._pasts = tuple(_Past(each) for each in rules.windows)
        self._sent: deque[Charge] = deque()

    def __repr__(self) -> str:
        held = ", ".join(f"{past.held:g}/{past.rule.limit:g}" for past in self._pasts)
        return f"<Ledger used={self.used:g} flying={self.flying:g} windows=[{held}]>"

    @property
    def idle(self) -> bool:
        """Nothing is remembered: as good as new. After ``advance``."""
        return not (self.used or self.flying or any(past.slots for past in self._pasts))

    @property
    def counted(self) -> float:
        """Units that count at this moment: of the longest window, else of the bucket."""
        if not self._pasts:
            return self.used + self.flying
        return max(self._pasts, key=lambda past: past.rule.seconds).held + self.flying

    @property
    def room(self) -> float:
        """Units that fit at this moment."""
        least = self.rules.burst - self.used
        for past in self._pasts:
            least = min(least, past.rule.limit - past.held)
        return max(0.0, least - self.flying)

    def advance(self, now: float) -> None:
        """Let time pass until ``now``."""
        sent = self._sent
        while sent and (not sent[0].open or sent[0].due <= now):
            charge = sent.popleft()
            if charge.open:
                # It began to age when it fell due, not when somebody looked.
                self._drain(charge.due)
                self.settle(charge, self._at)
        self._drain(now)
        changed = False
        for past in self._pasts:
            changed |= past.forget(now)
        if changed:
            self._slow_down(now)

    def _drain(self, now: float) -> None:
        passed = now - self._at
        if passed > 0.0:
            self._at = now
            if self.used:
                self.used = max(0.0, self.used - passed * self.rate)

    def fits(self, cost: float) -> bool:
        """Whether ``cost`` may be taken now. More than a limit fits when all of it is free."""
        rules, flying = self.rules, self.flying
        if self.used + flying + min(cost, rules.burst) > rules.burst + _EPS:
            return False
        for past in self._pasts:
            limit = past.rule.limit
            if past.held + flying + min(cost, limit) > limit + _EPS:
                return False
        return True

    def take(self, cost: float) -> Charge:
        """Charge ``cost``, whether it fits or not."""
        self.flying += cost
        return Charge(cost)

    def sent(self, charge: Charge, now: float) -> None:
        """The charge's request goes out now."""
        charge.due = now + self.rules.transit
        self._sent.append(charge)

    def settle(self, charge: Charge, now: float) -> None:
        """The charge's request has been answered. Again is nothing."""
        if charge.open:
            self._close(charge)
            self.used += charge.cost
            self._remember(charge.cost, now)

    def refund(self, charge: Charge) -> None:
        """The charge's request was never sent."""
        if charge.open:
            self._close(charge)

    def observe(self, counted: float, now: float) -> None:
        """The venue counts so much in its longest window: the difference was spent elsewhere.

        Never raises what is left: a lower count than ours changes nothing.
        """
        foreign = counted - self.counted
        if foreign > _EPS and self._pasts:
            self._remember(foreign, now)

    def exhaust(self) -> None:
        """The bucket is full, whatever we counted."""
        self.used = max(self.used, self.rules.burst)

    def delay(self, ahead: float, cost: float, now: float) -> float:
        """Seconds until ``cost`` will fit when ``ahead`` units go first, as far as one can tell."""
        rules = self.rules
        lacking = self.used + self.flying + ahead + min(cost, rules.burst) - rules.burst
        longest = 0.0
        if lacking > _EPS:
            longest = lacking / self.rate
            if self.rate < rules.rate:
                # Not slower for longer than the windows remember.
                memory = max(past.rule.seconds for past in self._pasts)
                longest = min(longest, memory + lacking / rules.rate)
        for past in self._pasts:
            limit = past.rule.limit
            lacking = past.held + self.flying + ahead + min(cost, limit) - limit
            if lacking > _EPS:
                wait = past.room_in(lacking, now)
                if wait is None:
                    # Behind all that is known now, at the window's own pace.
                    wait = past.rule.seconds * max(1.0, lacking / limit)
                longest = max(longest, wait)
        return longest

    def next_look(self, cost: float, now: float) -> float:
        """Seconds after which a charge that does not fit may, unless an answer comes before."""
        rules = self.rules
        landing = max(0.0, self._sent[0].due - now) if self._sent else 1.0
        latest = 0.0
        lacking = self.used + self.flying + min(cost, rules.burst) - rules.burst
        if lacking > _EPS:
            # What flies does not drain.
            latest = lacking / self.rate if self.used >= lacking else landing
            if self.rate < rules.rate:
                # The bucket goes faster again as windows forget.
                latest = min(latest, *(past.next_change(now) for past in self._pasts))
        for past in self._pasts:
            limit = past.rule.limit
            lacking = past.held + self.flying + min(cost, limit) - limit
            if lacking > _EPS:
                wait = past.room_in(lacking, now)
                latest = max(latest, landing if wait is None else wait)
        return latest

    def _close(self, charge: Charge) -> None:
        charge.open = False
        self.flying = max(0.0, self.flying - charge.cost)
        if self.flying < _EPS:
            self.flying = 0.0

    def _remember(self, cost: float, now: float) -> None:
        changed = False
        for past in self._pasts:
            slots = len(past.slots)
            past.add(cost, now)
            changed |= len(past.slots) != slots
        if changed:
            self._slow_down(now)

    def _slow_down(self, now: float) -> None:
        rate = self.rules.rate
        for past in self._pasts:
            room = past.rule.limit - past.held - self.flying
            rate = min(rate, past.sustainable(room, now))
        self.rate = max(rate, _SLOWEST * self.rules.rate)
