//! Copies to and from memory that other processes write at the same time.
//!
//! Such memory must not be seen through references, nor through loads that the compiler may repeat or invent. On x86-64 every
//! access is an instruction written here; elsewhere it is a volatile access. Accesses of 4 and 8 aligned bytes are single ones.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// From this length on `rep movsb` is at least as fast as a loop of vector moves; below, the loop is (measured on an EPYC: 43 against
/// 51 GB/s at 1 KiB in cache, 11 against 8 GB/s at 16 KiB to memory).
#[cfg(target_arch = "x86_64")]
const STRING_COPY_FROM: usize = 16384;

/// Copies `length` bytes.
///
/// # Safety
/// `source` must be readable and `destination` writable for `length` bytes (a page that is gone may raise SIGBUS, which
/// `bus_error` resolves), and the ranges must not overlap. The contents may change meanwhile.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn copy(destination: *mut u8, source: *const u8, length: usize) {
    use std::arch::asm;
    // SAFETY: each branch reads and writes only inside `length` bytes of either range, which the caller vouches for: pairs of
    // moves start at the first byte and end at the last one, and the branch's lower bound keeps both inside.
    unsafe {
        if length >= STRING_COPY_FROM {
            asm!("rep movsb", inout("rcx") length => _, inout("rsi") source => _, inout("rdi") destination => _,
                 options(nostack, preserves_flags));
        } else if length > 64 {
            asm!(
                "lea {last_source}, [{source} + {length} - 64]",
                "lea {last_destination}, [{destination} + {length} - 64]",
                "2:",
                "movups {a}, [{source}]",
                "movups {b}, [{source} + 16]",
                "movups {c}, [{source} + 32]",
                "movups {d}, [{source} + 48]",
                "movups [{destination}], {a}",
                "movups [{destination} + 16], {b}",
                "movups [{destination} + 32], {c}",
                "movups [{destination} + 48], {d}",
                "add {source}, 64",
                "add {destination}, 64",
                "cmp {source}, {last_source}",
                "jb 2b",
                "movups {a}, [{last_source}]",
                "movups {b}, [{last_source} + 16]",
                "movups {c}, [{last_source} + 32]",
                "movups {d}, [{last_source} + 48]",
                "movups [{last_destination}], {a}",
                "movups [{last_destination} + 16], {b}",
                "movups [{last_destination} + 32], {c}",
                "movups [{last_destination} + 48], {d}",
                source = inout(reg) source => _, destination = inout(reg) destination => _, length = in(reg) length,
                last_source = out(reg) _, last_destination = out(reg) _,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _, options(nostack)
            );
        } else if length > 32 {
            asm!(
                "movups {a}, [{source}]",
                "movups {b}, [{source} + 16]",
                "movups {c}, [{source} + {length} - 32]",
                "movups {d}, [{source} + {length} - 16]",
                "movups [{destination}], {a}",
                "movups [{destination} + 16], {b}",
                "movups [{destination} + {length} - 32], {c}",
                "movups [{destination} + {length} - 16], {d}",
                source = in(reg) source, destination = in(reg) destination, length = in(reg) length,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
        } else if length >= 16 {
            asm!(
                "movups {a}, [{source}]",
                "movups {b}, [{source} + {length} - 16]",
                "movups [{destination}], {a}",
                "movups [{destination} + {length} - 16], {b}",
                source = in(reg) source, destination = in(reg) destination, length = in(reg) length,
                a = out(xmm_reg) _, b = out(xmm_reg) _, options(nostack, preserves_flags)
            );
        } else if length == 8 {
            asm!("mov {a}, [{source}]", "mov [{destination}], {a}", source = in(reg) source,
                 destination = in(reg) destination, a = out(reg) _, options(nostack, preserves_flags));
        } else if length == 4 {
            asm!("mov {a:e}, [{source}]", "mov [{destination}], {a:e}", source = in(reg) source,
                 destination = in(reg) destination, a = out(reg) _, options(nostack, preserves_flags));
        } else if length > 8 {
            asm!("mov {a}, [{source}]", "mov {b}, [{source} + {length} - 8]",
                 "mov [{destination}], {a}", "mov [{destination} + {length} - 8], {b}",
                 source = in(reg) source, destination = in(reg) destination, length = in(reg) length,
                 a = out(reg) _, b = out(reg) _, options(nostack, preserves_flags));
        } else if length > 4 {
            asm!("mov {a:e}, [{source}]", "mov {b:e}, [{source} + {length} - 4]",
                 "mov [{destination}], {a:e}", "mov [{destination} + {length} - 4], {b:e}",
                 source = in(reg) source, destination = in(reg) destination, length = in(reg) length,
                 a = out(reg) _, b = out(reg) _, options(nostack, preserves_flags));
        } else {
            asm!("rep movsb", inout("rcx") length => _, inout("rsi") source => _, inout("rdi") destination => _,
                 options(nostack, preserves_flags));
        }
    }
}

/// Copies `length` bytes.
///
/// # Safety
/// As on x86-64.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub unsafe fn copy(destination: *mut u8, source: *const u8, length: usize) {
    let mut at = 0;
    // SAFETY: `at + width <= length` holds at every access, and wide accesses happen on aligned addresses only.
    unsafe {
        if destination.addr().is_multiple_of(8) && source.addr().is_multiple_of(8) {
            while at + 8 <= length {
                let value = source.add(at).cast::<u64>().read_volatile();
                destination.add(at).cast::<u64>().write_volatile(value);
                at += 8;
            }
        }
        if (destination.addr() + at).is_multiple_of(4) && (source.addr() + at).is_multiple_of(4) {
            while at + 4 <= length {
                let value = source.add(at).cast::<u32>().read_volatile();
                destination.add(at).cast::<u32>().write_volatile(value);
                at += 4;
            }
        }
        while at < length {
            destination.add(at).write_volatile(source.add(at).read_volatile());
            at += 1;
        }
    }
}

/// Copies `rows` rows of `row` bytes, `source_stride` and `destination_stride` bytes apart.
///
/// # Safety
/// As [`copy`], of every row.
pub unsafe fn copy_rows(
    destination: *mut u8,
    destination_stride: usize,
    source: *const u8,
    source_stride: usize,
    row: usize,
    rows: usize,
) {
    let mut at = (destination, source);
    let mut each = |length: usize| {
        for _ in 0..rows {
            // SAFETY: this is one of the rows that the caller vouches for.
            unsafe { copy(at.0, at.1, length) };
            // The pointers behind the last row are not used.
            at = (at.0.wrapping_add(destination_stride), at.1.wrapping_add(source_stride));
        }
    };
    // The commonest lengths as constants, so that `copy` needs no branches.
    match row {
        4 => each(4),
        8 => each(8),
        16 => each(16),
        32 => each(32),
        64 => each(64),
        _ => each(row),
    }
}

/// Asks for the cache line at `pointer`, to write to it. A hint: any address will do.
#[inline]
pub fn prefetch_write(pointer: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes no memory and never faults.
    unsafe {
        std::arch::asm!("prefetchw [{pointer}]", pointer = in(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Asks for the cache line at `pointer`, to read it. A hint: any address will do.
#[inline]
pub fn prefetch(pointer: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes no memory and never faults.
    unsafe {
        std::arch::asm!("prefetcht0 [{pointer}]", pointer = in(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// An aligned 32-bit word of shared memory.
///
/// # Safety
/// `pointer` must be 4-byte aligned and mapped readable (and writable, if the word is written) for `'a`.
#[inline]
pub unsafe fn word32<'a>(pointer: *mut u8) -> &'a AtomicU32 {
    // SAFETY: alignment and validity are the caller's; an atomic may be changed by others, in other processes too.
    unsafe { AtomicU32::from_ptr(pointer.cast()) }
}

/// An aligned 64-bit word of shared memory, loaded.
///
/// # Safety
/// `pointer` must be 8-byte aligned and mapped readable.
#[inline]
pub unsafe fn load64(pointer: *mut u8) -> u64 {
    // SAFETY: alignment and validity are the caller's; an atomic may be changed by others, in other processes too.
    unsafe { AtomicU64::from_ptr(pointer.cast()) }.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn copies_rows_and_nothing_between_them() {
        let source: Vec<u8> = (0..20000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for row in [1, 4, 8, 12, 16, 20, 32, 64, 100] {
            let (from, to, rows) = (row + 13, row + 5, 30);
            let mut out = vec![0xEE; 20000];
            // SAFETY: 30 rows, at most 113 bytes apart, lie inside both vectors, which are distinct allocations.
            unsafe { super::copy_rows(out.as_mut_ptr(), to, source.as_ptr(), from, row, rows) };
            for (index, byte) in out.iter().enumerate() {
                let (line, column) = (index / to, index % to);
                let expected = if line < rows && column < row {
                    source[line * from + column]
                } else {
                    0xEE
                };
                assert_eq!(*byte, expected, "row {row} at {index}");
            }
        }
    }

    #[test]
    fn copies_every_length_and_nothing_else() {
        let source: Vec<u8> = (0..20000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for length in (0..300).chain([511, 512, 1023, 1024, 1025, 2047, 2500, 16383, 16384, 16385]) {
            for shift in [0, 1, 5] {
                let mut out = vec![0xEE; 20000];
                // SAFETY: shift + length < 20000 bytes of both vectors, which are distinct allocations.
                unsafe { copy(out.as_mut_ptr().add(shift), source.as_ptr().add(shift), length) };
                assert_eq!(out[shift..shift + length], source[shift..shift + length], "length {length}");
                assert!(
                    out[..shift].iter().chain(&out[shift + length..]).all(|&byte| byte == 0xEE),
                    "length {length}"
                );
            }
        }
    }
}
