//! Readers and unmap against each other, memory that vanishes, and the speed of copies.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

const PAGE: u64 = PAGE_SIZE;
/// After which what has to happen counts as missing.
const PATIENCE: Duration = Duration::from_secs(60);

fn memfd(bytes: u64) -> File {
    // SAFETY: a C string literal and a flag; the result is checked, and owned by nobody else.
    let file = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.set_len(bytes).unwrap();
    file
}

fn space(file: &File, address: u64, bytes: u64) -> Arc<AddressSpace> {
    let space = Arc::new(AddressSpace::default());
    space
        .map(address, file.as_raw_fd(), 0, bytes, PROT_READ | PROT_WRITE)
        .unwrap();
    space
}

#[test]
fn reader_sees_changes_made_between_its_accesses() {
    let (first, second) = (memfd(PAGE), memfd(PAGE));
    first.write_at(b"first", 0).unwrap();
    second.write_at(b"second", 0).unwrap();
    let space = space(&first, 0, PAGE);
    let reader = space.reader();
    let mut out = [0; 5];
    let access = reader.enter();
    access.read(0, &mut out).unwrap();
    assert_eq!(&out, b"first");
    // The guard is idle, but has not shown that it knows: it would make unmap wait, so that happens on another thread.
    let theirs = space.clone();
    let changer = std::thread::spawn(move || {
        assert_eq!(theirs.unmap(0, PAGE).unwrap(), PAGE);
        theirs.map(0, second.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    });
    while out != *b"secon" {
        let _ = access.read(0, &mut out);
    }
    changer.join().unwrap();
    assert_eq!(access.write(0, b"x").unwrap_err().kind, MemoryFaultKind::Permission);
}

#[test]
fn unmap_waits_for_a_reader_that_is_in_the_middle() {
    let file = memfd(PAGE);
    let space = space(&file, 0, PAGE);
    let reader = space.reader();
    let access = reader.enter();
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (space.clone(), done.clone());
    let unmapper = std::thread::spawn(move || {
        theirs.unmap(0, PAGE).unwrap();
        flag.store(true, Ordering::SeqCst);
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(!done.load(Ordering::SeqCst));
    drop(access);
    unmapper.join().unwrap();
    assert!(done.load(Ordering::SeqCst));
    assert_eq!(reader.enter().read(0, &mut [0]).unwrap_err().kind, MemoryFaultKind::Unmapped);
}

#[test]
fn nothing_is_touched_after_unmap_has_returned() {
    let file = memfd(2 * PAGE);
    let space = space(&file, 0, 2 * PAGE);
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let (theirs, flag, count) = (space.clone(), stop.clone(), writes.clone());
    let writer = std::thread::spawn(move || {
        let reader = theirs.reader();
        while !flag.load(Ordering::Relaxed) {
            let access = reader.enter();
            for _ in 0..100 {
                // Over both pages, so that a split leaves one of them.
                let ends = [access.write(PAGE - 32, &[0xAA; 64]), access.write(0, &[0xBB; 8])];
                count.fetch_add(ends.iter().filter(|end| end.is_ok()).count() as u64, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..300 {
        while writes.swap(0, Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(space.unmap(PAGE, PAGE).unwrap(), PAGE);
        file.write_at(&[0; 32], PAGE).unwrap();
        std::thread::yield_now();
        let mut seen = [0; 32];
        file.read_at(&mut seen, PAGE).unwrap();
        assert_eq!(seen, [0; 32], "a page was written after it had been unmapped");
        space.map(PAGE, file.as_raw_fd(), PAGE, PAGE, PROT_READ | PROT_WRITE).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn file_that_shrinks_under_its_readers_poisons_the_mapping_and_nothing_else() {
    for _ in 0..20 {
        let (file, other) = (memfd(64 * PAGE), memfd(PAGE));
        let space = space(&file, 0, 64 * PAGE);
        space
            .map(1 << 40, other.as_raw_fd(), 0, PAGE, PROT_READ | PROT_WRITE)
            .unwrap();
        let reading = std::thread::spawn({
            let space = space.clone();
            move || {
                let reader = space.reader();
                let mut out = vec![0; 64 * PAGE as usize];
                loop {
                    if let Err(fault) = reader.enter().read(0, &mut out) {
                        return fault.kind;
                    }
                }
            }
        });
        std::thread::sleep(Duration::from_micros(300));
        file.set_len(3 * PAGE).unwrap();
        assert_eq!(reading.join().unwrap(), MemoryFaultKind::Poisoned);
        let reader = space.reader();
        reader.enter().write(1 << 40, b"alive").unwrap();
        assert_eq!(reader.enter().read(0, &mut [0]).unwrap_err().kind, MemoryFaultKind::Poisoned);
    }
}

#[test]
fn bus_errors_of_others_still_end_the_process() {
    // In a child, since it dies: a mapping that the table does not know.
    let file = memfd(PAGE);
    let _ours = space(&file, 0, PAGE);
    // SAFETY: the child only maps, touches and exits; the mapping is its own.
    let status = unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let stranger = memfd(PAGE);
            let pointer = libc::mmap(
                std::ptr::null_mut(),
                PAGE as usize,
                libc::PROT_READ,
                libc::MAP_SHARED,
                stranger.as_raw_fd(),
                0,
            );
            libc::ftruncate(stranger.as_raw_fd(), 0);
            std::ptr::read_volatile(pointer.cast::<u8>());
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status
    };
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
}

#[test]
fn many_mappings_are_found_again() {
    let file = memfd(PAGE);
    let space = Arc::new(AddressSpace::default());
    for index in 0..2000u64 {
        space.map(index * 3 * PAGE, file.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    }
    let reader = space.reader();
    let access = reader.enter();
    for index in 0..2000u64 {
        access.read(index * 3 * PAGE + 100, &mut [0; 8]).unwrap();
        let fault = access.read(index * 3 * PAGE + PAGE, &mut [0; 8]).unwrap_err();
        assert_eq!((fault.kind, fault.length), (MemoryFaultKind::Unmapped, 8));
    }
}

/// Bytes of the process's addresses that windows on files called `name` take, and how many they are.
fn windows(name: &str) -> (u64, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let bounds = maps.lines().filter(|line| line.contains(name)).map(|line| {
        let (low, high) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        u64::from_str_radix(high, 16).unwrap() - u64::from_str_radix(low, 16).unwrap()
    });
    bounds.fold((0, 0), |(bytes, count), length| (bytes + length, count + 1))
}

fn named(name: &std::ffi::CStr, bytes: u64) -> File {
    // SAFETY: a C string and a flag; the result is checked, and owned by nobody else.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(bytes).unwrap();
    file
}

#[test]
fn a_file_is_in_the_process_once_however_many_maps_it_has() {
    let file = named(c"once", 1 << 30);
    let other = File::options()
        .read(true)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .unwrap();
    let space = AddressSpace::default();
    for index in 0..1000 {
        space
            .map(index * 2 * PAGE, file.as_raw_fd(), (index * 977 % 4096) * PAGE, PAGE, 3)
            .unwrap();
    }
    assert_eq!(windows("memfd:once"), (1 << 30, 1));
    // What can't be written to has no pages that could.
    space.map(1 << 40, other.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    assert_eq!(windows("memfd:once"), (2 << 30, 2));
    // What a descriptor does not allow is refused although the file is there already.
    let refused = space.map(1 << 41, other.as_raw_fd(), 0, PAGE, 3).unwrap_err();
    assert_eq!(refused.errno, libc::EACCES);
    for index in 0..1000 {
        assert_eq!(space.unmap(index * 2 * PAGE, PAGE).unwrap(), PAGE);
        assert_eq!(windows("memfd:once").1, if index < 999 { 2 } else { 1 });
    }
    drop(space);
    assert_eq!(windows("memfd:once"), (0, 0));
}

#[test]
fn a_file_that_grows_and_a_file_with_holes() {
    let file = named(c"grows", 4 * PAGE);
    let space = AddressSpace::default();
    let map = |address: u64, offset: u64, length: u64| space.map(address, file.as_raw_fd(), offset, length, 3);
    map(0, PAGE, PAGE).unwrap();
    file.set_len(8 * PAGE).unwrap();
    map(1 << 20, 6 * PAGE, PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, 8 * PAGE);
    // Over the seam of both.
    map(2 << 20, 2 * PAGE, 4 * PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, 12 * PAGE);
    for (address, offset) in [
        (0, PAGE),
        (1 << 20, 6 * PAGE),
        ((2 << 20) + PAGE, 3 * PAGE),
        ((2 << 20) + 2 * PAGE, 4 * PAGE),
    ] {
        space.write(address + 8, &offset.to_ne_bytes()).unwrap();
        let mut seen = [0; 8];
        file.read_at(&mut seen, offset + 8).unwrap();
        assert_eq!(u64::from_ne_bytes(seen), offset);
    }
    // Of a file of 1 TiB, 16 GiB and what else is asked for.
    file.set_len(1 << 40).unwrap();
    let before = windows("memfd:grows").0;
    map(3 << 20, 1 << 39, PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, before + (16 << 30));
    map(1 << 36, (16 << 30) - PAGE, 2 * PAGE).unwrap();
    assert_eq!(windows("memfd:grows").0, before + (16 << 30) + 2 * PAGE);
    space.unmap(0, 1 << 50).unwrap();
    assert_eq!(windows("memfd:grows"), (0, 0));
}

#[test]
fn seals_hold() {
    // SAFETY: plain values; the result is checked by what follows.
    let file = unsafe {
        File::from_raw_fd(libc::memfd_create(
            c"sealed".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))
    };
    file.set_len(4 * PAGE).unwrap();
    let space = space(&file, 0, PAGE);
    // SAFETY: as above.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) };
    assert_eq!(sealed, 0);
    let refused = space.map(1 << 20, file.as_raw_fd(), PAGE, PAGE, 3).unwrap_err();
    assert_eq!(refused.errno, libc::EPERM);
    space.map(1 << 20, file.as_raw_fd(), PAGE, PAGE, PROT_READ).unwrap();
}

#[test]
fn limits_are_errors_and_change_nothing() {
    let file = memfd(64 * PAGE);
    let limits = Limits {
        maps: 3,
        windows: 2,
        bytes: 80 * PAGE,
    };
    let space = AddressSpace::new(limits);
    let errno = |result: crate::error::Result<()>| result.err().map(|error| error.errno);
    space.map(0, file.as_raw_fd(), 0, 8 * PAGE, 3).unwrap();
    space.reserve(1 << 20, 4 * PAGE).unwrap();
    assert_eq!(errno(space.reserve(1 << 20, PAGE)), Some(libc::EEXIST));
    assert_eq!(
        errno(space.map((1 << 20) + PAGE, file.as_raw_fd(), 0, PAGE, 3)),
        Some(libc::EEXIST)
    );
    assert_eq!(space.read(1 << 20, &mut [0]).unwrap_err().kind, MemoryFaultKind::Unmapped);
    // 64 pages for this file are taken of 80: no whole window of another one, and no second piece of 20.
    let second = memfd(32 * PAGE);
    assert_eq!(
        errno(space.map(2 << 20, second.as_raw_fd(), 0, 20 * PAGE, 3)),
        Some(libc::ENOSPC)
    );
    space.map(2 << 20, second.as_raw_fd(), 0, 16 * PAGE, 3).unwrap();
    assert_eq!(space.counts(), (3, 2));
    assert_eq!(errno(space.map(3 << 20, file.as_raw_fd(), 0, PAGE, 3)), Some(libc::ENOSPC));
    assert_eq!(errno(space.reserve(3 << 20, PAGE)), Some(libc::ENOSPC));
    // Neither by a split.
    assert_eq!(space.unmap(2 * PAGE, PAGE).unwrap_err().errno, libc::ENOSPC);
    assert_eq!(space.unmap((1 << 20) + PAGE, PAGE).unwrap_err().errno, libc::ENOSPC);
    space.write(2 * PAGE, b"still here").unwrap();
    assert_eq!(space.unmap(1 << 20, 4 * PAGE).unwrap(), 0);
    assert_eq!(space.unmap(2 * PAGE, PAGE).unwrap(), PAGE);
    assert_eq!(space.counts(), (3, 3));
    assert_eq!(space.unmap(0, 1 << 40).unwrap(), 23 * PAGE);
    assert_eq!(space.counts(), (0, 0));
    // Two files, and a third one.
    let files = [memfd(PAGE), memfd(PAGE), memfd(PAGE)];
    let map = |index: usize| space.map(index as u64 * PAGE, files[index].as_raw_fd(), 0, PAGE, 3);
    assert_eq!([0, 1, 2].map(|index| errno(map(index))), [None, None, Some(libc::ENOSPC)]);
}

/// Readers read and write at random while one thread maps and unmaps at random, all pages and parts of runs. Every page of the file
/// holds its own number; a reader may find a page or a fault, never another page's bytes. An unmapped page is written with a mark
/// at once, which no reader may see or overwrite.
#[test]
fn readers_beside_changes_at_random() {
    const PAGES: u64 = 96;
    const MARK: u64 = 0xDEAD << 32;
    let file = memfd(PAGES * PAGE);
    let canary = |page: u64, value: u64| file.write_at(&value.to_ne_bytes(), page * PAGE).unwrap();
    (0..PAGES).for_each(|page| {
        canary(page, page);
    });
    let space = Arc::new(AddressSpace::default());
    let stop = Arc::new(AtomicBool::new(false));
    let hits = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (1..3u64)
        .map(|seed| {
            let (space, stop, hits) = (space.clone(), stop.clone(), hits.clone());
            std::thread::spawn(move || {
                let reader = space.reader();
                let mut random = seed * 0x9E37_79B9;
                while !stop.load(Ordering::Relaxed) {
                    let access = reader.enter();
                    for _ in 0..64 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let page = (random >> 33) % PAGES;
                        let mut seen = [0; 8];
                        if access.read(page * PAGE, &mut seen).is_ok() {
                            assert_eq!(u64::from_ne_bytes(seen), page);
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                        let _ = access.write(page * PAGE + 64, &page.to_ne_bytes());
                        // Over a seam of two pages, which may be two regions.
                        let mut both = [0; 16];
                        if access.read(page * PAGE + PAGE - 8, &mut both).is_ok() {
                            assert_eq!(u64::from_ne_bytes(both[8..].try_into().unwrap()), page + 1);
                        }
                    }
                }
            })
        })
        .collect();
    let mut mapped = [false; PAGES as usize];
    let mut random = 7u64;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % limit
    };
    let start = Instant::now();
    let mut rounds = 0;
    // On however busy a machine: until the readers have found something too.
    while rounds < 600 || (hits.load(Ordering::Relaxed) == 0 && start.elapsed() < PATIENCE) {
        rounds += 1;
        let (first, count) = (below(PAGES), 1 + below(12));
        let pages = first..(first + count).min(PAGES);
        let range = pages.start as usize..pages.end as usize;
        let (address, length) = (first * PAGE, (pages.end - first) * PAGE);
        if below(2) == 0 {
            let free = !mapped[range.clone()].iter().any(|there| *there);
            assert_eq!(space.map(address, file.as_raw_fd(), address, length, 3).is_ok(), free);
            if free {
                mapped[range].fill(true);
            }
        } else {
            let there = mapped[range.clone()].iter().filter(|there| **there).count() as u64;
            assert_eq!(space.unmap(address, length).unwrap(), there * PAGE);
            mapped[range].fill(false);
            for page in pages.clone() {
                canary(page, MARK | page);
                file.write_at(&[0x5A; 8], page * PAGE + 64).unwrap();
            }
            std::thread::yield_now();
            for page in pages {
                let mut seen = [0; 8];
                file.read_at(&mut seen, page * PAGE + 64).unwrap();
                assert_eq!(seen, [0x5A; 8], "page {page} was written after it had been unmapped");
                canary(page, page);
            }
        }
        let real: u64 = space.mappings().iter().map(|mapping| mapping.length).sum();
        assert_eq!(real, mapped.iter().filter(|there| **there).count() as u64 * PAGE);
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert!(hits.load(Ordering::Relaxed) > 0);
}

/// `cargo test --release -- --ignored --nocapture copy_speed`
#[test]
#[ignore = "a measurement"]
fn copy_speed() {
    let bytes = 64 << 20;
    let file = memfd(bytes);
    let space = space(&file, 0, bytes);
    let reader = space.reader();
    let mut out = vec![0; 1 << 20];
    let mut measure = |length: usize, span: u64| {
        let (mut moved, mut address) = (0usize, 0);
        let start = Instant::now();
        while moved < 1 << 29 && start.elapsed() < Duration::from_secs(2) {
            let access = reader.enter();
            for _ in 0..256 {
                access.read(address, &mut out[..length]).unwrap();
                access.write(address, &out[..length]).unwrap();
                address = (address + length as u64) % (span - length as u64);
                moved += 2 * length;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{length:>8} bytes over {:>6} KiB: {:>7.2} GB/s, {:.1} ns an access",
            span >> 10,
            moved as f64 / seconds / 1e9,
            seconds * 1e9 * length as f64 / moved as f64
        );
    };
    for span in [1 << 16, 1 << 20, bytes] {
        for length in [4, 16, 64, 256, 1024, 4096, 16384, 65536] {
            if (length as u64) < span {
                measure(length, span);
            }
        }
    }
}

/// `cargo test --release -- --ignored --nocapture map_speed`
#[test]
#[ignore = "a measurement"]
fn map_speed() {
    // Few pages of memory behind many addresses: what is measured is the table, not the memory. No two maps are neighbours.
    let file = memfd(64 * PAGE);
    file.write_at(&[1; 64 * PAGE as usize], 0).unwrap();
    let map = |space: &AddressSpace, index: u64| {
        let offset = index % 64 * PAGE;
        let prot = PROT_READ | PROT_WRITE;
        space.map(index * 2 * PAGE, file.as_raw_fd(), offset, PAGE, prot).unwrap();
    };
    for maps in [100, 1_000, 10_000, 30_000, 65_000] {
        let space = Arc::new(AddressSpace::default());
        (0..maps).for_each(|index| map(&space, index));
        let reader = space.reader();
        let mut out = [0; 8];
        let mut random = 1u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % limit
        };
        (0..maps).for_each(|index| reader.enter().read(index * 2 * PAGE, &mut out).unwrap());
        // Medians: others use this processor too.
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        let timed = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        let mut lookup = || (0..500).for_each(|_| reader.enter().read(below(maps) * 2 * PAGE, &mut out).unwrap());
        let lookups = median((0..2_000).map(|_| timed(&mut lookup)).collect()) / 500.0;
        let (mut unmaps, mut remaps) = (Vec::new(), Vec::new());
        for _ in 0..2_000 {
            let index = below(maps);
            unmaps.push(timed(&mut || assert_eq!(space.unmap(index * 2 * PAGE, PAGE).unwrap(), PAGE)));
            remaps.push(timed(&mut || map(&space, index)));
        }
        println!(
            "{maps:>6} maps: lookup at random {:>5.0} ns, unmap {:>8.2} us, map {:>8.2} us",
            lookups * 1e9,
            median(unmaps) * 1e6,
            median(remaps) * 1e6
        );
    }
}

#[test]
fn rows_within_a_region_across_regions_and_past_the_last() {
    let (first, second) = (memfd(PAGE), memfd(PAGE));
    let counting: Vec<u8> = (0..2 * PAGE).map(|index| (index * 31 / 7) as u8).collect();
    first.write_at(&counting[..PAGE as usize], 0).unwrap();
    second.write_at(&counting[PAGE as usize..], 0).unwrap();
    let space = space(&first, PAGE, PAGE);
    space.map(2 * PAGE, second.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    let reader = space.reader();
    let access = reader.enter();
    for (start, stride, row, rows) in [
        (8, 40, 16, 50),
        (PAGE - 100, 24, 20, 30),
        (4, PAGE - 8, 12, 3),
        (0, 0, 4, 5),
        (100, 1, 4, 9),
    ] {
        let mut out = vec![0; row * rows];
        access.read_rows(PAGE + start, stride, row, &mut out).unwrap();
        let expected: Vec<u8> = (0..rows)
            .flat_map(|index| {
                let from = (start + stride * index as u64) as usize;
                counting[from..from + row].to_vec()
            })
            .collect();
        assert_eq!(out, expected, "{rows} rows of {row} bytes from {start}, {stride} apart");
    }
    // The fault is that of the row that cannot be had: the rows before it are there.
    let mut out = [0; 64];
    let fault = access.read_rows(3 * PAGE - 80, 32, 16, &mut out).unwrap_err();
    assert_eq!(
        (fault.address, fault.length, fault.kind),
        (3 * PAGE + 16, 16, MemoryFaultKind::Unmapped)
    );
    assert_eq!(out[..16], counting[2 * PAGE as usize - 80..2 * PAGE as usize - 64]);
    let fault = access.read_rows(PAGE, u64::MAX - 3, 16, &mut out).unwrap_err();
    assert_eq!(fault.kind, MemoryFaultKind::Unmapped);

    access.write_rows(PAGE + 16, 32, 8, &[7; 24]).unwrap();
    access.read_rows(PAGE + 8, 16, 8, &mut out).unwrap();
    assert_eq!(out[8..16], counting[24..32]);
    assert_eq!([out[0], out[8 + 8]], [counting[8], counting[40]]);
    let mut written = [0; 128];
    access.read(PAGE, &mut written).unwrap();
    for (index, byte) in written.iter().enumerate() {
        let inside = (16..104).contains(&index) && (index - 16) % 32 < 8;
        assert_eq!(*byte, if inside { 7 } else { counting[index] }, "byte {index}");
    }
    let fault = access.write_rows(2 * PAGE - 16, 16, 16, &[1; 32]).unwrap_err();
    assert_eq!((fault.address, fault.kind), (2 * PAGE, MemoryFaultKind::Permission));
}
