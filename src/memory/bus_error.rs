//! SIGBUS of our own mappings: the mapping is poisoned and the access goes on over zeros.
//!
//! A client that shrinks the file behind a mapping takes its pages away; the next access raises SIGBUS. The handler finds the
//! mapping in a table that it can read without locks, replaces it by anonymous zero memory and marks it poisoned; the access then
//! ends normally and its caller sees the mark. Signals are a property of a process, so this table is the one thing in the core
//! that is not part of a context or a space. Faults outside the table go to the handler that was installed before.

use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// One guarded mapping.
#[derive(Debug)]
pub struct Guard {
    /// Odd while `base` and `length` change.
    version: AtomicUsize,
    base: AtomicUsize,
    /// 0: the slot is free.
    length: AtomicUsize,
    poisoned: AtomicBool,
}

impl Guard {
    const fn free() -> Self {
        Self {
            version: AtomicUsize::new(0),
            base: AtomicUsize::new(0),
            length: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Says that the memory behind this mapping went away.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    /// Whether the memory behind this mapping went away.
    #[inline]
    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    fn set(&self, base: usize, length: usize) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.base.store(base, Ordering::SeqCst);
        self.length.store(length, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Base and length if `address` lies inside; for the signal handler.
    fn holds(&self, address: usize) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::SeqCst);
        let (base, length) = (self.base.load(Ordering::SeqCst), self.length.load(Ordering::SeqCst));
        let stable = version.is_multiple_of(2) && self.version.load(Ordering::SeqCst) == version;
        (stable && address.wrapping_sub(base) < length).then_some((base, length))
    }

    /// Replaces this mapping by zeros if `address` lies inside; for the signal handler.
    fn replace(&self, address: usize) -> bool {
        let Some((base, length)) = self.holds(address) else {
            return false;
        };
        self.poison();
        // SAFETY: the range is a mapping of ours that stays ours while its guard is set, and `release` waits for this handler, so
        // nobody else's memory is replaced; errno, which mmap may change, is put back.
        unsafe {
            let errno = *libc::__errno_location();
            let replaced = libc::mmap(
                ptr::without_provenance_mut(base),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            *libc::__errno_location() = errno;
            replaced != libc::MAP_FAILED
        }
    }
}

/// The guard of what is not mapped: it is never poisoned.
pub static UNMAPPED: Guard = Guard::free();

const CHUNK: usize = 256;

/// Guards live in chunks that are never freed, so a `&'static Guard` and the handler's walk stay valid.
struct Chunk {
    guards: [Guard; CHUNK],
    next: AtomicPtr<Chunk>,
}

static FIRST: Chunk = Chunk {
    guards: [const { Guard::free() }; CHUNK],
    next: AtomicPtr::new(ptr::null_mut()),
};
/// Guards that guard nothing; None before the first one is asked for. Held while the table changes.
static FREE: Mutex<Option<Vec<&'static Guard>>> = Mutex::new(None);

fn chunks() -> impl Iterator<Item = &'static Chunk> {
    std::iter::successors(Some(&FIRST), |chunk| {
        // SAFETY: `next` is null or comes from `Box::leak` below.
        unsafe { chunk.next.load(Ordering::Acquire).as_ref() }
    })
}

/// Guards `length` bytes at `base`; `poisoned` is the mark it starts with.
pub fn guard(base: *mut u8, length: usize, poisoned: bool) -> Result<&'static Guard> {
    let mut state = FREE.lock().unwrap_or_else(|broken| broken.into_inner());
    install()?;
    let free = state.get_or_insert_with(|| FIRST.guards.iter().collect());
    let slot = free.pop().unwrap_or_else(|| {
        let chunk: &'static Chunk = Box::leak(Box::new(Chunk {
            guards: [const { Guard::free() }; CHUNK],
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let last = chunks().last().unwrap_or(&FIRST);
        last.next.store(ptr::from_ref(chunk).cast_mut(), Ordering::Release);
        free.extend(&chunk.guards[1..]);
        &chunk.guards[0]
    });
    slot.poisoned.store(poisoned, Ordering::SeqCst);
    slot.set(base.addr(), length);
    Ok(slot)
}

/// Gives a guard back and tells whether its memory went away. Afterwards no handler will replace that memory.
pub fn release(guard: &'static Guard) -> bool {
    let mut state = FREE.lock().unwrap_or_else(|broken| broken.into_inner());
    guard.set(0, 0);
    while HANDLING.load(Ordering::SeqCst) != 0 {
        std::hint::spin_loop();
    }
    let poisoned = guard.poisoned();
    if let Some(free) = state.as_mut() {
        free.push(guard);
    }
    poisoned
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// The handler that was there before: 0 default, 1 ignore, else a function; bit 0 of `PREVIOUS_FLAGS` says it takes siginfo.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_TAKES_INFO: AtomicBool = AtomicBool::new(false);
/// How many handlers are looking at the table.
static HANDLING: AtomicU32 = AtomicU32::new(0);
/// How many calls of the previous handler are under way.
static CHAINED: AtomicU32 = AtomicU32::new(0);

/// Makes our handler the first one. Called for every mapping, because others (Python's faulthandler) may install theirs later.
fn install() -> Result<()> {
    // SAFETY: a zeroed sigaction is a valid value, and both calls get pointers to live ones.
    unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &mut current) != 0 {
            return Err(Error::last_os("reading the SIGBUS handler"));
        }
        let ours = on_bus_error as Handler as usize;
        if current.sa_sigaction == ours {
            return Ok(());
        }
        PREVIOUS_TAKES_INFO.store(current.sa_flags & libc::SA_SIGINFO != 0, Ordering::SeqCst);
        PREVIOUS.store(current.sa_sigaction, Ordering::SeqCst);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ours;
        // NODEFER: a previous handler that raises the signal again must end the process, not loop.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        if libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) != 0 {
            return Err(Error::last_os("installing the SIGBUS handler"));
        }
    }
    Ok(())
}

/// Only async-signal-safe work: atomics and system calls.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler; si_addr is set for codes from the kernel (> 0).
    let address = unsafe { if (*info).si_code > 0 { (*info).si_addr().addr() } else { 0 } };
    HANDLING.fetch_add(1, Ordering::SeqCst);
    let replaced = chunks().flat_map(|chunk| &chunk.guards).any(|guard| guard.replace(address));
    HANDLING.fetch_sub(1, Ordering::SeqCst);
    if !replaced {
        chain(signal, info, context);
    }
}

/// Hands a fault that is not ours to the previous handler, or to the default action.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.load(Ordering::SeqCst);
    if previous <= libc::SIG_IGN || CHAINED.fetch_add(1, Ordering::SeqCst) > 0 {
        // SAFETY: restoring the default action and raising the signal are async-signal-safe; the arguments are plain values.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &action, ptr::null_mut());
            libc::raise(signal);
        }
        return;
    }
    // SAFETY: `previous` is the address of the handler that sigaction reported, of the type its flags say.
    unsafe {
        if PREVIOUS_TAKES_INFO.load(Ordering::SeqCst) {
            std::mem::transmute::<usize, Handler>(previous)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(previous)(signal);
        }
    }
    CHAINED.fetch_sub(1, Ordering::SeqCst);
}
