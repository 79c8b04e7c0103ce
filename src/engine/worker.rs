//! The engine's thread: watches doorbells, gives contexts their turns, and sleeps when nobody rings.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::Shared;
use super::cell::{Cell, lock};
use super::context::Context;
use super::crew::Seat;
use super::terms::{Clock, Served};
use crate::abi::host_queue as abi;
use crate::memory::{Abandoned, Hint};

/// Looks at the doorbells between two looks at the clock.
const LOOKS: u32 = 64;
const SPIN_LEAST: Duration = Duration::from_micros(20);
const SPIN_MOST: Duration = Duration::from_micros(500);
/// Back-off while clients can't wake the engine.
const NAP_LEAST: Duration = Duration::from_micros(20);
const NAP_MOST: Duration = Duration::from_millis(1);
/// A nap costs up to 30 us of CPU in a virtual machine: after a long silence only longer ones stay under half a percent.
const NAP_IN_SILENCE: Duration = Duration::from_millis(8);
const SILENCE: Duration = Duration::from_millis(100);

struct Slot {
    cell: Arc<Cell>,
    ready: bool,
    /// Its doorbell was found rung, and the context has not been told.
    rang: bool,
    /// A packet waits for its simulated time.
    until: Option<Instant>,
    /// What its next ring will make us read.
    hints: [Hint; 2],
}

/// Why a thread is no longer the engine's.
pub(super) enum Left {
    /// The engine closes.
    Closed,
    /// It passed the seat on in a slice of this context, which came to that.
    Passed(Arc<Cell>, Served),
}

/// What a slice came to that ended without the seat.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Back {
    ready: bool,
    until: Option<Instant>,
    hints: [Hint; 2],
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    /// Which one has its slice.
    serving: Option<usize>,
    /// Those whose slices go on without the seat.
    away: Vec<Slot>,
    /// The list of contexts that `slots` shows.
    version: u64,
    /// Where the round robin goes on.
    next: usize,
    spin: Duration,
}

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            slots: Vec::new(),
            serving: None,
            away: Vec::new(),
            version: 0,
            next: 0,
            spin: SPIN_LEAST,
        }
    }

    /// Until the engine is closed, or another thread has the seat.
    pub fn run(mut self: Box<Self>, seat: &Seat) -> Left {
        let mut idle_since = Instant::now();
        let mut looks = 0;
        // Who had the last slice: a share of it costs as much as all else that a slice needs to be passed on.
        let mut served = None;
        loop {
            if self.version != self.shared.version.load(Ordering::Acquire) {
                served = None;
                if !self.reload() {
                    return Left::Closed;
                }
            }
            self.look();
            if let Some(index) = self.pick() {
                let cell = &self.slots[index].cell;
                if served.as_ref().is_none_or(|served| !Arc::ptr_eq(served, cell)) {
                    served = Some(cell.clone());
                }
                let Some(cell) = served else { continue };
                self = match self.serve(seat, index, &cell) {
                    Ok(worker) => worker,
                    Err(came_to) => return Left::Passed(cell, came_to),
                };
                served = Some(cell);
                looks = 0;
                continue;
            }
            std::hint::spin_loop();
            looks += 1;
            if looks == 1 {
                idle_since = Instant::now();
            }
            if looks % LOOKS == 0 && idle_since.elapsed() >= self.spin {
                let woken = self.sleep();
                looks = 0;
                // A ring soon after the last one is worth spinning for; a long silence is not.
                self.spin = if woken {
                    (self.spin * 2).min(SPIN_MOST)
                } else {
                    (self.spin / 2).max(SPIN_LEAST)
                };
            }
        }
    }

    /// Takes over the list of contexts; `false` when the engine closes.
    fn reload(&mut self) -> bool {
        self.version = self.shared.version.load(Ordering::Acquire);
        let contexts = self.shared.contexts();
        let mut old = std::mem::take(&mut self.slots);
        let away = std::mem::take(&mut self.away);
        for cell in contexts {
            let mine = |slot: &Slot| Arc::ptr_eq(&slot.cell, &cell);
            if let Some(at) = old.iter().position(mine) {
                self.slots.push(old.swap_remove(at));
            } else if let Some(slot) = away.iter().find(|slot| mine(slot)) {
                let back = lock(&cell.back).take();
                let (list, Back { ready, until, hints }) = match back {
                    Some(back) => (&mut self.slots, back),
                    None => (&mut self.away, Back::default()),
                };
                let rang = slot.rang;
                list.push(Slot {
                    cell,
                    ready,
                    rang,
                    until,
                    hints,
                });
            } else {
                let ready = cell.has_work();
                let (rang, until, hints) = Default::default();
                self.slots.push(Slot {
                    cell,
                    ready,
                    rang,
                    until,
                    hints,
                });
            }
        }
        drop((old, away));
        self.shared.seen.store(self.version, Ordering::Release);
        !self.shared.closed.load(Ordering::Acquire)
    }

    /// Marks contexts whose doorbell was rung.
    #[inline]
    fn look(&mut self) {
        for slot in &mut self.slots {
            // A client writes packet, index and doorbell at about the same time: asking for all of them in each round makes their
            // ways here one way.
            slot.hints.iter().for_each(|hint| hint.prefetch());
            if !slot.ready && slot.cell.rung() {
                (slot.ready, slot.rang) = (true, true);
            }
        }
    }

    /// The next context in the highest band that has work.
    #[inline]
    fn pick(&mut self) -> Option<usize> {
        let count = self.slots.len();
        let mut best: Option<usize> = None;
        for step in 0..count {
            let index = if self.next + step < count {
                self.next + step
            } else {
                self.next + step - count
            };
            let slot = &self.slots[index];
            let due = slot.ready && slot.until.is_none_or(|until| until <= Instant::now());
            if due && best.is_none_or(|other| self.slots[other].cell.priority < slot.cell.priority) {
                best = Some(index);
            }
        }
        self.next = best.map_or(0, |index| index + 1);
        if self.next >= count {
            self.next = 0;
        }
        best
    }

    /// A slice for context `index`, which is in `cell`. If the seat was passed on meanwhile all that is left is what it came to.
    #[inline]
    fn serve(mut self: Box<Self>, seat: &Seat, index: usize, cell: &Cell) -> Result<Box<Self>, Served> {
        let clock = Clock {
            hclk_mhz: self.shared.hclk_mhz.load(Ordering::Relaxed),
            pace: self.shared.pace,
        };
        let slot = &mut self.slots[index];
        slot.until = None;
        let rang = std::mem::take(&mut slot.rang);
        self.serving = Some(index);
        let (worker, served) = seat.lend(self, || cell.serve(clock, rang));
        let Some(mut worker) = worker else {
            return Err(served);
        };
        let slot = &mut worker.slots[index];
        match served {
            Served::More => {}
            Served::Until(until) => slot.until = Some(until),
            Served::Idle => (slot.ready, slot.hints) = slot.cell.rearm(),
        }
        Ok(worker)
    }

    /// Before the seat is passed on: the context that has its slice keeps it, and is looked at again when it comes back.
    pub fn set_aside(&mut self) {
        if let Some(index) = self.serving.take() {
            self.away.push(self.slots.remove(index));
        }
    }

    /// Sleeps until a ring, a packet's simulated time or a change of the list; tells whether it was a ring, and soon.
    fn sleep(&mut self) -> bool {
        let asleep = |value| {
            for slot in &self.slots {
                slot.cell
                    .doorbell
                    .word32(abi::DOORBELL_SLEEPING as usize)
                    .store(value, Ordering::Relaxed);
            }
        };
        asleep(1);
        let began = Instant::now();
        let due = self.slots.iter().filter_map(|slot| slot.until).min();
        let silent = self.slots.iter().any(|slot| !slot.cell.kicks());
        let mut nap = NAP_LEAST;
        let rung = loop {
            // A client writes the doorbell, fences and looks for "asleep"; we say "asleep", fence and look at the doorbell.
            fence(Ordering::SeqCst);
            // A context whose packet waits for its time has a doorbell that is not armed; it is served in any case.
            if self.slots.iter().any(|slot| !slot.ready && slot.cell.rung()) {
                break true;
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || self.version != self.shared.version.load(Ordering::Acquire) {
                break false;
            }
            let limit = [silent.then_some(nap), left].into_iter().flatten().min();
            self.shared.kick.sleep(limit);
            nap = (nap * 2).min(if began.elapsed() < SILENCE { NAP_MOST } else { NAP_IN_SILENCE });
        };
        asleep(0);
        rung && began.elapsed() < SPIN_MOST
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.slots.clear();
        self.away.clear();
        self.shared.seen.store(u64::MAX, Ordering::Release);
    }
}

impl Cell {
    /// Whether the doorbell was rung since it was armed.
    #[inline]
    fn rung(&self) -> bool {
        self.doorbell.word32(0).load(Ordering::Acquire) != abi::DOORBELL_ARMED
    }

    /// Whether the client said that it wakes the engine.
    fn kicks(&self) -> bool {
        self.doorbell.word32(abi::DOORBELL_KICKS as usize).load(Ordering::Relaxed) == 1
    }

    fn has_work(&self) -> bool {
        self.turn(|context| context.has_work()).unwrap_or_default()
    }

    /// Arms the doorbell again, then looks for a packet whose ring the arming may have wiped out. A context that has gone has no
    /// doorbell any more.
    fn rearm(&self) -> (bool, [Hint; 2]) {
        self.turn(|context| {
            self.doorbell.word32(0).swap(abi::DOORBELL_ARMED, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            context.look_ahead()
        })
        .unwrap_or_default()
    }

    /// The end of a slice on a thread without the seat, which came to `served`.
    #[cold]
    pub(super) fn come_back(&self, served: Served) {
        let back = match served {
            Served::More => Back {
                ready: true,
                ..Back::default()
            },
            Served::Until(until) => Back {
                ready: true,
                until: Some(until),
                ..Back::default()
            },
            Served::Idle => {
                let (ready, hints) = self.rearm();
                Back {
                    ready,
                    hints,
                    until: None,
                }
            }
        };
        self.carry_out_orders();
        *lock(&self.back) = Some(back);
    }

    #[inline]
    fn serve(&self, clock: Clock, rang: bool) -> Served {
        self.turn(|context| guarded(context, |context| context.serve(clock, rang)))
            .unwrap_or(Served::Idle)
    }
}

/// One slice of a context's work. A panic, which would be an error of ours, ends the context's packet and not the process.
#[inline]
pub(super) fn guarded(context: &mut Context, work: impl FnOnce(&mut Context) -> Served) -> Served {
    catch_unwind(AssertUnwindSafe(|| work(context))).unwrap_or_else(|panic| {
        if panic.is::<Abandoned>() {
            // Nobody has the context any more but this thread.
            return Served::Idle;
        }
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        // Were this to panic as well, the context would stay as it is, which harms nobody else.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            context.fail(format!("internal error of the engine: {text}; please report it"))
        }));
        Served::Idle
    })
}
