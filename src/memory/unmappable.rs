//! Memory of another process, `/proc/PID/mem`: it can't be mapped, so it is read and written.
//!
//! A page that the process has not, or a process that is gone, is a fault. An access takes as long as the page's owner likes (a file
//! of a FUSE file system), and nothing but the owner's end ends it: see [`super::waits`].

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{MemoryFaultKind, PAGE_SIZE, PROT_READ, PROT_WRITE};

/// Accesses of one process's memory that nobody waits for any more; each keeps a thread. With so many no further one is begun.
pub(super) const STRAYS_MOST: usize = 16;

/// Accesses that nobody waits for any more, by process.
#[derive(Clone, Default)]
pub(super) struct Strays(Arc<Mutex<HashMap<u32, usize>>>);

impl Strays {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn add(&self, pid: u32) {
        *self.lock().entry(pid).or_default() += 1;
    }

    fn remove(&self, pid: u32) {
        let mut strays = self.lock();
        if let Some(count) = strays.get_mut(&pid) {
            *count -= 1;
            if *count == 0 {
                strays.remove(&pid);
            }
        }
    }
}

/// What a mapping of a process's memory reads and writes.
pub(super) struct Process {
    file: OwnedFd,
    pid: u32,
    /// Accesses under way.
    accesses: AtomicUsize,
    strays: Strays,
}

impl Process {
    /// `work` with the process's memory, for which [`Process::busy`] tells until it returns.
    pub fn access<T>(&self, work: impl FnOnce(RawFd) -> T) -> T {
        self.accesses.fetch_add(1, Ordering::AcqRel);
        let result = work(self.file.as_raw_fd());
        self.accesses.fetch_sub(1, Ordering::AcqRel);
        result
    }

    pub fn busy(&self) -> bool {
        self.accesses.load(Ordering::Acquire) != 0
    }

    /// Whether too many accesses of this process's memory have been left to themselves.
    pub fn exhausted(&self) -> bool {
        self.strays.lock().get(&self.pid).is_some_and(|&count| count >= STRAYS_MOST)
    }

    /// An access under way is left to itself.
    pub fn stray(&self) {
        self.strays.add(self.pid);
    }

    /// Such an access has ended.
    pub fn stray_ended(&self) {
        self.strays.remove(self.pid);
    }
}

/// A region's share of a [`Process`], or of none. It is a plain value, as the region is; who drops a region for good gives it back.
#[derive(Clone, Copy)]
pub(super) struct Handle(*const Process);

impl Handle {
    /// Nothing.
    pub const NONE: Self = Self(std::ptr::null());

    pub fn new(process: Process) -> Self {
        Self(Arc::into_raw(Arc::new(process)))
    }

    /// One more share, for another region.
    ///
    /// # Safety
    /// The handle is not [`Handle::NONE`], and this share of it was not given back.
    pub unsafe fn share(self) -> Self {
        // SAFETY: the pointer is `Arc::into_raw`'s, and by the caller's promise one count is ours.
        unsafe { Arc::increment_strong_count(self.0) };
        self
    }

    /// The process.
    ///
    /// # Safety
    /// As [`Handle::share`].
    pub unsafe fn process(self) -> Arc<Process> {
        // SAFETY: as in `share`; the new count is the result's.
        unsafe { Arc::from_raw(self.share().0) }
    }

    /// Gives the share back.
    ///
    /// # Safety
    /// As [`Handle::share`]; nobody uses this share any more.
    pub unsafe fn release(self) -> Arc<Process> {
        // SAFETY: the pointer is `Arc::into_raw`'s; by the caller's promise this count is the result's now.
        unsafe { Arc::from_raw(self.0) }
    }
}
use crate::error::{Error, Result};

/// The memory behind `fd` if that is a process's; `None` if it is anything else, which can be mapped or not at all.
///
/// # Errors
/// As mmap of a file: EINVAL, EOVERFLOW: the range; EACCES: `fd` is not open for this direction.
pub(super) fn open(fd: RawFd, offset: u64, length: u64, prot: u32, strays: &Strays) -> Result<Option<Process>> {
    let Some(pid) = process_of(fd) else {
        return Ok(None);
    };
    if !length.is_multiple_of(PAGE_SIZE) || !offset.is_multiple_of(PAGE_SIZE) || !(1..=3).contains(&prot) {
        return Err(Error::new(
            libc::EINVAL,
            format!("{length:#x} bytes at address {offset:#x} of a process, protection {prot}: whole pages, and 1, 2 or 3"),
        ));
    }
    if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Error::new(
            libc::EOVERFLOW,
            format!("{length:#x} bytes at address {offset:#x} of a process pass the end of its addresses"),
        ));
    }
    // SAFETY: F_GETFL takes and changes nothing.
    let mode = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_ACCMODE;
    let refused = if mode == libc::O_RDONLY {
        PROT_WRITE
    } else if mode == libc::O_WRONLY {
        PROT_READ
    } else {
        0
    };
    if prot & refused != 0 {
        return Err(Error::new(
            libc::EACCES,
            "a process's memory is not open for this direction; open it for reading and writing",
        ));
    }
    let file = duplicate(fd)?;
    Ok(Some(Process {
        file,
        pid,
        accesses: AtomicUsize::new(0),
        strays: strays.clone(),
    }))
}

/// The process whose `/proc/PID/mem` `fd` is: on procfs, and so named.
fn process_of(fd: RawFd) -> Option<u32> {
    // SAFETY: zeroed values are valid and live; a bad descriptor makes the calls fail.
    let on_procfs = unsafe {
        let mut file_system: libc::statfs = std::mem::zeroed();
        libc::fstatfs(fd, &mut file_system) == 0 && file_system.f_type == libc::PROC_SUPER_MAGIC
    };
    let target = on_procfs.then(|| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok())??;
    if target.file_name()? != "mem" {
        return None;
    }
    // Where /proc is mounted elsewhere, or shows other numbers, the numbers still tell processes apart.
    let number = target
        .parent()
        .and_then(|process| process.file_name()?.to_str()?.parse().ok());
    Some(number.unwrap_or(0))
}

/// One more descriptor of ours.
fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: the descriptor is only duplicated; a closed one gives EBADF.
    let duplicated = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    duplicated.map_err(|error| {
        Error::new(
            error.raw_os_error().unwrap_or(libc::EMFILE),
            format!("duplicating a process's memory: {error}"),
        )
    })
}

/// Reads all of `length` bytes at `offset`.
///
/// # Safety
/// `out` is writable for `length` bytes.
#[cold]
pub(super) unsafe fn read(fd: RawFd, offset: u64, out: *mut u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
    all(length, |done| {
        // SAFETY: `done` is below `length`, and the offset was checked when the region was made.
        unsafe { libc::pread(fd, out.add(done).cast(), length - done, (offset + done as u64) as libc::off_t) }
    })
}

/// Writes all of `length` bytes at `offset`.
///
/// # Safety
/// `data` is readable for `length` bytes.
#[cold]
pub(super) unsafe fn write(fd: RawFd, offset: u64, data: *const u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
    all(length, |done| {
        // SAFETY: as above.
        unsafe {
            libc::pwrite(
                fd,
                data.add(done).cast(),
                length - done,
                (offset + done as u64) as libc::off_t,
            )
        }
    })
}

fn all(length: usize, mut step: impl FnMut(usize) -> isize) -> std::result::Result<(), MemoryFaultKind> {
    let mut done = 0;
    while done < length {
        match step(done) {
            count @ 1.. => done += count as usize,
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Err(MemoryFaultKind::Withdrawn),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Abandoned, AddressSpace, HostMemory, MemoryFault, Waits};

    /// Pages of this process, mapped as another process's are, of which the process may lose the last ones.
    pub(crate) struct Torn {
        file: File,
        mapping: *mut libc::c_void,
        length: u64,
        /// Where the device sees them, from address 0 on.
        pub space: Arc<AddressSpace>,
    }

    impl Torn {
        pub fn new(pages: u64) -> Self {
            let length = pages * PAGE_SIZE;
            // SAFETY: a C string literal, plain values, and a mapping at an address that the kernel chooses; results are checked, the
            // descriptor is owned by nobody else, and the mapping lives as long as this.
            let (file, mapping) = unsafe {
                let fd = libc::memfd_create(c"torn".as_ptr(), libc::MFD_CLOEXEC);
                assert!(fd >= 0);
                let access = libc::PROT_READ | libc::PROT_WRITE;
                let mapping = libc::mmap(std::ptr::null_mut(), length as usize, access, libc::MAP_SHARED, fd, 0);
                assert_ne!(mapping, libc::MAP_FAILED);
                (File::from_raw_fd(fd), mapping)
            };
            file.set_len(length).unwrap();
            let process = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
            let space = Arc::new(AddressSpace::default());
            space
                .map(0, process.as_raw_fd(), mapping.addr() as u64, length, PROT_READ | PROT_WRITE)
                .unwrap();
            Self {
                file,
                mapping,
                length,
                space,
            }
        }

        /// Where the process has them.
        pub fn address(&self) -> u64 {
            self.mapping.addr() as u64
        }

        /// Leaves the process `pages` of them.
        pub fn keep(&self, pages: u64) {
            self.file.set_len(pages * PAGE_SIZE).unwrap();
        }

        pub fn write(&self, offset: u64, data: &[u8]) {
            self.file.write_all_at(data, offset).unwrap();
        }

        pub fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
            let mut out = vec![0; length];
            self.file.read_exact_at(&mut out, offset).unwrap();
            out
        }
    }

    impl Drop for Torn {
        fn drop(&mut self) {
            // SAFETY: what `new` mapped, which nobody has a reference into.
            unsafe { libc::munmap(self.mapping, self.length as usize) };
        }
    }

    /// Address and length of the faults of accesses that cross into the second page; `None` where one succeeded.
    fn faults(torn: &Torn) -> Vec<Option<(u64, u64)>> {
        const PAGE: u64 = PAGE_SIZE;
        let reader = torn.space.patient_reader(Waits::alone());
        let host = reader.enter();
        let mut out = [0; 64];
        let results = [
            host.read(PAGE - 32, &mut out),
            host.write(PAGE - 32, &[7; 64]),
            // Four rows, two in each page.
            host.read_rows(PAGE - 64, 32, 16, &mut out),
            host.write_rows(PAGE - 64, 32, 16, &[7; 64]),
        ];
        let place = |fault: MemoryFault| (fault.address, fault.length);
        results.into_iter().map(|result| result.err().map(place)).collect()
    }

    #[test]
    fn accesses_that_reach_lost_pages_are_faults_there_and_nowhere_else() {
        let torn = Torn::new(2);
        assert_eq!(faults(&torn), [None; 4]);
        torn.keep(1);
        // A row's fault names the row: the third one is the first in the lost page.
        let (whole, row) = (Some((PAGE_SIZE - 32, 64)), Some((PAGE_SIZE, 16)));
        assert_eq!(faults(&torn), [whole, whole, row, row]);
        let reader = torn.space.patient_reader(Waits::alone());
        assert_eq!(reader.enter().write(0, b"kept"), Ok(()), "the same mapping goes on");
        assert_eq!(torn.bytes(0, 4), b"kept");
        // It is no poison: pages that the process has again are reached again.
        torn.keep(2);
        assert_eq!(faults(&torn), [None; 4]);
        assert_eq!(torn.bytes(PAGE_SIZE, 16), [7; 16]);
    }

    #[test]
    fn one_access_over_mapped_memory_and_a_process() {
        let torn = Torn::new(3);
        let mapped = Torn::new(1);
        let (below, above) = (PAGE_SIZE * 16, PAGE_SIZE * 17);
        torn.space
            .map(below, mapped.file.as_raw_fd(), 0, PAGE_SIZE, PROT_READ | PROT_WRITE)
            .unwrap();
        let process = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
        torn.space
            .map(above, process.as_raw_fd(), torn.address(), 3 * PAGE_SIZE, PROT_READ)
            .unwrap();
        torn.write(0, b"right");
        mapped.write(PAGE_SIZE - 4, b"left");
        let reader = torn.space.patient_reader(Waits::alone());
        let host = reader.enter();
        let mut out = [0; 9];
        host.read(above - 4, &mut out).unwrap();
        assert_eq!(&out, b"leftright");
        // All or nothing, as with mapped memory: the second half may not be written.
        let fault = host.write(above - 4, b"over here").unwrap_err();
        assert_eq!(fault.kind, MemoryFaultKind::Permission);
        assert_eq!(mapped.bytes(PAGE_SIZE - 4, 4), b"left");
        // What is left when the middle goes are the same pages of the process.
        torn.write(2 * PAGE_SIZE, b"end");
        drop(host);
        assert_eq!(torn.space.unmap(above + PAGE_SIZE, PAGE_SIZE).unwrap(), PAGE_SIZE);
        let host = reader.enter();
        host.read(above + 2 * PAGE_SIZE, &mut out[..3]).unwrap();
        assert_eq!(&out[..3], b"end");
        let gone = host.read(above + PAGE_SIZE, &mut out).unwrap_err();
        assert_eq!(gone.kind, MemoryFaultKind::Unmapped);
    }

    #[test]
    fn who_can_not_wait_gets_a_fault_and_the_thread_is_asked_before_each_access() {
        let torn = Torn::new(1);
        let mut out = [0; 4];
        let kind = |result: std::result::Result<(), MemoryFault>| result.unwrap_err().kind;
        assert_eq!(kind(torn.space.reader().enter().read(0, &mut out)), MemoryFaultKind::Waits);
        assert_eq!(kind(torn.space.read(0, &mut out)), MemoryFaultKind::Waits);
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let reader = torn
            .space
            .patient_reader(Waits::new(move || counter.fetch_add(1, Ordering::Relaxed) == 0));
        assert_eq!(reader.enter().read(0, &mut out), Ok(()));
        assert_eq!(kind(reader.enter().write(0, &out)), MemoryFaultKind::Waits);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_access_that_was_left_to_itself_unwinds_and_counts_until_then() {
        let torn = Torn::new(1);
        let region = *torn.space.current().find(0).unwrap();
        // SAFETY: the mapping stays.
        let process = unsafe { region.process.0.process() };
        let waits: Vec<_> = (0..STRAYS_MOST).map(|_| Waits::alone()).collect();
        assert!(!waits[0].abandon(), "nothing is under way");
        let under_way: Vec<_> = waits.iter().map(|waits| waits.begin(process.clone()).unwrap()).collect();
        assert!(!process.exhausted());
        assert!(
            waits
                .iter()
                .all(|waits| waits.waiting() && waits.abandon() && waits.abandon())
        );
        let one_more = Waits::alone();
        assert_eq!(one_more.begin(process.clone()).err(), Some(MemoryFaultKind::Withheld));
        for wait in under_way {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait.end())).unwrap_err();
            assert!(unwound.is::<Abandoned>());
            assert!(one_more.begin(process.clone()).map(|wait| wait.end()).is_ok());
        }
        assert!(waits.iter().all(|waits| waits.abandoned() && !waits.waiting()));
    }
}
