//! Moves bytes between two patterns: tile to tile, host to tile, tile to host.

use crate::memory::{HostMemory, MemoryFault};

use super::walk::Walk;

/// Words that short pieces of a long host run are gathered in, so that each costs no host access of its own.
pub(super) const STAGING_WORDS: u32 = 4096;
/// Runs from this many words on go between host and tile directly.
const DIRECT_WORDS: u32 = 128;

/// Copies `words` from where `from` is in `source` to where `to` is in `target`.
pub(super) fn tile_to_tile(source: &[u8], from: &mut Walk, target: &mut [u8], to: &mut Walk, mut words: u32) {
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        let run = a.run.min(b.run).min(words);
        if a.zero {
            target[bytes(b.at, run)].fill(0);
            from.advance(run);
            to.advance(run);
            words -= run;
            continue;
        }
        // Rows that both sides can go on with: one side's runs, laid into a longer run of the other, or matched one to one.
        let available = words / run;
        let rows = (if a.run == run { a.rows } else { a.run / run })
            .min(if b.run == run { b.rows } else { b.run / run })
            .min(available);
        if rows <= 1 {
            target[bytes(b.at, run)].copy_from_slice(&source[bytes(a.at, run)]);
            from.advance(run);
            to.advance(run);
            words -= run;
            continue;
        }
        let source_stride = if a.run == run { a.stride } else { run };
        let target_stride = if b.run == run { b.stride } else { run };
        copy_rows(
            Rows {
                bytes: source,
                at: a.at,
                stride: source_stride,
            },
            target,
            b.at,
            target_stride,
            run,
            rows,
        );
        if a.run == run {
            from.advance_rows(rows)
        } else {
            from.advance(run * rows)
        }
        if b.run == run {
            to.advance_rows(rows)
        } else {
            to.advance(run * rows)
        }
        words -= run * rows;
    }
}

#[inline]
fn bytes(at: u64, words: u32) -> std::ops::Range<usize> {
    let start = at as usize * 4;
    start..start + words as usize * 4
}

/// Rows of words in `bytes`, `stride` words apart.
struct Rows<'a> {
    bytes: &'a [u8],
    at: u64,
    stride: u32,
}

/// Copies `rows` rows of `run` words. The lengths that patterns mostly have are copied without a call each.
fn copy_rows(source: Rows, target: &mut [u8], target_at: u64, target_stride: u32, run: u32, rows: u32) {
    match run {
        1 => fixed_rows::<4>(&source, target, target_at, target_stride, rows),
        2 => fixed_rows::<8>(&source, target, target_at, target_stride, rows),
        3 => fixed_rows::<12>(&source, target, target_at, target_stride, rows),
        4 => fixed_rows::<16>(&source, target, target_at, target_stride, rows),
        6 => fixed_rows::<24>(&source, target, target_at, target_stride, rows),
        8 => fixed_rows::<32>(&source, target, target_at, target_stride, rows),
        12 => fixed_rows::<48>(&source, target, target_at, target_stride, rows),
        16 => fixed_rows::<64>(&source, target, target_at, target_stride, rows),
        _ => {
            for row in 0..u64::from(rows) {
                let from = bytes(source.at + row * u64::from(source.stride), run);
                target[bytes(target_at + row * u64::from(target_stride), run)].copy_from_slice(&source.bytes[from]);
            }
        }
    }
}

fn fixed_rows<const BYTES: usize>(source: &Rows, target: &mut [u8], target_at: u64, target_stride: u32, rows: u32) {
    let mut from = source.at as usize * 4;
    let mut to = target_at as usize * 4;
    for _ in 0..rows {
        target[to..to + BYTES].copy_from_slice(&source.bytes[from..from + BYTES]);
        from += source.stride as usize * 4;
        to += target_stride as usize * 4;
    }
}

/// Copies `words` from host memory to a tile.
pub(super) fn host_to_tile(
    host: &dyn HostMemory,
    from: &mut Walk,
    target: &mut [u8],
    to: &mut Walk,
    words: u32,
    staging: &mut [u8],
) -> Result<(), MemoryFault> {
    let mut words = words;
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        if b.run < DIRECT_WORDS && a.run > b.run {
            let run = a.run.min(words).min(STAGING_WORDS);
            let staged = &mut staging[..run as usize * 4];
            host.read(a.at * 4, staged)?;
            from.advance(run);
            tile_to_tile(staged, &mut Walk::linear(0, run), target, to, run);
            words -= run;
        } else {
            let run = a.run.min(b.run).min(words);
            host.read(a.at * 4, &mut target[bytes(b.at, run)])?;
            from.advance(run);
            to.advance(run);
            words -= run;
        }
    }
    Ok(())
}

/// Copies `words` from a tile to host memory.
pub(super) fn tile_to_host(
    source: &[u8],
    from: &mut Walk,
    host: &dyn HostMemory,
    to: &mut Walk,
    words: u32,
    staging: &mut [u8],
) -> Result<(), MemoryFault> {
    let mut words = words;
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        if a.zero || (a.run < DIRECT_WORDS && b.run > a.run) {
            let run = b.run.min(words).min(STAGING_WORDS);
            let staged = &mut staging[..run as usize * 4];
            tile_to_tile(source, from, staged, &mut Walk::linear(0, run), run);
            host.write(b.at * 4, staged)?;
            to.advance(run);
            words -= run;
        } else {
            let run = a.run.min(b.run).min(words);
            host.write(b.at * 4, &source[bytes(a.at, run)])?;
            from.advance(run);
            to.advance(run);
            words -= run;
        }
    }
    Ok(())
}
