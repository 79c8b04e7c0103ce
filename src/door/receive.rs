//! The receiver: notifications in, WAIT_CMD from here, everything else from the handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call::Call;
use super::listener::{Listener, Received};
use super::{Handler, Shared, lock, signal};
use crate::abi::uapi;
use crate::completions::{self, Outcome};
use crate::error::Result;

/// Bits of a turn's word that hold since when its handler runs: microseconds, 34 years.
const TIME_BITS: u32 = 50;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// Whose turn it is to receive: the turn's number (high bits), and since when its receiver is in the handler (0: it is not).
#[derive(Debug, Default)]
pub struct Turn(AtomicU64);

impl Turn {
    /// The turn's number and since when it is in the handler.
    pub fn look(&self) -> (u64, u64) {
        let word = self.0.load(Ordering::SeqCst);
        (word >> TIME_BITS, word & TIME)
    }

    fn change(&self, turn: u64, from: u64, to: (u64, u64)) -> bool {
        let (old, new) = (turn << TIME_BITS | from, to.0 << TIME_BITS | to.1);
        self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes the turn from a receiver that has been in its handler since `since`.
    fn take(&self, turn: u64, since: u64) -> bool {
        self.change(turn, since, (turn + 1, 0))
    }
}

impl Shared {
    /// Microseconds of this door's life, from 1.
    pub fn now(&self) -> u64 {
        (self.began.elapsed().as_micros() as u64 + 1) & TIME
    }
}

/// Starts the first receiver.
pub fn start(shared: &Arc<Shared>, turn: u64) -> Result<()> {
    let theirs = shared.clone();
    shared.spawn("fauxdna-door", move |handler| serve(&theirs, handler, turn))
}

/// Starts a receiver that takes the turn, unless the handler that runs since `since` returns first.
pub fn take_over(shared: &Arc<Shared>, turn: u64, since: u64) -> Result<()> {
    let theirs = shared.clone();
    shared.spawn("fauxdna-door", move |handler| {
        if theirs.turn.take(turn, since) {
            serve(&theirs, handler, turn + 1);
        }
    })
}

fn serve(shared: &Arc<Shared>, handler: &dyn Handler, turn: u64) {
    lock(&shared.threads).receivers.insert(turn, signal::own_id());
    if let Some(listener) = shared.listener() {
        while !shared.stopping() {
            match listener.receive() {
                Received::Call(call) => {
                    if !take(shared, &listener, handler, &call, turn) {
                        break;
                    }
                }
                Received::Nothing if listener.hung_up() => break,
                Received::Nothing | Received::Interrupted => {}
            }
        }
    }
    lock(&shared.threads).receivers.remove(&turn);
}

/// Serves one notification; `false` if another receiver took the turn meanwhile.
fn take(shared: &Arc<Shared>, listener: &Listener, handler: &dyn Handler, notification: &libc::seccomp_notif, turn: u64) -> bool {
    let id = notification.id;
    // The kernel takes the low 32 bits, as `unsigned int fd`.
    let fd = notification.data.args[0] as i32;
    let found = match notification.pid {
        // A process that this one can't see, in an outer or another pid namespace.
        0 => Err(libc::EPERM),
        tid => shared.callers.find(tid.cast_signed(), fd, || listener.valid(id)),
    };
    let (caller, file) = match found {
        Ok(found) => found,
        // Not a descriptor: the kernel says so.
        Err(libc::EBADF) => {
            listener.proceed(id);
            return true;
        }
        Err(errno) => {
            listener.answer(id, -errno);
            return true;
        }
    };
    let client = shared.clients.identify(&file);
    drop(file);
    let Some(client) = client else {
        listener.proceed(id);
        return true;
    };
    let call = Arc::new(Call::new(shared.clone(), notification, caller, client));
    if matches!(call.request, uapi::ioctl::WAIT_CMD | uapi::AMD_WAIT_CMD) && wait(&call) {
        return true;
    }
    shared.active();
    let since = shared.now();
    shared.turn.change(turn, 0, (turn, since));
    shared.tell_closed(handler, false);
    handler.call(call.clone());
    // Nobody else has it: it is answered as it is dropped.
    if call.is_open() && Arc::strong_count(&call) > 1 {
        shared.list(&call);
    }
    drop(call);
    shared.turn.change(turn, since, (turn, 0))
}

/// Serves a WAIT_CMD; `false` if the handler has to: its context is not registered.
fn wait(call: &Arc<Call>) -> bool {
    let Some(completions) = &call.shared.completions else {
        return false;
    };
    let mut argument = [0u8; uapi::amdxdna_drm_wait_cmd::SIZE];
    if let Err(error) = call.read(call.argument, &mut argument) {
        // A second answer can't be: this is the first.
        let _ = call.answer(error.errno);
        return true;
    }
    let word = |offset: usize| u32::from_le_bytes(argument[offset..offset + 4].try_into().expect("four bytes"));
    let low = u64::from(word(uapi::amdxdna_drm_wait_cmd::SEQ));
    let high = u64::from(word(uapi::amdxdna_drm_wait_cmd::SEQ + 4));
    let Some(completion) = call.client.completion(word(uapi::amdxdna_drm_wait_cmd::HWCTX)) else {
        return false;
    };
    let deadline = completions::deadline(word(uapi::amdxdna_drm_wait_cmd::TIMEOUT));
    call.set_interruptible(None);
    let theirs = call.clone();
    let ticket = completions.wait(
        completion,
        low | high << 32,
        deadline,
        Box::new(move |outcome| {
            let errno = match outcome {
                Outcome::Done => 0,
                Outcome::TimedOut => libc::ETIME,
                // The context went away before it was waited for, or its program shrank the queue's file.
                Outcome::Gone => libc::EINVAL,
                Outcome::Off => libc::ENODEV,
            };
            // Whoever ended the call first, for a signal or because the door closed, has answered.
            let _ = theirs.answer(errno);
        }),
    );
    call.ticket.store(ticket, Ordering::SeqCst);
    if call.is_open() {
        call.shared.list(call);
    }
    true
}
