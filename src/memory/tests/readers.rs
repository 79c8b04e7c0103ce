//! Readers beside those who map and unmap: what they may see, and when an unmap returns.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// After which what has to happen counts as missing.
const PATIENCE: Duration = Duration::from_secs(60);

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
